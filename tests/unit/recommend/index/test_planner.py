"""The planner looks up what was fitted, and looks at more where it knows nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.index.lists import SAMPLED
from recsvc.recommend.index.planner import Planner, Step
from tests.unit.recommend.index.lines import line_of_lists

PLANNER = Planner(50, 20, 100, [Step(1.0, 0.1, 0.2), Step(0.5, 0.2, 0.4), Step(0.1, 0.3, 0.9)])


@pytest.mark.parametrize(
    ("passing", "share", "far"),
    [
        pytest.param(1_000, 0.1, 0.2, id="all"),
        pytest.param(999, 0.2, 0.4, id="between two rates: the one below"),
        pytest.param(500, 0.2, 0.4, id="at a rate"),
        pytest.param(99, 1.0, 1.0, id="below the last rate: everything"),
    ],
)
def test_a_step_is_the_fitted_one_below(passing: int, share: float, far: float) -> None:
    """Shares come from the next lower pass rate that was fitted."""
    step = PLANNER.step(passing, 1_000)
    assert (step.share, step.far) == (share, far)


@pytest.mark.parametrize(("k", "best"), [(1, 1), (20, 20), (60, 20), (100, 20), (500, 100)])
def test_the_best_are_all_of_few_and_a_part_of_many(k: int, best: float) -> None:
    """As many are the best as shares were fitted for, all where fewer are asked for, and in proportion beyond."""
    assert PLANNER.best(k) == best


def test_few_survivors_are_gathered() -> None:
    """The threshold itself is gathered; one more is not."""
    assert PLANNER.gathers(50)
    assert not PLANNER.gathers(51)


@pytest.mark.parametrize(
    ("gather", "depth", "steps", "problem"),
    [
        pytest.param(0, 1, [], "rates must fall from 1", id="no steps"),
        pytest.param(0, 1, [Step(0.5, 0.1, 0.1)], "rates must fall from 1", id="not from 1"),
        pytest.param(0, 1, [Step(1.0, 0.1, 0.1)] * 2, "rates must fall from 1", id="twice the same"),
        pytest.param(0, 1, [Step(1.0, 0.0, 0.1)], "more than 0 and at most 1", id="share of nothing"),
        pytest.param(0, 1, [Step(1.0, 0.5, float("nan"))], "more than 0 and at most 1", id="NaN"),
        pytest.param(-1, 1, [Step(1.0, 0.1, 0.1)], "at least 0", id="gathers less than nothing"),
    ],
)
def test_a_planner_that_makes_no_sense_says_why(gather: int, depth: int, steps: Sequence[Step], problem: str) -> None:
    """Its problem names the numbers that are wrong."""
    assert problem in str(Planner(gather, depth, depth, steps).problem())
    assert PLANNER.problem() is None


def test_a_planner_counts_no_more_than_it_asks_for() -> None:
    """Recall is counted over some of what is asked for, never over more."""
    assert "counted at least 1" in str(Planner(0, 6, 5, [Step(1.0, 0.1, 0.1)]).problem())


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.floats(0.01, 1.0), st.integers(1, 40), st.data())
def test_probed_lists_hold_enough(sizes: list[int], share: float, least: int, data: st.DataObject) -> None:
    """Each list comes once, and they hold as many survivors as asked for, or all there are."""
    lists = line_of_lists(sizes)
    passing = np.array(data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))), np.bool_)
    survivors = lists.survivors(passing[lists.owners[lists.sample]])
    probed = lists.to_probe(np.ones(1, np.float32), survivors, 5.0, Step(1.0, share, share), least)
    assert len(set(probed.tolist())) == len(probed)
    assert lists.sizes[probed][passing[probed]].sum() >= min(least, lists.sizes[passing].sum())


@given(st.lists(st.booleans(), min_size=6, max_size=6).filter(any))
def test_the_lists_that_score_most_come_first(passing: list[bool]) -> None:
    """Where lists pass whole or not at all, the best of those that pass are looked for first, wherever they stand."""
    lists = line_of_lists([40] * 6)
    survivors = lists.survivors(np.array(passing)[lists.owners[lists.sample]])
    order = lists.expected(np.ones(1, np.float32), survivors, 10.0).order
    assert order[0] == max(number for number in range(6) if passing[number])


def test_a_guess_is_counted_again() -> None:
    """Where the sample of a list misleads, what it truly has is asked for, and other lists get their due."""
    lists = line_of_lists([100] * 8)
    hits = np.zeros((8, SAMPLED), np.bool_)
    hits[7], hits[3] = True, True
    misled = lists.expected(np.ones(1, np.float32), lists.survivors(hits), 20.0)
    counted = lists.survivors(hits, lambda some: np.where(some == 3, 100, 0).astype(np.float32))
    assert misled.order[0] == 7
    assert lists.expected(np.ones(1, np.float32), counted, 20.0).order[0] == 3


def test_what_lies_far_is_noticed() -> None:
    """A filter that passes only what scores least is told apart from one that passes anything."""
    lists = line_of_lists([100] * 8)
    hits = np.zeros((8, SAMPLED), np.bool_)
    hits[:2] = True
    assert lists.expected(np.ones(1, np.float32), lists.survivors(hits), 20.0).far
    assert not lists.expected(np.ones(1, np.float32), lists.survivors(hits[::-1]), 20.0).far
    assert not lists.expected(np.ones(1, np.float32), lists.survivors(None), 20.0).far


def test_where_the_sample_has_no_survivor_lists_are_probed_all_the_same() -> None:
    """A filter so strict that the sample tells nothing is not guessed at: all lists are probed."""
    lists = line_of_lists([10] * 3)
    survivors = lists.survivors(np.zeros((3, SAMPLED), np.bool_))
    assert len(lists.to_probe(np.ones(1, np.float32), survivors, 5.0, Step(0.8, 0.1, 0.1), 10)) == 3
