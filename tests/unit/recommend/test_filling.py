"""The filler gives every item once, popular ones first, and only where categories have room."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend import filling
from recsvc.recommend.caps import Room, occurrence
from recsvc.recommend.filling import Filler, first_of
from recsvc.recommend.item_column import NumberColumn
from recsvc.recommend.popularity import Popularity
from recsvc.recommend.slate_rules import CategoryCap
from recsvc.registry.types import FLOAT64


@given(st.lists(st.integers(-3, 3)))
def test_occurrence_counts_equals_before(codes: list[int]) -> None:
    """Each entry has the number of equal ones before it."""
    counted = occurrence(np.array(codes, dtype=np.int64)).tolist()
    assert counted == [codes[:i].count(code) for i, code in enumerate(codes)]


@given(
    st.lists(st.integers(0, 39)),
    st.lists(st.integers(-1, 2), min_size=40, max_size=40),
    st.integers(0, 5),
    st.integers(0, 40),
)
def test_items_come_as_one_by_one_in_order(order: list[int], codes: list[int], most: int, count: int) -> None:
    """Blocks of any size give what a walk item by item gives, and no item twice over two walks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "FIRST_BLOCK", 2)
        filler = Filler(np.array(order, dtype=np.int64), np.ones(40, dtype=np.bool_))
        taken = filler.take(count, Room(CategoryCap(np.array(codes), 3, most))).tolist()
        rest = filler.take(100, Room(None)).tolist()
    walked: list[int] = []
    counts: Counter[int] = Counter()
    for place in dict.fromkeys([*order, *range(40)]):
        if len(walked) < count and (codes[place] < 0 or counts[codes[place]] < most):
            counts[codes[place]] += 1
            walked.append(place)
    assert taken == walked
    assert sorted(taken + rest) == list(range(40))


def test_state_shows_in_repr() -> None:
    """A filler says how many items it has left, a room how many categories are full."""
    filler, room = Filler(np.arange(3), np.ones(5, dtype=np.bool_)), Room(CategoryCap(np.array([0, 0, 1, 1, -1]), 2, 1))
    filler.take(1, room)
    assert repr(filler) == "Filler(4 items left)"
    assert repr(room) == "Room(2 categories, 1 of them full)"


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.booleans()), max_size=40),
    st.integers(0, 45),
    st.sampled_from([(-np.inf, np.inf), (-1.0, 2.0), (0.0, np.inf), (2.0, 1.0)]),
    st.sampled_from([1, 4, 65_536]),
)
def test_the_first_of_an_order_are_as_one_by_one(
    items: list[tuple[int, bool, bool]], count: int, ends: tuple[float, float], walked: int
) -> None:
    """However long the walk is before it gives way to a sort, what comes is what a walk item by item gives."""
    values = np.array([value for value, _, _ in items], np.float64)
    mask, among = (np.array([item[i] for item in items], np.bool_) for i in (1, 2))
    ranked = Popularity.of(NumberColumn(FLOAT64, values, np.ones(len(items), np.bool_)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "FIRST_BLOCK", 2)
        patch.setattr(filling, "WALKED", walked)
        found = first_of(ranked, mask, count, low=ends[0], high=ends[1], among=among.__getitem__)
    places = [p for p in ranked.order.tolist() if mask[p] and among[p] and ends[0] <= values[p] <= ends[1]]
    assert found.tolist() == places[:count]
