"""The benchmarks of Recommend on a small catalogue: they run, check what they measure, and say it in JSON.

What they find is of no account here, but for what does not depend on how busy the machine is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bench import recommend

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]
ITEMS = "4000"


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the world of all tests here in one folder, to be thrown away."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("world")
    patch.setenv("RECSVC_BENCH_CACHE", str(folder))
    yield
    patch.undo()


def run(capsys: pytest.CaptureFixture[str], what: str) -> dict[str, Any]:
    """Run the command and return the object of its last line."""
    assert recommend.main([what, "--scale", "tiny", "--items", ITEMS]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any("Expectations" in line for line in printed)
    found: dict[str, Any] = json.loads(printed[-1])
    assert found["benchmark"] == "recommend"
    assert found["settings"]["items"] == int(ITEMS)
    return found


def test_candidates_are_compared_with_a_full_scan(capsys: pytest.CaptureFixture[str]) -> None:
    """`recall` has both kinds of vectors under three kinds of filters, and finds the true best of so few items."""
    found = run(capsys, "recall")
    assert len(found["expectations"]) == 7
    assert len(found["recall"]) == 2 * (6 + 5 + 5) + 1
    assert all(e["met"] for e in found["expectations"])


def test_slates_are_timed_at_half_of_saturation(capsys: pytest.CaptureFixture[str]) -> None:
    """`latency` counts whole replies of 500 candidates, with most rows in the cache and with none."""
    found = run(capsys, "latency")["latency"]
    for kind in ("unit", "norms"):
        cached, read = found[f"{kind}, 95% hits"], found[f"{kind}, 0% hits"]
        # Of so few calls none may tell, or be in time.
        assert {500}.issuperset([*cached["candidates_ranked"], *read["candidates_ranked"]])
        assert cached["features_beside_p99_ms"]


def test_a_swap_is_measured_against_none(capsys: pytest.CaptureFixture[str]) -> None:
    """`swap` fails no call."""
    assert run(capsys, "swap")["swap"]["failed"] == 0


def test_overload_is_measured_with_the_controller_and_without(capsys: pytest.CaptureFixture[str]) -> None:
    """`overload` reduces candidates by nothing where there is no controller."""
    found = run(capsys, "overload")["overload"]
    assert found["without"]["least_factor"] == 1.0
    assert found["with"]["p99_ms_by_second"]


def test_memory_is_that_of_one_worker_and_of_two(capsys: pytest.CaptureFixture[str]) -> None:
    """`memory` says for each process what it has alone; workers have more than a server without Recommend."""
    found = run(capsys, "memory")["memory"]
    assert found["one worker"]["private"] > found["a server without Recommend"]["private"]


def test_a_slate_without_recsvc_has_equal_recall(capsys: pytest.CaptureFixture[str]) -> None:
    """`naive` compares CPU where both find as much of the true best."""
    found = run(capsys, "naive")["naive"]
    assert found["without recsvc"]["recall"] >= found["recsvc, all from Redis"]["recall"] - 0.002
