"""The dot product scores embeddings, and a missing one by 0."""

from __future__ import annotations

import numpy as np
import pytest

from recsvc.recommend.ranking.card import ModelCard, ModelFeature
from recsvc.recommend.ranking.dot_product import DotProductModel
from recsvc.recommend.ranking.errors import BundleError
from recsvc.registry.types import FLOAT64, VECTOR, FeatureType

NAMES = ("user:embedding", "item:embedding", "item:price")


def card(*types: FeatureType) -> ModelCard:
    """Return the card of a model on features of these types."""
    return ModelCard("m", "1", "s", tuple(map(ModelFeature, NAMES, types)))


def test_scores_are_dot_products() -> None:
    """Component by component; a row without one of its vectors, or with an infinite one, has 0."""
    ranker = DotProductModel().ranker(card(VECTOR[2], VECTOR[2]))
    rows = np.array([[1, 2, 3, 4], [1, 2, -3, 1], [np.nan, np.nan, 3, 4], [1, 2, np.inf, 0]], np.float64)
    assert ranker.rank(rows, NAMES[:2]).tolist() == [11.0, -1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "types",
    [(), (VECTOR[2],), (VECTOR[2], VECTOR[3]), (FLOAT64, FLOAT64), (VECTOR[2], VECTOR[2], FLOAT64)],
    ids=str,
)
def test_other_features_are_refused(types: tuple[FeatureType, ...]) -> None:
    """Two vectors of one dimension, nothing less and nothing more."""
    with pytest.raises(BundleError, match="a dot product takes two vectors of one dimension"):
        DotProductModel().ranker(card(*types))
