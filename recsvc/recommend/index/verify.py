"""Measures an index against the exact scan of its own vectors, at several pass rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.exact import answer_exactly
from recsvc.recommend.index.fit import FitSettings
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.table import VectorTable, question


@dataclass(frozen=True, slots=True)
class Measured:
    """What searches at one pass rate found: their mean and least ``recall``, and how many were ``short`` of hits."""

    rate: float
    recall: float
    least: float
    short: int


def measure(  # noqa: PLR0913, PLR0917 - an index, what is true of it, and what to ask
    index: VectorIndex,
    table: VectorTable,
    queries: NDArray[np.float32],
    rates: Sequence[float],
    rng: np.random.Generator,
    settings: FitSettings | None = None,
) -> list[Measured]:
    """Search an index of ``table`` with filters drawn at random.

    Counts the true best ``counted`` among ``depth`` hits (see FitSettings). Where a filter passes nothing there is
    nothing to find, and the recall is 1.
    """
    settings = settings or FitSettings()
    return [_at_rate(index, table, queries, rate, settings, rng) for rate in rates]


def _at_rate(  # noqa: PLR0913, PLR0917 - as above
    index: VectorIndex,
    table: VectorTable,
    queries: NDArray[np.float32],
    rate: float,
    settings: FitSettings,
    rng: np.random.Generator,
) -> Measured:
    recall, short = [], 0
    for query in queries:
        allowed = rng.random(len(index)) < rate
        asked = question(table, query, settings.counted, allowed)
        best = answer_exactly(table, asked).places
        found = index.search(query, settings.depth, allowed).places
        recall.append(float(np.isin(best, found).mean()) if len(best) else 1.0)
        short += len(found) < min(settings.depth, asked.passing)
    return Measured(rate, float(np.mean(recall)), min(recall), short)
