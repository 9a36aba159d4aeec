"""The part of the candidates that is ranked: smaller while slates are late, whole again when they are not."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.quality_factor import LEAST, PERCENTILE, QualityFactor

TARGET_S = 0.05


def test_late_slates_have_fewer_candidates_and_all_come_back() -> None:
    """It falls to the least while all are late, and is whole again when all are in time."""
    factor = QualityFactor(TARGET_S)
    assert factor.narrowing(10).of(500) == 500
    for _ in range(1_000):
        factor.took(2 * TARGET_S)
    assert factor.value == LEAST
    assert factor.narrowing(10).of(500) == 50
    assert factor.narrowing(200).of(500) == 200
    assert factor.narrowing(10).of(5) == 5
    assert factor.narrowing(10).is_less
    for _ in range(1_000):
        factor.took(TARGET_S)
    assert factor.value == 1.0
    assert not factor.narrowing(10).is_less


def test_what_was_given_up_counts_once_it_is_late() -> None:
    """A slate that nobody got is a late one if its time was over; otherwise it tells nothing."""
    factor = QualityFactor(TARGET_S)
    factor.gave_up(TARGET_S)
    assert factor.value == 1.0
    factor.gave_up(2 * TARGET_S)
    late = factor.value
    assert late < 1.0
    factor.gave_up(0.0)
    assert factor.value == late


@given(st.lists(st.floats(0, 1), max_size=200))
def test_it_stays_within_its_bounds(times: list[float]) -> None:
    """Whatever slates take, at least the least part is ranked, and never more than there is."""
    factor = QualityFactor(TARGET_S)
    for seconds in times:
        factor.took(seconds)
        assert LEAST <= factor.value <= 1.0


def test_some_late_slates_reduce_nothing() -> None:
    """A server's first slates may be late; the candidates of the next are all there, until more are late."""
    factor = QualityFactor(TARGET_S)
    for late in range(1, 20):
        factor.took(2 * TARGET_S)
        narrowing = factor.narrowing(10)
        assert narrowing.is_less == (late > 5)
        assert (narrowing.of(500) < 500) == (late > 5)


@pytest.mark.parametrize("late", [0.01, 0.2])
def test_the_wanted_share_of_late_slates_is_where_it_turns(late: float) -> None:
    """It stays up while fewer are late than may be, and goes down while more are."""
    factor, rng = QualityFactor(TARGET_S), Random(1)
    for _ in range(20_000):
        factor.took(2 * TARGET_S if rng.random() < late else 0.0)
    assert (factor.value > 0.8) == (late < 1 - PERCENTILE)
    assert (factor.value < 0.5) == (late > 1 - PERCENTILE)
    assert "target 50 ms" in repr(factor)
