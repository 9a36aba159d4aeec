"""Boosts move candidates by positions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.boosts import boosted

MOVES = st.lists(st.integers(-8, 8), max_size=20)


def test_a_boost_of_three_moves_three_positions() -> None:
    """The candidate stands three positions higher, and those that it passes one lower each."""
    assert boosted(np.array([0, 0, 0, 0, 3, 0])).tolist() == [0, 4, 1, 2, 3, 5]


def test_a_demotion_moves_down() -> None:
    """Below 0 a candidate stands so many positions lower, behind the one that was there."""
    assert boosted(np.array([-2, 0, 0, 0])).tolist() == [1, 2, 0, 3]


@given(MOVES)
def test_everything_stays_and_wishes_order(by: list[int]) -> None:
    """Nothing is lost or doubled; the order is that of wanted positions; equal moves keep their order."""
    order = boosted(np.array(by, np.int64)).tolist()
    assert sorted(order) == list(range(len(by)))
    wanted = [row - by[row] for row in order]
    assert wanted == sorted(wanted)
    for move in set(by):
        same = [row for row in order if by[row] == move]
        assert same == sorted(same)
