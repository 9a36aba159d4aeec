"""The files of deploy/, read; and what their PromQL names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from recsvc.telemetry.metrics import INSTRUMENTS, prometheus_name
from recsvc.telemetry.series import Kind

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
RUNBOOK: Final = DEPLOY / "RUNBOOK.md"
ALERTS: Final = DEPLOY / "prometheus" / "alerts.yml"
ALERTS_TEST: Final = DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARD: Final = DEPLOY / "grafana" / "dashboards" / "recsvc.json"

OURS: Final = re.compile(r"(?:recsvc|rpc|db)_\w+")
OF_TARGETS: Final = frozenset({"job", "instance"})
_QUOTED: Final = re.compile(r'"[^"]*"')
_SELECTOR: Final = re.compile(r"(\w+)\{([^}]*)\}")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING: Final = re.compile(r"\b(?:by|on|group_left|group_right|without)\s*\(([^)]*)\)")


class Rule(NamedTuple):
    """An alert."""

    name: str
    expr: str
    annotations: Mapping[str, str]
    labels: Mapping[str, str]


class Asked(NamedTuple):
    """What an expression asks for: metrics with the labels that select among them, and labels that it groups by."""

    metrics: Sequence[tuple[str, frozenset[str]]]
    grouped: frozenset[str]


def read_yaml(path: Path) -> Any:  # noqa: ANN401  # what the file has
    """Return what a file has."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[Rule]:
    """Return the alerts."""
    groups = read_yaml(ALERTS)["groups"]
    return [Rule(r["alert"], r["expr"], r["annotations"], r["labels"]) for group in groups for r in group["rules"]]


def dashboard() -> Any:  # noqa: ANN401  # JSON
    """Return the dashboard."""
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def targets() -> Iterator[tuple[str, str, str]]:
    """Yield title, expression and legend of everything that the dashboard asks Prometheus for."""
    page = dashboard()
    for panel in page["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for annotation in page["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], annotation["titleFormat"]


def asked(expr: str) -> Asked:
    """Return what an expression asks for; each metric has a selector in it."""
    plain = _QUOTED.sub('""', expr)
    metrics = [(name, frozenset(_MATCHER.findall(inside))) for name, inside in _SELECTOR.findall(plain)]
    labels = [label.strip() for inside in _GROUPING.findall(plain) for label in inside.split(",") if label.strip()]
    return Asked(metrics, frozenset(labels))


def words(expr: str) -> set[str]:
    """Return all names in an expression that look like ours, be they metrics or labels."""
    return set(OURS.findall(_QUOTED.sub('""', expr)))


def known_metrics() -> dict[str, frozenset[str]]:
    """Return every series that Prometheus can have of us, with its labels."""
    found = {}
    for of in INSTRUMENTS:
        name = prometheus_name(of)
        labels = frozenset(label.replace(".", "_") for label in of.labels) | OF_TARGETS
        if of.kind is Kind.HISTOGRAM:
            found[f"{name}_bucket"] = labels | {"le"}
            found[f"{name}_count"] = found[f"{name}_sum"] = labels
        else:
            found[name] = labels
    return found
