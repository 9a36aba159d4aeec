"""The paired bootstrap: its interval holds what it should, and pairs count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsvc.evaluation.bootstrap import paired_difference


def test_interval_is_that_of_normal_theory_for_many_users() -> None:
    """For the mean of 400 normal differences it is mean ± 1.96 · sd / √400, within a few per cent."""
    differences = np.random.default_rng(1).normal(0.1, 1.0, 400)
    found = paired_difference(differences, np.zeros(400), np.random.default_rng(2))
    half = 1.96 * differences.std() / 20
    assert found.mean == pytest.approx(differences.mean())
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)


def test_pairs_cancel_what_users_have_in_common() -> None:
    """Users that differ much among each other, and by one same step between the two, leave no doubt about the step."""
    users = np.random.default_rng(3).normal(0, 10, 50)
    found = paired_difference(users - 0.25, users, np.random.default_rng(4))
    assert found.mean == pytest.approx(found.low) == pytest.approx(found.high) == pytest.approx(-0.25)
    assert found.high < 0


def test_chance_is_not_called_a_loss() -> None:
    """An interval around zero is not below zero."""
    differences = np.array([-1.0, 1.0, -1.0, 1.0, -0.1])
    found = paired_difference(differences, np.zeros(5), np.random.default_rng(5))
    assert found.low < 0 < found.high


def test_same_seed_same_interval() -> None:
    """What is drawn comes from the generator alone."""
    ours, theirs = np.random.default_rng(6).random((2, 30))
    one, other = (paired_difference(ours, theirs, np.random.default_rng(7), resamples=1_234) for _ in range(2))
    assert one == other


def test_nobody_to_compare() -> None:
    """Without users the figures are NaN; pairs of different lengths are refused."""
    found = paired_difference(np.empty(0), np.empty(0), np.random.default_rng(8))
    assert all(math.isnan(end) for end in (found.mean, found.low, found.high))
    with pytest.raises(ValueError, match="pairs are wanted"):
        paired_difference(np.zeros(2), np.zeros(3), np.random.default_rng(9))
