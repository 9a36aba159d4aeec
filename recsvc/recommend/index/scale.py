"""Brings vectors and queries to the scale of the lists, where the longest vector has length 1.

There nothing overflows, and what is told of lists is told in numbers of one size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.table import Question, VectorTable

FAR: Final = 64.0
"""From so many times the longest vector away, float32 no longer tells distances to vectors apart: from nearer by, the
order is the same but for vectors that are as good as equal."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of one table."""

    metric: Metric
    longest: float

    @classmethod
    def of(cls, table: VectorTable) -> Scale:
        """Return the scale of a table."""
        return cls(table.metric, table.longest)

    def vectors(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the float32[m, d] that stand in lists for float32[m, d] vectors."""
        scaled = vectors.astype(np.float64) / (self.longest or 1.0)
        return np.ascontiguousarray(scaled, dtype=np.float32)

    def query(self, asked: Question) -> NDArray[np.float32] | None:
        """Return the query as it is asked of lists, None where they have no answer and all must be scored.

        The length of a query changes no order of products, so there it is 1.
        """
        if self.longest == 0.0:
            return None
        if self.metric is Metric.L2:
            return None if asked.length > FAR * self.longest else asked.query / np.float32(self.longest)
        return None if asked.length == 0.0 else asked.query / np.float32(asked.length)
