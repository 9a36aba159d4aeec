"""Splits: parts that do not overlap, the right sizes, one moment for all."""

from __future__ import annotations

import numpy as np
import pytest

from recsvc.errors import ConfigError
from recsvc.evaluation.splits import random_split, temporal_split, time_windows

ALL = np.ones(1_000, np.bool_)


def test_random_parts_share_nothing_and_leave_nothing() -> None:
    """A quarter goes to the test part, the rest to training; another seed parts otherwise, the same seed alike."""
    one = random_split(ALL, 0.25, np.random.default_rng(0))
    assert one.test.sum() == 250
    assert (one.train ^ one.test).all()
    assert (random_split(ALL, 0.25, np.random.default_rng(0)).test == one.test).all()
    assert (random_split(ALL, 0.25, np.random.default_rng(1)).test != one.test).any()


def test_a_part_can_be_split_again_without_touching_the_rest() -> None:
    """A validation slice of the training part has nothing of the test part."""
    outer = random_split(ALL, 0.25, np.random.default_rng(0))
    inner = random_split(outer.train, 0.2, np.random.default_rng(1))
    assert not (inner.train & outer.test).any()
    assert not (inner.test & outer.test).any()
    assert inner.test.sum() == 150


def test_temporal_parts_are_before_and_after_one_moment() -> None:
    """All of training is earlier than all of the test part, equal times are in one part."""
    times = np.random.default_rng(2).integers(0, 50, 1_000).astype(np.float64)
    train, test = temporal_split(ALL, times, 0.8)
    assert times[train].max() < times[test].min()
    assert (train ^ test).all()
    assert 0.15 <= test.mean() <= 0.25


def test_a_temporal_split_of_a_part_cuts_at_its_own_quantile() -> None:
    """What is not among the ratings has no say in where the cut is."""
    times = np.arange(1_000, dtype=np.float64)
    train, test = temporal_split(times < 500, times, 0.8)
    assert (train.sum(), test.sum()) == (400, 100)


@pytest.mark.parametrize("times", [np.zeros(1_000), np.full(1_000, 3.0)])
def test_nothing_to_part_is_told(times: np.ndarray) -> None:
    """Ratings of one moment cannot be parted by time."""
    with pytest.raises(ConfigError, match="80% quantile of time leaves 0 ratings to learn from and 1000"):
        temporal_split(ALL, times, 0.8)


def test_windows_ask_for_what_comes_until_the_next_cut() -> None:
    """Each knows all before its cut, test parts follow each other up to the end, and nothing comes from outside."""
    times = np.arange(1_000, dtype=np.float64)
    among = times < 800
    first, last = time_windows(among, times, (0.5, 0.75))
    assert (first.train.sum(), first.test.sum(), last.train.sum(), last.test.sum()) == (400, 200, 600, 200)
    assert times[first.train].max() < times[first.test].min()
    assert not (first.test & last.test).any()
    assert not ((first.train | first.test | last.train | last.test) & ~among).any()
