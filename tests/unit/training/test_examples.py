"""Examples: labels and groups of what was found, and features as numbers."""

from __future__ import annotations

import numpy as np
import pytest

from recsvc import STRING, VECTOR
from recsvc.client import Column, Source, Status
from recsvc.recommend.ranking.card import ModelFeature
from recsvc.training.errors import TrainingError
from recsvc.training.examples import Found, check_features, floats, joined, labelled

FEATURES = ("film:year", "match:affinity")


def found(user: str, *items: str) -> Found:
    """Return candidates; the features of a row are its number."""
    return Found(user, items, np.arange(2.0 * len(items)).reshape(-1, 2))


def test_what_was_taken_is_right() -> None:
    """Candidates that the user took are 1, all others 0; what was taken and not found is counted."""
    made = labelled(FEATURES, [found("1", "a", "b", "c"), found("2", "b")], {"1": ["c", "x"], "2": ["a", "b"]})
    assert made.labels.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert made.groups.tolist() == [3, 1]
    assert made.retrieval.tolist() == [1.0, 2.0, 3.0, 1.0]
    assert (made.users, made.items, made.missed) == (["1", "2"], ["a", "b", "c", "b"], 2)
    assert made.matrix.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [0.0, 1.0]]


def test_requests_without_candidates_are_no_group() -> None:
    """A request that found nothing has no rows and no group, but what its user took is missed."""
    made = labelled(FEATURES, [Found("1", [], np.empty((0, 2)))], {"1": ["a"]})
    assert (len(made), len(made.groups), made.missed) == (0, 0, 1)
    assert made.matrix.shape == (0, 2)


def test_only_requests_with_a_hit_teach_an_order() -> None:
    """Requests without a hit go, with their rows, users and items."""
    taken = {"1": ["x"], "2": ["b"], "3": []}
    hits = labelled(FEATURES, [found("1", "a"), found("2", "a", "b"), found("3", "c")], taken).with_hits()
    assert (hits.users, hits.items, hits.groups.tolist()) == (["2"], ["a", "b"], [2])
    assert (hits.labels.tolist(), hits.retrieval.tolist(), hits.missed) == ([0.0, 1.0], [1.0, 2.0], 1)
    assert hits.matrix.shape == (2, 2)


def test_parts_are_joined_in_order() -> None:
    """Examples of several times are one, request after request; of other features they cannot be."""
    one, two = (labelled(FEATURES, [found("1", *items)], {"1": ["a"]}) for items in ("ab", "c"))
    both = joined([one, two])
    assert (both.items, both.groups.tolist(), both.missed) == (["a", "b", "c"], [2, 1], 1)
    with pytest.raises(TrainingError, match="different features"):
        joined([one, labelled(("x:y",), [], {})])
    with pytest.raises(TrainingError, match="no examples"):
        joined([])


def test_features_become_numbers_and_what_is_missing_nan() -> None:
    """Bools are 0 and 1, times microseconds, nulls and values that nobody has NaN; one value stands for all rows."""
    present, null = int(Status.PRESENT), int(Status.NULL_VALUE)
    sources = np.array([Source.STORE], np.uint8)

    def column(values: list[object], kind: str, *statuses: int) -> list[float]:
        found = floats(Column("v:f", np.array(values, kind), np.array(statuses, np.uint8), sources), 3)
        return [float(value) for value in found]

    assert column([True, False, True], "?", present) == [1.0, 0.0, 1.0]
    assert column([5, 2**53, -1], "i8", present) == [5.0, 2.0**53, -1.0]
    assert column([3], "M8[us]", present) == [3.0, 3.0, 3.0]
    assert np.isnan(column([1.5, 0.0, 2.5], "f8", present, null, present)).tolist() == [False, True, False]
    nowhere = Column("v:f", np.zeros(1), np.array([Status.NOT_FOUND], np.uint8), np.array([Source.NONE], np.uint8))
    assert np.isnan(floats(nowhere, 2)).all()


def test_features_that_no_ranker_takes_are_named() -> None:
    """Texts and vectors are refused, all of them at once."""
    wrong = [ModelFeature("film:title", STRING), ModelFeature("als:vector", VECTOR[4])]
    with pytest.raises(TrainingError, match=r"film:title is STRING.*als:vector is VECTOR\[4\]"):
        check_features("page", wrong)
