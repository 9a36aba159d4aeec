"""Fits the planner of an index to its vectors: how much must be looked at, and when gathering is cheaper.

For sampled queries and filters of several pass rates the true best are known; each needs a certain share of the
survivors to be looked at before its list is. The share that holds enough of them is the planner's: one for filters
drawn at random, one for those that pass what is farthest from the query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.exact import answer_exactly
from recsvc.recommend.index.lift import Lift
from recsvc.recommend.index.lists import Lists
from recsvc.recommend.index.planner import Step
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.table import VectorTable, question

RATES: Final = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What a search must find: ``recall`` of the true best ``counted``, where ``depth`` are asked for.

    ``timed`` queries are timed at each pass rate.
    """

    recall: float = 0.99
    counted: int = 100
    depth: int = 500
    timed: int = 15


@dataclass(frozen=True, slots=True)
class Fitted:
    """The parts of an index whose planner is to be fitted; ``owners`` int64[n]: the list of each place."""

    table: VectorTable
    lift: Lift
    lists: Lists
    owners: NDArray[np.int64]


def item_queries(table: VectorTable, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw vectors of the index as queries, for want of real ones: float32[count or fewer, d]."""
    return table.at(np.sort(rng.choice(len(table), size=min(count, len(table)), replace=False)))


def fit_steps(
    parts: Fitted, queries: NDArray[np.float32], settings: FitSettings, rng: np.random.Generator
) -> list[Step]:
    """Return for each pass rate the shares of survivors that must be looked at; never less at a lower rate."""
    steps = [Step(1.0, 0.0, 0.0)]
    for rate in RATES:
        share, far = (
            _share(np.concatenate([np.zeros(1), *_needed(parts, queries, rate, kind, settings, rng)]), settings.recall)
            for kind in (_at_random, _farthest)
        )
        steps.append(Step(rate, max(share, steps[-1].share), max(far, share, steps[-1].far)))
    return steps[1:]


def _share(needed: NDArray[np.float64], recall: float) -> float:
    """Return the share that finds ``recall`` of the best, one float up so that it is reached and not just touched."""
    return min(1.0, float(np.nextafter(np.quantile(needed, recall, method="higher"), 2.0)))


def _needed(  # noqa: PLR0913, PLR0917 - one row of a table of measurements
    parts: Fitted,
    queries: NDArray[np.float32],
    rate: float,
    kind: Callable[[Fitted, NDArray[np.int64], float, np.random.Generator], Mask],
    settings: FitSettings,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.float64]]:
    """Yield for each query what share each of its true best needs to be found, under a filter of this kind."""
    for query in queries:
        point = parts.lift.query(question(parts.table, query, 0, None))
        if point is None:  # answered exactly, whatever the plan
            continue
        order = parts.lists.nearest(point)
        asked = question(parts.table, query, settings.counted, kind(parts, order, rate, rng))
        best = answer_exactly(parts.table, asked).places
        position = np.argsort(order)
        yield parts.lists.reach(order, asked.allowed)[position[parts.owners[best]]]


def _at_random(parts: Fitted, _order: NDArray[np.int64], rate: float, rng: np.random.Generator) -> Mask:
    return rng.random(len(parts.table)) < rate


def _farthest(parts: Fitted, order: NDArray[np.int64], rate: float, _rng: np.random.Generator) -> Mask:
    farthest = order[::-1]
    enough = int(np.searchsorted(np.cumsum(parts.lists.sizes[farthest]), rate * len(parts.table))) + 1
    passing = np.zeros(len(order), dtype=np.bool_)
    passing[farthest[:enough]] = True
    return passing[parts.owners]


def fit_gathering(  # noqa: PLR0913 - two indexes to compare, and what to compare them by
    exact: VectorIndex,
    probing: VectorIndex,
    queries: NDArray[np.float32],
    *,
    settings: FitSettings,
    rng: np.random.Generator,
    clock: Callable[[], float],
) -> int:
    """Return up to how many survivors the exact search is no slower than ``probing``, by the ``clock`` in seconds.

    From few survivors to many: where the lists are faster for the first time, they are so from there on.
    """
    best = 0
    for rate in reversed(RATES):
        allowed = rng.random(len(exact)) < rate
        times = [
            _seconds(index, queries[: settings.timed], settings.depth, allowed, clock) for index in (exact, probing)
        ]
        if times[0] > times[1]:
            break
        best = int(np.count_nonzero(allowed))
    return best


def _seconds(
    index: VectorIndex, queries: NDArray[np.float32], k: int, allowed: Mask, clock: Callable[[], float]
) -> float:
    """Return the median time of a search, in seconds."""
    times = []
    for query in queries:
        start = clock()
        index.search(query, k, allowed)
        times.append(clock() - start)
    return float(np.median(times))
