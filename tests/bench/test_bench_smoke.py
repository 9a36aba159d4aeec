"""The benchmarks themselves, with next to nothing to do: they run, check what they measure, and say it as promised."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bench import store
from tests.bench.feast_env import installed

# Installing Feast takes a minute: it takes part where a real run has put it already.
FEAST = ["with Feast"] if installed() else []


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command and return the object of its last line."""
    assert store.main([*arguments, "--scale", "0.001", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any("Expectations" in line for line in printed)
    found: dict[str, Any] = json.loads(printed[-1])
    assert found["benchmark"] == "store"
    assert found["machine"].keys() >= {"cores", "cpu", "python", "packages", "load_average", "load_average_after"}
    assert found["machine"]["packages"].keys() >= {"redis", "hiredis", "numpy", "pyarrow"}
    for expectation in found["expectations"]:
        assert expectation.keys() == {"name", "ratio", "expected", "met"}
        assert expectation["ratio"] > 0
    return found


def test_cluster_is_compared_with_standalone(capsys: pytest.CaptureFixture[str]) -> None:
    """`cluster` reads the same rows from both and judges the client's CPU."""
    found = run(capsys, "cluster")
    assert found["cluster"]["redis"].startswith("8.2")
    assert {"rows, spread 32", "features, spread 32", "rows, not spread"} <= found["cluster"].keys()
    judged = [found["cluster"][f"{what}, spread 32"]["cpu_ratio"] for what in ("rows", "features")]
    assert [e["ratio"] for e in found["expectations"]] == judged
    assert [e["expected"] for e in found["expectations"]] == ["<= 2", "<= 2"]


def test_memory_is_compared_with_every_layout(capsys: pytest.CaptureFixture[str]) -> None:
    """`memory` weighs our rows and every other layout on Redis 8.2, and on 7.0 where that is installed."""
    found = run(capsys, "memory")
    by_layout = found["memory"]["bytes_per_entity"]["8.2"]
    assert min(by_layout.values()) > 0
    assert len(by_layout) == 9
    per_version = {"<= 0.25", "<= 0.5", "< 1"}
    assert {e["expected"] for e in found["expectations"]} == per_version
    assert len(found["expectations"]) == 7 * len(found["memory"]["bytes_per_entity"])


@pytest.mark.parametrize("feast", ["without Feast", *FEAST])
def test_load_is_compared_with_feast(capsys: pytest.CaptureFixture[str], feast: str) -> None:
    """`load` loads both widths and reads back what it loaded; with Feast, that is judged."""
    found = run(capsys, "load", *(["--no-feast"] if feast == "without Feast" else []))
    for width in ("10 features", "50 features"):
        assert found["load"][width]["rows_per_s"]["recsvc"]["median"] > 0
    expected = [] if feast == "without Feast" else [">= 20"] * 2
    assert [e["expected"] for e in found["expectations"]] == expected
