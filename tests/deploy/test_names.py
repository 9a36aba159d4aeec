"""What deploy/ names is there: metrics, their labels, runbook sections, flags, attributes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from recsvc import config
from recsvc.telemetry import names
from recsvc.telemetry.metrics import INSTRUMENTS, prometheus_name
from tests.deploy.files import (
    ALERTS_TEST,
    DEPLOY,
    RUNBOOK,
    Rule,
    asked,
    dashboard,
    known_metrics,
    read_yaml,
    rules,
    targets,
    words,
)

METRICS: Final = known_metrics()
LABELS: Final = frozenset().union(*METRICS.values())
NOT_OURS: Final = {"up", "ALERTS"}
OF_PROMETHEUS: Final = frozenset({"le", "job", "instance", "alertname"})
EXPRESSIONS: Final = (
    [(rule.name, rule.expr) for rule in rules()]
    + [(title, expr) for title, expr, _ in targets()]
    + [("test", series["series"]) for test in read_yaml(ALERTS_TEST)["tests"] for series in test["input_series"]]
)


def test_what_is_no_method_is_left_out_by_its_name() -> None:
    """Expressions that leave calls of unknown methods aside name them as recsvc does."""
    left_out = {name for _, expr in EXPRESSIONS for name in re.findall(r'rpc_method!="([^"]*)"', expr)}
    assert left_out == {names.OTHER_METHOD}


@pytest.mark.parametrize(
    ("where", "expr"), [(where, expr) for where, expr in EXPRESSIONS if re.search(r"/[^/]*rpc_server_call_\w+\{", expr)]
)
def test_a_share_of_calls_is_one_of_known_methods(where: str, expr: str) -> None:
    """What is divided by calls leaves those of unknown methods aside: whoever scans ports would thin it."""
    selectors = re.findall(r"rpc_server_call_\w+\{([^}]*)\}", expr)
    assert all(f'rpc_method!="{names.OTHER_METHOD}"' in selector for selector in selectors), where


def sections() -> list[str]:
    """The headings of the runbook's sections."""
    return re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("where", "expr"), EXPRESSIONS)
def test_metrics_and_labels_exist(where: str, expr: str) -> None:
    """Each metric is one that recsvc has, is selected and grouped by labels that it has, and no other name is used."""
    found = asked(expr)
    for metric, selected in found.metrics:
        if metric not in NOT_OURS:
            assert metric in METRICS, where
            assert selected <= METRICS[metric], (where, metric)
    named = {metric for metric, _ in found.metrics}
    has = frozenset().union(*(METRICS[metric] for metric in named - NOT_OURS)) | OF_PROMETHEUS
    assert found.grouped <= has, where
    assert words(expr) <= named | LABELS, where


@pytest.mark.parametrize(("title", "expr", "legend"), list(targets()))
def test_legends_show_labels_that_are_left(title: str, expr: str, legend: str) -> None:
    """A legend names only labels that the expression groups by."""
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= asked(expr).grouped, title


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_alerts_tell_what_to_do(rule: Rule) -> None:
    """An alert has a severity, says what is wrong by labels that it has, and points to its section of the runbook."""
    assert rule.labels["severity"] in {"critical", "warning"}
    assert set(rule.annotations) == {"summary", "description", "runbook_url"}
    shown = re.findall(r"\$labels\.(\w+)", " ".join(rule.annotations.values()))
    assert set(shown) <= asked(rule.expr).grouped | {"instance"}
    file, _, anchor = rule.annotations["runbook_url"].partition("#")
    assert DEPLOY.parent / file == RUNBOOK
    assert anchor in {section.lower() for section in sections()}


def test_the_runbook_has_no_section_too_many() -> None:
    """Every section is about an alert that there is, in the order of the rules."""
    assert sections() == [rule.name for rule in rules()]


@pytest.mark.parametrize("path", [RUNBOOK, DEPLOY / "README.md"], ids=lambda path: path.name)
def test_prose_names_what_exists(path: Path) -> None:
    """Flags of the server, metrics and panels that the texts name are there."""
    text = path.read_text(encoding="utf-8")
    flags = {config.flag(setting) for setting in config.SETTINGS} | {"--svg"}
    assert set(re.findall(r"`(--[a-z-]+)", text)) <= flags
    assert set(re.findall(r"`((?:recsvc|rpc|db)_[a-z_]+)", text)) <= {prometheus_name(of) for of in INSTRUMENTS}
    assert set(re.findall(r"[Pp]anels? \*([^*]+)\*", text)) <= {panel["title"] for panel in dashboard()["panels"]}


def test_the_collector_looks_for_names_that_recsvc_gives() -> None:
    """Its policies are about the attribute and the span that recsvc calls so."""
    text = (DEPLOY / "otel" / "collector.yaml").read_text(encoding="utf-8")
    assert f'attributes["{names.DEGRADED}"]' in text
    assert f'name == "{names.LATE}"' in text
