"""Marginal relevance chooses as the formula says, whatever the scale of scores and the length of vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsvc.recommend.diversity import InOrder, MarginalRelevance, relevance, units

SIZES = st.integers(1, 8)


@given(st.integers(0, 2**32 - 1), SIZES, st.sampled_from([0.1, 0.5, 1.0]))
def test_choices_are_those_of_the_formula(seed: int, size: int, weight: float) -> None:
    """Each choice has the highest (1 - w) · relevance - w · cosine to the nearest chosen one, in plain arithmetic."""
    random = np.random.default_rng(seed)
    scores, vectors = -np.sort(-random.normal(size=size)), random.normal(size=(size, 3)).astype(np.float32)
    preference, chosen = MarginalRelevance(scores, vectors, weight), list[int]()
    span = scores.max() - scores.min() or 1.0
    while len(chosen) < size:
        left = np.array([row not in chosen for row in range(size)])
        row = preference.best(left)
        worth = [
            (1 - weight) * (scores[i] - scores.min()) / span
            - weight * max((cosine(vectors[i], vectors[j]) for j in chosen), default=0.0)
            for i in range(size)
        ]
        assert left[row]
        assert worth[row] == pytest.approx(max(w for w, free in zip(worth, left, strict=True) if free), abs=1e-5)
        preference.choose(row)
        chosen.append(row)


def cosine(
    one: np.ndarray[tuple[int], np.dtype[np.float32]], other: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> float:
    """Compute the cosine of two vectors."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


@given(hnp.arrays(np.float32, st.tuples(SIZES, SIZES), elements=st.floats(width=32)))
def test_units_have_length_one_or_zero_and_are_never_nan(
    vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]],
) -> None:
    """Any vector with a direction has length 1, also the largest and the smallest; all others are zeros."""
    lengths = np.linalg.norm(units(vectors).astype(np.float64), axis=1)
    directed = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    assert lengths == pytest.approx(directed.astype(np.float64), abs=1e-5)


@given(hnp.arrays(np.float64, SIZES, elements=st.floats()))
def test_relevance_is_between_0_and_1_whatever_the_scores(scores: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """NaN, infinite and equal scores too give numbers that can be added up."""
    scaled = relevance(scores)
    assert ((scaled >= 0) & (scaled <= 1)).all()


def test_relevance_by_rank_where_a_score_is_not_finite() -> None:
    """An infinite score would leave nothing between the others: ranks take its place."""
    assert relevance(np.array([np.inf, 2.0, 1.0])).tolist() == [1.0, 0.5, 0.0]


def test_a_candidate_without_embedding_is_like_no_other() -> None:
    """It has no penalty, and choosing it says that the wish for variety could not be met."""
    preference = MarginalRelevance(np.array([3.0, 2.0, 1.0]), np.array([[1, 0], [1, 0], [0, 0]], dtype=np.float32), 0.8)
    preference.choose(0)
    assert preference.best(np.array([False, True, True])) == 2
    assert preference.overruled(2, 2)
    assert not preference.overruled(1, 1)


def test_state_shows_in_repr() -> None:
    """A preference says what it goes by and whether it has begun."""
    preference = MarginalRelevance(np.ones(2), np.ones((2, 2), dtype=np.float32), 0.5)
    assert repr(preference) == "MarginalRelevance(2 candidates, weight=0.5, nothing chosen)"
    preference.choose(1)
    assert repr(preference) == "MarginalRelevance(2 candidates, weight=0.5, some chosen)"
    assert repr(InOrder()) == "InOrder()"
