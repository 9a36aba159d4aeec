"""Linear and logistic models on standardised features: their score is a sum, so what each feature adds is exact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.recommend.ranking.card import SCALARS, Floats, ModelCard
from recsvc.recommend.ranking.errors import BundleError
from recsvc.recommend.ranking.json_fields import Fields
from recsvc.recommend.ranking.ranker import Contributions, Explains

WEIGHTS: Final = "weights.json"
_ROUNDING: Final = 1e-12
"""A column that varies by less than this part of its mean is constant but for rounding."""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """``intercept`` + Σ weight · (x - mean) / scale over the features; of it the logistic function where ``logistic``.

    ``means`` and ``scales`` (above 0) are those of the training rows; a value that is missing or not finite counts as
    the mean. The intercept is so the score, or the log-odds, of an average row.
    """

    intercept: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    logistic: bool = False

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, logistic: bool) -> LinearModel:
        """Read the weights of a bundle; raises BundleError."""
        if set(files) != {WEIGHTS}:
            raise BundleError(f"manifest.json lists the files {sorted(files)}; this kind has {WEIGHTS} alone")
        fields = Fields.parse(files[WEIGHTS], WEIGHTS)
        weights, means, scales = (fields.numbers(name) for name in ("weights", "means", "scales"))
        return cls(fields.number("intercept"), weights, means, scales, logistic)

    def files(self) -> Mapping[str, bytes]:
        """Return what a bundle keeps of it."""
        lists = {"weights": self.weights, "means": self.means, "scales": self.scales}
        return {WEIGHTS: json.dumps({"intercept": self.intercept} | lists, indent=1).encode()}

    def ranker(self, card: ModelCard) -> LinearRanker:
        """Return a ranker on the features of ``card``; raises BundleError where the model does not fit them."""
        for feature in card.features:
            if feature.type.kind not in SCALARS:
                right = "a linear model takes numbers, bools and timestamps"
                raise BundleError(f"feature {feature.name!r} is of type {feature.type}; {right}")
        for name, values in (("weights", self.weights), ("means", self.means), ("scales", self.scales)):
            if len(values) != card.width:
                raise BundleError(
                    f"{WEIGHTS}: {len(values)} {name}, there must be one for each of {card.width} features"
                )
        if not np.isfinite([self.intercept, *self.weights, *self.means, *self.scales]).all():
            raise BundleError(f"{WEIGHTS}: a number is not finite, all must be")
        if min(self.scales, default=1.0) <= 0:
            raise BundleError(f"{WEIGHTS}: a scale is {min(self.scales)}, all must be above 0")
        return LinearRanker(card, self)


class LinearRanker:
    """Scores rows by a LinearModel."""

    is_quick: Final = True

    def __init__(self, card: ModelCard, model: LinearModel) -> None:
        self._card = card
        self._model = model
        self._means = np.array(model.means)
        self._weights = np.array(model.weights)
        self._scales = np.array(model.scales)
        self.name = card.name
        self.version = card.version
        self.service = card.service
        self.explains = Explains.LOG_ODDS if model.logistic else Explains.SCORE

    def __repr__(self) -> str:
        kind = "logistic" if self._model.logistic else "linear"
        return f"LinearRanker({self.name} {self.version}, {kind}, {self._card.width} features)"

    def rank(self, matrix: Floats, names: Sequence[str]) -> Floats:
        """See Ranker.rank."""
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, which the guard finds
            sums: Floats = self._model.intercept + self._added(matrix, names).sum(axis=1)
        return logistic(sums) if self._model.logistic else sums

    def contributions(self, matrix: Floats, names: Sequence[str]) -> Contributions | None:
        """See Ranker.contributions: weight · (x - training mean) / scale."""
        return Contributions(self._model.intercept, self._added(matrix, names))

    def _added(self, matrix: Floats, names: Sequence[str]) -> Floats:
        """Return what each feature of each row adds. No BLAS: it would start threads, and sum by the number of rows."""
        self._card.check(matrix, names)
        with np.errstate(over="ignore", invalid="ignore"):
            added: Floats = matrix - self._means
            added[~np.isfinite(matrix)] = 0.0
            added /= self._scales
            added *= self._weights
        return added


def logistic(log_odds: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) of each value, without overflow at either end."""
    smaller = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, smaller) / (1.0 + smaller)


def standardization(matrix: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return means and scales (standard deviations) of the columns of training rows, for a LinearModel.

    Values that are not finite do not count. A column without values has mean 0; one that does not vary has scale 1.
    """
    there = np.isfinite(matrix)
    counts = np.maximum(there.sum(axis=0), 1)
    means = np.where(there, matrix, 0.0).sum(axis=0) / counts
    spread = np.sqrt((np.where(there, matrix - means, 0.0) ** 2).sum(axis=0) / counts)
    varies = spread > _ROUNDING * np.maximum(np.abs(means), 1.0)
    return tuple(means.tolist()), tuple(np.where(varies, spread, 1.0).tolist())
