"""Thousands of seeded runs of the read path, in each of which all invariants hold."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.__main__ import main
from tests.simulation.findings import Findings
from tests.simulation.mutant import applied
from tests.simulation.mutants_coalesce import IN_COALESCE
from tests.simulation.run import play
from tests.simulation.schedule import schedule
from tests.simulation.seeds import CHUNK, SEEDS

CORNERS = {
    "breakers closed to open",
    "breakers half-open to closed",
    "breakers half-open to open",
    "breakers open to half-open",
    "calls cancelled",
    "calls that hit",
    "calls that missed",
    "chains closed while calls came",
    "nodes replaced",
    "reads answered",
    "reads beyond the slots",
    "reads broken",
    "reads cancelled",
    "reads failed",
    "reads in which keys of several calls left together",
    "reads that are probes",
    "reads that are second tries",
    "rows CACHE",
    "rows NO_ANSWER",
    "rows REFUSED",
    "rows SATURATED",
    "rows STALE_CACHE",
    "rows STORE",
    "rows of fetches that were joined",
}


def _report(seed: int, findings: Findings) -> str:
    lines = [f"seed {seed} breaks invariants; replay: python -m tests.simulation --seed {seed} --trace"]
    return "\n  ".join([*lines, *map(str, findings.violations[:10])])


@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_all_invariants_hold(first: int) -> None:
    """Whatever store, callers and clock do, every invariant holds in the run of every seed."""
    broken = {seed: findings for seed in range(first, first + CHUNK) if (findings := play(seed)).violations}
    assert not broken, "\n".join(_report(seed, findings) for seed, findings in list(broken.items())[:5])


def test_the_seeds_come_to_every_corner() -> None:
    """The seeds bring about all that the invariants speak of: nothing holds only because it never happens."""
    seen: Counter[str] = Counter()
    for seed in SEEDS[: 2 * CHUNK]:
        seen += play(seed).seen
    assert seen.keys() >= CORNERS, f"never happens: {sorted(CORNERS - seen.keys())}"


def test_a_seed_is_the_same_run_each_time() -> None:
    """A run follows from its seed alone: what a trace shows is what failed."""
    for seed in SEEDS[:10]:
        traces: list[list[str]] = [[], []]
        for trace in traces:
            play(seed, trace.append)
        assert traces[0] == traces[1]
        assert schedule(seed) == schedule(seed)


def test_a_seed_can_be_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    """The command plays one seed or several, with all that happens where that is asked for."""
    assert main(["--seed", "1", "--trace"]) == 0
    assert "call 0 comes" in capsys.readouterr().out
    assert main(["--seeds", "1-3"]) == 0
    assert capsys.readouterr().out.endswith("3 seeds, 0 broken\n")


def test_a_broken_seed_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """With a mistake in the code, the command says which seed breaks what, and fails."""
    with applied(IN_COALESCE[0]):
        assert main(["--seeds", "0-30"]) == 1
    assert "UNTOUCHED: read" in capsys.readouterr().out
