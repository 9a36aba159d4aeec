"""`recsvc top` and the alerts go by the same thresholds, so that neither calls well what the other does not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import pytest

from recsvc.inspect import top_health as top
from recsvc.telemetry.metrics import LATE
from tests.deploy.files import RUNBOOK, rules

BY_ALERT: Final[Mapping[str, top.Limits]] = {
    "CallsFail": top.FAILED,
    "CallsSlow": top.SLOW_S,
    "LoopLags": top.LAG_S,
    "AnswersDegraded": top.DEGRADED,
    "RowsUnavailable": top.UNAVAILABLE,
    "MoreRowsMissing": top.DEFAULTS_UP,
    "ViewLate": (top.LATE, math.inf),
    "StoreSheds": top.SHED,
    "RedisNearlyFull": top.MEMORY,
    "SlatesEmpty": top.EMPTY,
    "SlatesShort": top.SHORT,
    "SlatesReduced": (top.QUALITY, math.inf),
}
STATES: Final = {"RecsvcDown", "RecsvcAbsent", "BreakerOpen", "RedisEvicts"}
"""Top tells them too; there is no threshold."""
NOT_IN_TOP: Final = {"RowsTooOld", "RowsCorrupt", "CatalogueStale", "ImpressionsDropped", "SpansLost"}
RULES: Final = {rule.name: rule for rule in rules()}


def test_every_alert_has_its_place_in_top() -> None:
    """Of a new alert it is decided whether the live view judges by it, too."""
    assert RULES.keys() == BY_ALERT.keys() | STATES | NOT_IN_TOP


@pytest.mark.parametrize("name", BY_ALERT)
def test_thresholds_are_the_same(name: str) -> None:
    """What an alert warns of is degraded in the live view from there on; what it calls critical is unhealthy."""
    rule = RULES[name]
    threshold = re.search(r"[<>] ([\d.]+)\s*$", rule.expr)
    assert threshold is not None
    assert float(threshold[1]) == BY_ALERT[name][["warning", "critical"].index(rule.labels["severity"])]


def test_texts_tell_when_a_row_is_late() -> None:
    """The alert and the runbook name the number that the server counts by."""
    told = f"{LATE:g} ×"
    assert told in RULES["ViewLate"].annotations["description"]
    assert told in RUNBOOK.read_text(encoding="utf-8").partition("## ViewLate")[2].partition("##")[0]
