"""Prometheus' own tool reads the configuration and the rules, and runs the rules' tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import partial
from typing import Any, Final

import pytest
from prometheus_client import generate_latest

from recsvc.telemetry.metrics import INSTRUMENTS, Metrics
from recsvc.telemetry.prometheus import MetricsCollector
from recsvc.telemetry.series import Kind
from tests.deploy.files import ALERTS, ALERTS_TEST, read_yaml, rules
from tests.parts import missing

CONFIG: Final = ALERTS.with_name("prometheus.yml")
COUNT: Final = 'db_client_connection_count non-histogram and non-summary metrics should not have "_count" suffix'
"""The name is OpenTelemetry's convention, as it maps to Prometheus."""


@pytest.fixture(scope="module")
def promtool() -> str:
    """The program, of Debian's package prometheus."""
    return shutil.which("promtool") or missing("no promtool on PATH: Debian's package prometheus has it")


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", CONFIG), ("check", "rules", ALERTS), ("test", "rules", ALERTS_TEST)],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(promtool: str, arguments: tuple[str, ...]) -> None:
    """The files are right, and every alert fires, and keeps quiet, as its test says."""
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_promtool_reads_the_page(promtool: str) -> None:
    """All metrics are named and described as Prometheus wants it, but for one."""
    page = generate_latest(MetricsCollector(all_metrics(), {"service.instance.id": "one"}))
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    assert done.stderr.decode().splitlines() == [COUNT]


def all_metrics() -> Metrics:
    """Return metrics of which each has a value."""
    metrics = Metrics()
    for of in INSTRUMENTS:
        labels = tuple("x" for _ in of.labels)
        match of.kind:
            case Kind.COUNTER:
                metrics[of].count(*labels).add()
            case Kind.HISTOGRAM:
                metrics[of].histogram(*labels).record(1.0)
            case _:
                metrics[of].observe(partial(list, [(labels, 1.0)]))
    return metrics


def labels_of(series: str) -> dict[str, str]:
    """Return the labels of a series as it is written."""
    return dict(re.findall(r'(\w+)="([^"]*)"', series))


def differs(series: str, expected: dict[str, str]) -> bool:
    """Say whether a series is of something else than an alert is about."""
    has = labels_of(series)
    return any(has[label] != value for label, value in expected.items() if label in has)


def keeps_quiet(test: Any, expected: list[Any]) -> bool:  # noqa: ANN401  # as YAML has it
    """Say whether a test has a series that no alert is expected of."""
    about = [alert["exp_labels"] for alert in expected]
    return any(all(differs(series["series"], labels) for labels in about) for series in test["input_series"])


@pytest.mark.parametrize("name", [rule.name for rule in rules()])
def test_every_alert_is_tested_both_ways(name: str) -> None:
    """For each alert there is a series that fires it, and one beside it, or a test of its own, that does not."""
    cases = [(t, case["exp_alerts"]) for t in read_yaml(ALERTS_TEST)["tests"] for case in t["alert_rule_test"]
             if case["alertname"] == name]  # fmt: skip
    assert any(expected for _, expected in cases)
    assert any(not expected or keeps_quiet(test, expected) for test, expected in cases)
