"""The benchmarks of the read path, with next to nothing to do: they run, check what they measure, and say it in JSON.

What they find is of no account here: not one of these tests judges a time or a ratio.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bench import read
from tests.bench.feast_env import installed
from tests.bench.read_paths import BATCH_FLOOR, LIMITS, SINGLE_FLOOR

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]  # Feast alone takes a minute to load what it reads


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command and return the object of its last line."""
    assert read.main([*arguments, "--scale", "tiny"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any("Expectations" in line for line in printed)
    found: dict[str, Any] = json.loads(printed[-1])
    assert found["benchmark"] == "read"
    assert all(e.keys() == {"name", "ratio", "expected", "met"} for e in found["expectations"])
    return found


def test_every_path_is_compared_with_its_floor(capsys: pytest.CaptureFixture[str]) -> None:
    """`paths` measures four paths and two floors; Redis reads what the paths to it ask for, and nothing for hits."""
    found = run(capsys, "paths")
    assert found["paths"].keys() >= {SINGLE_FLOOR, BATCH_FLOOR, *(limit.name for limit in LIMITS.values())}
    assert [e["expected"] for e in found["expectations"]] == ["<= 1.5", "<= 2.2", "<= 2.7", "<= 5"]
    assert found["paths"][LIMITS["redis"].name]["sources"] == [1]
    assert found["paths"][LIMITS["hit"].name]["sources"] == [2]


def test_floor_alone_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """`floor` measures both floors and judges nothing."""
    found = run(capsys, "floor")
    assert found["paths"][SINGLE_FLOOR]["cpu_us"] > 0
    assert not found["expectations"]


def test_cost_per_row_is_judged_between_lengths(capsys: pytest.CaptureFixture[str]) -> None:
    """`batch` compares four lengths with each other, from Redis and from the cache."""
    found = run(capsys, "batch")
    assert [e["expected"] for e in found["expectations"]] == ["< 1"] * 6


def test_misses_through_the_proxy_are_compared_with_round_trips(capsys: pytest.CaptureFixture[str]) -> None:
    """`proxy` measures three hit ratios with Redis near and 1 ms away, which the proxy keeps."""
    found = run(capsys, "proxy")
    assert found["hits"]["round_trip_ms"]["1 ms away"] >= 1
    assert len(found["expectations"]) == 3


def test_memory_is_looked_at_ten_times(capsys: pytest.CaptureFixture[str]) -> None:
    """`memory` notes the server's memory at the start and after every tenth of the keys."""
    assert len(run(capsys, "memory")["memory"]["rss_mb"]) == 11


@pytest.mark.skipif(not installed(), reason="Feast is installed by the first real run; that takes a minute")
def test_feast_answers_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    """`feast` measures four shapes by both of its servers and by ours, with the cache off and on."""
    found = run(capsys, "feast")
    shapes = ["1 × 50", "10 × 50", "100 × 50", "1 × 250"]
    assert all(len(found["feast"][shape]) == 4 for shape in shapes)
    assert [e["expected"] for e in found["expectations"]] == [">= 4", ">= 15", ">= 20", *[">= 1"] * 4]
