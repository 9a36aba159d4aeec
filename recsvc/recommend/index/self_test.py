"""The self-test of an index: questions with their true answers, asked when it is built and each time it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.exact import answer_exactly
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.table import VectorTable, question

DEPTH: Final = 100
"""Recall counts the true best of so many."""
SLACK: Final = 0.02
"""An index that finds this much less than when it was built is not the index that was built."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Queries float32[m, d], and for each its true best places int64[m, k]."""

    queries: NDArray[np.float32]
    best: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.queries)

    def recall(self, index: VectorIndex, pause: Callable[[], None] = lambda: None) -> float:
        """Return which share of the true best places the index finds; 1 where there is nothing to find.

        ``pause`` is called after each query.
        """
        depth, found = self.best.shape[1], 0
        for query, best in zip(self.queries, self.best, strict=True):
            found += len(np.intersect1d(index.search(query, depth).places, best, assume_unique=True))
            pause()
        return found / self.best.size if self.best.size else 1.0


def self_test(table: VectorTable, queries: NDArray[np.float32]) -> SelfTest:
    """Answer the queries float32[m, d] exactly."""
    depth = min(DEPTH, len(table))
    answers = [answer_exactly(table, question(table, query, depth, None)).places for query in queries]
    return SelfTest(queries, np.array(answers, dtype=np.int64).reshape(len(queries), depth))
