"""Linear and logistic models compute what their definition says, also at the edges of what a float can hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recsvc.recommend.ranking.card import Floats, ModelCard, ModelFeature
from recsvc.recommend.ranking.errors import BundleError
from recsvc.recommend.ranking.linear import LinearModel, LinearRanker, logistic, standardization
from recsvc.recommend.ranking.ranker import best_first
from recsvc.registry.types import FLOAT64, STRING, VECTOR, FeatureType

NAMES = ("a", "b", "c")
small = st.floats(-1e6, 1e6)
three = st.tuples(small, small, small)
positive = st.floats(1e-3, 1e6)
models = st.builds(LinearModel, small, three, three, st.tuples(positive, positive, positive), st.booleans())
values = st.one_of(small, st.sampled_from([math.nan, math.inf, -math.inf]))
matrices = arrays(np.float64, st.tuples(st.integers(0, 5), st.just(3)), elements=values)


def card(*types: FeatureType) -> ModelCard:
    """Return the card of a model of a, b and c."""
    return ModelCard("m", "1", "s", tuple(map(ModelFeature, NAMES, types or (FLOAT64,) * 3)))


def ranker(model: LinearModel) -> LinearRanker:
    """Return a ranker of a model of three numbers."""
    return model.ranker(card())


def score(model: LinearModel, row: list[float]) -> float:
    """Compute a score as LinearModel defines it, number by number."""
    total = model.intercept
    for x, weight, mean, scale in zip(row, model.weights, model.means, model.scales, strict=True):
        total += weight * ((x if math.isfinite(x) else mean) - mean) / scale
    if not model.logistic:
        return total
    return 1 / (1 + math.exp(-total)) if total > -700 else 0.0


@given(models, matrices)
def test_scores_are_those_of_the_definition(model: LinearModel, rows: Floats) -> None:
    """Intercept plus weighted standardised values; what is not finite counts as the training mean."""
    wanted = [score(model, row) for row in rows.tolist()]
    size = max(1.0, *(abs(w) for w in wanted)) if wanted else 1.0
    terms = float(np.abs(np.where(np.isfinite(rows), rows, 0)).max(initial=1.0)) + 1e6
    exact = 1e-15 * terms * 1e6 / min(model.scales)  # large terms may cancel
    np.testing.assert_allclose(ranker(model).rank(rows, NAMES), wanted, rtol=1e-9, atol=1e-12 * size + exact)


def test_an_example_by_hand() -> None:
    """(12 - 10) / 2 · 3 and (1 - 2) / 4 · 8 on an intercept of .5; the third is missing."""
    model = LinearModel(0.5, (3.0, 8.0, 100.0), (10.0, 2.0, 0.0), (2.0, 4.0, 1.0))
    rows = np.array([[12.0, 1.0, np.nan]])
    assert ranker(model).rank(rows, NAMES).tolist() == [1.5]
    found = ranker(model).contributions(rows, NAMES)
    assert found is not None
    assert (found.base, found.values.tolist()) == (0.5, [[3.0, -2.0, 0.0]])


@given(models)
def test_the_mean_row_has_the_intercept(model: LinearModel) -> None:
    """A row at the training means contributes nothing: base is what explanations start from."""
    found = ranker(model).contributions(np.array([model.means]), NAMES)
    assert found is not None
    assert not found.values.any()


@given(st.lists(st.floats(-1e300, 1e300), max_size=20))
def test_logistic_is_a_probability_in_the_order_of_its_argument(log_odds: list[float]) -> None:
    """It never leaves 0 to 1, never overflows, and never turns an order round."""
    found = logistic(np.array(sorted(log_odds)))
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= -1e-15).all()


def test_an_overflow_is_left_for_the_guard_to_find() -> None:
    """No warning, no error: the score is not finite, and the other rows have theirs."""
    model = LinearModel(0.0, (1e300, 0.0, 0.0), (0.0,) * 3, (1e-300, 1.0, 1.0))
    found = ranker(model).rank(np.array([[1e300, 0.0, 0.0], [0.0, 1.0, 2.0]]), NAMES)
    assert np.isfinite(found).tolist() == [False, True]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (LinearModel(0.0, (1.0,), (0.0,) * 3, (1.0,) * 3), "1 weights, there must be one for each of 3"),
        (LinearModel(0.0, (1.0,) * 3, (0.0,) * 4, (1.0,) * 3), "4 means"),
        (LinearModel(0.0, (1.0,) * 3, (0.0,) * 3, ()), "0 scales"),
        (LinearModel(0.0, (1.0,) * 3, (0.0,) * 3, (1.0, 0.0, 1.0)), "a scale is 0.0, all must be above 0"),
        (LinearModel(math.nan, (1.0,) * 3, (0.0,) * 3, (1.0,) * 3), "not finite"),
        (LinearModel(0.0, (math.inf, 0.0, 0.0), (0.0,) * 3, (1.0,) * 3), "not finite"),
    ],
)
def test_a_model_that_cannot_score_is_refused(model: LinearModel, says: str) -> None:
    """Lists of the wrong length, scales to divide by zero with, and numbers that are none are found before any call."""
    with pytest.raises(BundleError, match=says):
        ranker(model)


@pytest.mark.parametrize("of", [STRING, VECTOR[3]], ids=str)
def test_features_that_are_no_single_number_are_refused(of: FeatureType) -> None:
    """The error names the feature and its type."""
    model = LinearModel(0.0, (1.0,) * 3, (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(BundleError, match=f"feature 'b' is of type {of.kind.value}"):
        model.ranker(card(FLOAT64, of, FLOAT64))


def test_standardization_leaves_out_what_is_not_known() -> None:
    """Means and deviations are of the finite values; a constant column and an empty one divide by 1."""
    rows = np.array([[1.0, 5.0, np.nan], [3.0, np.nan, np.nan], [np.inf, 5.0, np.nan]])
    assert standardization(rows) == ((2.0, 5.0, 0.0), (1.0, 1.0, 1.0))


@given(arrays(np.float64, st.integers(0, 10), elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, 1e300, -1e300])))
def test_best_first_keeps_the_order_of_equals(scores: Floats) -> None:
    """Candidates with equal scores stay in the order of retrieval."""
    assert best_first(scores).tolist() == sorted(range(len(scores)), key=lambda place: -scores[place])
