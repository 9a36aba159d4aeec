"""The benchmarks of telemetry, with next to nothing to do: they run, check what they measure, and say it in JSON.

What they find is of no account here: not one of these tests judges a time or a ratio.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bench import telemetry
from tests.bench.read_paths import LIMITS
from tests.bench.telemetry_cost import MODES, RECOMMEND

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]


def run(capsys: pytest.CaptureFixture[str], what: str) -> dict[str, Any]:
    """Run the command and return the object of its last line."""
    assert telemetry.main([what, "--scale", "tiny"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_every_path_is_measured_in_every_mode(capsys: pytest.CaptureFixture[str]) -> None:
    """Four paths of features and one of slates, each without metrics, untraced, with some and with all calls traced."""
    found = run(capsys, "cost")
    paths = {*(limit.name for limit in LIMITS.values()), RECOMMEND}
    assert paths <= found["cost"].keys()
    for path in paths:
        assert found["cost"][path]["cpu_us"].keys() == set(MODES)
        assert found["cost"][path]["spans"] >= 1
    assert found["cost"]["bare_span_us"] > 0
    assert len(found["expectations"]) == 3 * len(paths)


def test_a_dead_collector_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside two servers whose spans are taken; what is lost is counted."""
    found = run(capsys, "dead")
    assert {"dropped", "failed"} <= found["dead"].keys()
    assert len(found["expectations"]) == 3
