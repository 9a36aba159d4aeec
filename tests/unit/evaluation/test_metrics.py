"""Metrics against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsvc.evaluation.metrics import (
    NONE,
    coverage,
    found,
    intra_list_diversity,
    ndcg,
    recall,
    reciprocal_rank,
    score,
)

# Three queries over five items, k = 3: hits at ranks 1 and 3; at rank 2 of a short slate; none.
SLATES = np.array([[0, 1, 2], [3, 4, NONE], [1, 2, 0]])
RELEVANT = np.array([[1, 0, 1, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]], np.bool_)
VECTORS = np.array([[1, 0], [0, 2], [3, 3], [1, 0], [0, 0]], np.float64)


def test_hits_are_the_relevant_items_of_a_slate() -> None:
    """A slot is a hit where its item is relevant for that query; an empty slot is none, whatever item 0 is."""
    assert found(SLATES, RELEVANT).tolist() == [[True, False, True], [False, True, False], [False] * 3]
    assert found(np.array([[NONE, NONE]]), np.array([[True, True]])).tolist() == [[False, False]]


def test_recall_counts_all_that_is_relevant() -> None:
    """2 of 4, 1 of 1 and 0 of 1 are found: what does not fit into the slate counts too."""
    assert recall(found(SLATES, RELEVANT), RELEVANT.sum(axis=1)).tolist() == [0.5, 1.0, 0.0]


def test_ndcg_is_the_gain_over_the_best_there_can_be() -> None:
    """(1 + 1/2) / (1 + 1/log2(3) + 1/2); 1/log2(3) over 1; 0."""
    second = 1 / math.log2(3)
    values = ndcg(found(SLATES, RELEVANT), RELEVANT.sum(axis=1))
    assert values == pytest.approx([1.5 / (1.5 + second), second, 0.0])


def test_ndcg_of_a_perfect_slate_is_one() -> None:
    """Also where more is relevant than fits, and where less is."""
    hits = np.array([[True, True], [True, False]])
    assert ndcg(hits, np.array([7, 1])) == pytest.approx([1.0, 1.0])


def test_reciprocal_rank_is_that_of_the_first_hit() -> None:
    """Ranks 1, 2 and none."""
    assert reciprocal_rank(found(SLATES, RELEVANT)).tolist() == [1.0, 0.5, 0.0]


def test_coverage_counts_each_item_once() -> None:
    """All five of ten items are in some slate; empty slots are no item."""
    assert coverage(SLATES, 10) == 0.5
    assert math.isnan(coverage(SLATES, 0))


def test_diversity_is_the_mean_over_pairs() -> None:
    """Cosines of (0, 1, 2) are 0, 1/√2 and 1/√2; item 4 has no direction, so (3, 4) has no pair."""
    values = intra_list_diversity(SLATES, VECTORS)
    assert values[[0, 2]] == pytest.approx([1 - math.sqrt(2) / 3] * 2)
    assert math.isnan(values[1])
    assert intra_list_diversity(np.array([[0, 3]]), VECTORS) == pytest.approx([0.0])


def test_all_metrics_come_together() -> None:
    """The diversity is the mean over the slates that have one."""
    scores = score(SLATES, RELEVANT, VECTORS, 5)
    assert scores.recall.mean() == pytest.approx(0.5)
    assert scores.reciprocal_rank.mean() == pytest.approx(0.5)
    assert scores.coverage == 1.0
    assert scores.diversity == pytest.approx(1 - math.sqrt(2) / 3)


def test_nobody_to_ask_is_no_error() -> None:
    """Without a query there are no values, and no diversity."""
    scores = score(np.empty((0, 3), np.int64), np.empty((0, 5), np.bool_), VECTORS, 5)
    assert len(scores.ndcg) == 0
    assert math.isnan(scores.diversity)
