"""The planner looks up what was fitted, and looks at more where it knows nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.index.lists import Lists
from recsvc.recommend.index.planner import Planner, Step

PLANNER = Planner(50, 100, [Step(1.0, 0.1, 0.2), Step(0.5, 0.2, 0.4), Step(0.1, 0.3, 0.9)])


@pytest.mark.parametrize(
    ("passing", "k", "share", "far"),
    [
        pytest.param(1_000, 50, 0.1, 0.2, id="all"),
        pytest.param(999, 99, 0.2, 0.4, id="between two rates: the one below"),
        pytest.param(500, 1, 0.2, 0.4, id="at a rate, fewer than fitted"),
        pytest.param(500, 200, 0.8, 0.8, id="twice as deep"),
        pytest.param(500, 75, 0.3, 0.4, id="twice what is wanted"),
        pytest.param(99, 1, 1.0, 1.0, id="below the last rate: everything"),
    ],
)
def test_a_step_is_the_fitted_one_below(passing: int, k: int, share: float, far: float) -> None:
    """Shares come from the next lower pass rate that was fitted, in proportion to depth."""
    step = PLANNER.step(passing, 1_000, k)
    assert (step.share, step.far) == (share, far)


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
    assert problem in str(Planner(gather, depth, steps).problem())
    assert PLANNER.problem() is None


def line_of_lists(sizes: Sequence[int]) -> Lists:
    """Make lists whose centroids stand at 0, 1, 2 … on a line, with every place in the sample."""
    owners = np.repeat(np.arange(len(sizes)), sizes)
    centroids = np.arange(len(sizes), dtype=np.float32)[:, None]
    return Lists(centroids, np.array(sizes), np.arange(len(owners)), owners, -(centroids[:, 0] ** 2) / np.float32(2))


@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=12).filter(any),
    at=st.integers(0, 12),
    share=st.floats(0.01, 1.0),
    data=st.data(),
)
def test_probed_lists_hold_the_share_of_vectors_and_of_survivors(
    sizes: list[int], at: int, share: float, data: st.DataObject
) -> None:
    """They are the nearest, each once, and hold at least the share of both; the sample here is everything."""
    lists = line_of_lists(sizes)
    owners, n = lists.sample_lists, len(lists.sample)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
    point = np.array([at], dtype=np.float32)
    probed = lists.to_probe(point, allowed, Step(1.0, share, share))
    distances = np.abs(np.arange(len(sizes)) - at)
    assert len(set(probed.tolist())) == len(probed)
    assert sorted(distances[probed]) == sorted(distances)[: len(probed)]
    inside = np.isin(owners, probed)
    assert inside.sum() >= share * n - 1e-9
    assert (inside & allowed).sum() >= share * allowed.sum() - 1e-9


def test_where_survivors_lie_far_more_of_them_are_looked_at() -> None:
    """A filter that passes the far end has its own share; one that passes the near end needs no more than none."""
    lists = line_of_lists([10] * 10)
    step, query = Step(0.4, 0.2, 0.75), np.zeros(1, dtype=np.float32)
    near, far = lists.sample_lists < 4, lists.sample_lists >= 6
    assert lists.to_probe(query, None, step).tolist() == [0, 1]
    assert lists.to_probe(query, near, step).tolist() == [0, 1]
    assert lists.to_probe(query, far, step).tolist() == list(range(9))


def test_where_the_sample_has_no_survivor_all_lists_are_probed() -> None:
    """A filter so strict that the sample tells nothing is not guessed at."""
    lists = Lists(
        np.zeros((3, 1), dtype=np.float32),
        np.array([2, 2, 2]),
        np.array([0]),
        np.array([0]),
        np.zeros(3, dtype=np.float32),
    )
    allowed = np.array([False, True, True, True, True, True])
    assert len(lists.to_probe(np.zeros(1, dtype=np.float32), allowed, Step(0.8, 0.1, 0.1))) == 3
