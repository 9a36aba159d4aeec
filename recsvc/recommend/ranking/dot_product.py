"""The dot product of two embeddings, such as the user's and the item's: a ranker without weights of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.recommend.ranking.card import Floats, ModelCard
from recsvc.recommend.ranking.errors import BundleError
from recsvc.recommend.ranking.ranker import Contributions, Explains
from recsvc.registry.types import Kind

FACTORS: Final = 2


@dataclass(frozen=True, slots=True)
class DotProductModel:
    """Two vectors of one dimension, nothing to learn."""

    def files(self) -> Mapping[str, bytes]:
        """Return what a bundle keeps of it: nothing."""
        return {}

    def ranker(self, card: ModelCard) -> DotProductRanker:
        """Return a ranker on the features of ``card``; raises BundleError where they are not two equal vectors."""
        types = [f.type for f in card.features]
        if len(types) != FACTORS or types[0] != types[1] or types[0].kind is not Kind.VECTOR:
            listed = ", ".join(map(str, types)) or "nothing"
            raise BundleError(
                f"service {card.service!r} gives {listed}; a dot product takes two vectors of one dimension"
            )
        return DotProductRanker(card)


class DotProductRanker:
    """Scores a row by the dot product of its two vectors; 0 where one of them is missing or not finite."""

    explains: Final = Explains.NOTHING
    is_quick: Final = True

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self._dimension = card.width // FACTORS
        self.name = card.name
        self.version = card.version
        self.service = card.service

    def __repr__(self) -> str:
        return f"DotProductRanker({self.name} {self.version}, {self._dimension} dimensions)"

    def rank(self, matrix: Floats, names: Sequence[str]) -> Floats:
        """See Ranker.rank."""
        self._card.check(matrix, names)
        with np.errstate(over="ignore", invalid="ignore"):  # of values that are not finite; those get 0 below
            products = matrix[:, : self._dimension] * matrix[:, self._dimension :]
            scores: Floats = products.sum(axis=1)
        scores[~np.isfinite(scores)] = 0.0
        return scores

    def contributions(self, matrix: Floats, names: Sequence[str]) -> Contributions | None:
        """See Ranker.contributions: it has none, for no feature acts alone."""
        self._card.check(matrix, names)
        return None
