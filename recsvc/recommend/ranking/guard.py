"""Keeps a failing model from costing a slate: the pipeline gets its scores, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recsvc.recommend.ranking.card import Floats
from recsvc.recommend.ranking.ranker import Contributions, Ranker


class Ranking(NamedTuple):
    """Scores (float64[n], all finite), or None and in ``detail`` why there are none.

    That is for a log, never for a caller: it may have an exception's text in it.
    """

    scores: Floats | None
    detail: str = ""


class Explanation(NamedTuple):
    """What ``inner`` says of its scores, None where it has nothing to say or fails; then ``detail`` as in Ranking."""

    contributions: Contributions | None
    detail: str = ""


class GuardedRanker:
    """Asks ``inner``, and makes a value of whatever goes wrong in it."""

    def __init__(self, inner: Ranker) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"GuardedRanker({self.inner!r})"

    def rank(self, matrix: Floats, names: Sequence[str]) -> Ranking:
        """Return the scores of ``inner``, or why it has none for these rows; never raises an Exception."""
        try:
            scores = np.asarray(self.inner.rank(matrix, names), np.float64)
        except Exception as error:  # noqa: BLE001  # a model is its owner's: anything can come out of it, and it costs its order only
            return Ranking(None, _told(error))
        if scores.shape != matrix.shape[:1]:
            return Ranking(None, f"scores of {scores.shape} for a matrix of {matrix.shape}")
        wrong = int(np.count_nonzero(~np.isfinite(scores)))
        if wrong:
            return Ranking(None, f"{wrong} of {len(scores)} scores are not finite")
        return Ranking(scores)

    def contributions(self, matrix: Floats, names: Sequence[str]) -> Explanation:
        """Return the contributions of ``inner``; none where it has none, fails, or one is not finite."""
        try:
            found = self.inner.contributions(matrix, names)
            if found is None or np.isfinite(found.values).all():
                return Explanation(found)
        except Exception as error:  # noqa: BLE001  # as above, and an explanation is worth less than a slate
            return Explanation(None, _told(error))
        return Explanation(None, "contributions that are not finite")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
