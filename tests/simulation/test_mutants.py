"""Every invariant can fail: mistakes put into the code, one at a time, are found by the seeds that the tests play."""

from __future__ import annotations

import pytest

from tests.simulation.findings import Invariant
from tests.simulation.mutant import Mutant, applied
from tests.simulation.mutants_breaker import IN_BREAKER
from tests.simulation.mutants_coalesce import IN_COALESCE
from tests.simulation.mutants_rows import IN_ROWS
from tests.simulation.run import play
from tests.simulation.seeds import SEEDS

MUTANTS = (*IN_COALESCE, *IN_ROWS, *IN_BREAKER)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mistake_is_found(mutant: Mutant) -> None:
    """Some seed of those in every run of the tests breaks the invariant that the mistake concerns."""
    with applied(mutant):
        for seed in SEEDS:
            if any(v.invariant is mutant.breaks for v in play(seed).violations):
                return
    pytest.fail(f"no seed finds that {mutant.breaks.name} is broken")


def test_every_invariant_has_a_mistake() -> None:
    """No invariant is without a mistake that breaks it."""
    assert {m.breaks for m in MUTANTS} == set(Invariant)


def test_mistakes_are_taken_out_again() -> None:
    """After a mistake the code is as it was."""
    for mutant in MUTANTS[:3]:
        with applied(mutant):
            pass
    assert not any(play(seed).violations for seed in SEEDS[:5])
