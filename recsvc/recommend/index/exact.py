"""The exact index: scores every allowed vector. Slow for millions, and the definition of right for all other indexes.

Two passes: a rough one in single precision, block by block, that keeps whatever could be among the best k; then the
exact scores of those few decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.leaders import Leaders
from recsvc.recommend.index.manifest import IvfManifest
from recsvc.recommend.index.metric import Metric, rough_error, rough_scores, scores
from recsvc.recommend.index.protocol import Hits
from recsvc.recommend.index.table import NO_HITS, Question, VectorTable, best_first, question

BLOCK = 4_096
"""Rows scored in one go: 1 MB of 64 numbers each, which a core's cache holds."""
SPARSE = 0.3
"""Below this share of survivors they are gathered; above it, whole blocks are scored and then filtered: reading a row
in its turn takes about half as long as fetching one from somewhere (25 and 54 ns at 64 numbers)."""

FEW = 1_024
"""That many survivors are scored exactly at once."""


class ExactIndex:
    """Scores all allowed vectors of a table; see VectorIndex."""

    def __init__(self, table: VectorTable, *, version: str) -> None:
        self._table = table
        self._version = version

    def __repr__(self) -> str:
        return f"ExactIndex({self._version}, {len(self)} × {self.dimension}, {self.metric})"

    def __len__(self) -> int:
        return len(self._table)

    @property
    def ids(self) -> Sequence[str]:
        """See VectorIndex."""
        return self._table.ids

    @property
    def dimension(self) -> int:
        """See VectorIndex."""
        return self._table.dimension

    @property
    def metric(self) -> Metric:
        """See VectorIndex."""
        return self._table.metric

    @property
    def version(self) -> str:
        """See VectorIndex."""
        return self._version

    @property
    def table(self) -> VectorTable:
        """See Stored."""
        return self._table

    def save_lists(self, directory: Path) -> IvfManifest | None:  # noqa: ARG002 - as in Stored
        """See Stored: the table is all there is."""
        return None

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """See VectorIndex."""
        return self._table.at(places)

    def search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """See VectorIndex."""
        return answer_exactly(self._table, question(self._table, query, k, allowed))


def answer_exactly(table: VectorTable, asked: Question, passing: NDArray[np.int64] | None = None) -> Hits:
    """Answer a search by scoring all allowed vectors of the table; ``passing``: their places, where these are known."""
    if asked.wanted == 0:
        return NO_HITS
    if asked.passing <= FEW or asked.passing <= 2 * asked.wanted:
        return score_places(table, asked, _survivors(asked.allowed, len(table)) if passing is None else passing)
    error = rough_error(table.metric, asked.length, table.longest, table.dimension)
    leaders = Leaders(asked.wanted, margin=3.0 * error)
    if passing is not None:
        gather(table.metric, asked.query, table.vectors, passing, leaders)
    elif asked.allowed is not None and asked.passing < SPARSE * len(table):
        gather(table.metric, asked.query, table.vectors, np.flatnonzero(asked.allowed), leaders)
    else:
        _scan(table, asked, leaders)
    return score_places(table, asked, leaders.places())


def score_places(table: VectorTable, asked: Question, places: NDArray[np.int64]) -> Hits:
    """Answer a search from these places alone, whatever is allowed; no place may stand twice."""
    return score_rows(table.metric, asked, table.vectors, places, places)


def score_rows(
    metric: Metric, asked: Question, vectors: NDArray[np.float32], rows: NDArray[np.int64], places: NDArray[np.int64]
) -> Hits:
    """Answer a search from these rows of ``vectors`` alone; ``places`` has the place of each, no two the same."""
    blocks = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
    found = [scores(metric, asked.query, vectors.take(block, axis=0)) for block in blocks]
    return best_first(places, np.concatenate(found), asked.wanted) if found else NO_HITS


def _survivors(allowed: NDArray[np.bool_] | None, n: int) -> NDArray[np.int64]:
    return np.arange(n) if allowed is None else np.flatnonzero(allowed)


def gather(
    metric: Metric,
    query: NDArray[np.float32],
    vectors: NDArray[np.float32],
    places: NDArray[np.int64],
    leaders: Leaders,
) -> None:
    """Score the vectors at ``places`` roughly, and hand the good ones to ``leaders``."""
    for start in range(0, len(places), BLOCK):
        block = places[start : start + BLOCK]
        rough = rough_scores(metric, query, vectors.take(block, axis=0))
        chosen = np.flatnonzero(rough >= leaders.floor)
        leaders.add(block[chosen], rough[chosen])


def _scan(table: VectorTable, asked: Question, leaders: Leaders) -> None:
    for start in range(0, len(table), BLOCK):
        rough = rough_scores(table.metric, asked.query, table.vectors[start : start + BLOCK])
        good = rough >= leaders.floor
        if asked.allowed is not None:
            good &= asked.allowed[start : start + BLOCK]
        chosen = np.flatnonzero(good)
        leaders.add(chosen + start, rough[chosen])
