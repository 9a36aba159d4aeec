"""Fits the planner of an index to its vectors: how much must be looked at, and when gathering is cheaper.

For sampled queries and filters of several pass rates and kinds the true best are known; each needs a certain share, by
the estimate of ``lists``, to be looked at before its list is. The share that holds enough of them, whatever the kind of
filter, is the planner's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.lists import Lists
from recsvc.recommend.index.metric import directions, rough_scores
from recsvc.recommend.index.planner import Step
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.scale import Scale
from recsvc.recommend.index.table import VectorTable, question

RATES: Final = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
_CELLS: Final = 512
_FARTHEST: Final = 3
"""The kind of filter that passes what lies farthest."""
_ROWS: Final = 16_384
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What a search must find: ``recall`` of the true best ``counted``, where ``depth`` are asked for.

    ``timed`` queries are timed at each pass rate.
    """

    recall: float = 0.985
    counted: int = 100
    depth: int = 500
    timed: int = 15


@dataclass(frozen=True, slots=True)
class Fitted:
    """The parts of an index whose planner is to be fitted."""

    table: VectorTable
    scale: Scale
    lists: Lists


def item_queries(table: VectorTable, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw vectors of the index as queries, for want of real ones: float32[count or fewer, d]."""
    return table.at(np.sort(rng.choice(len(table), size=min(count, len(table)), replace=False)))


def fit_steps(
    parts: Fitted, queries: NDArray[np.float32], settings: FitSettings, rng: np.random.Generator
) -> list[Step]:
    """Return for each pass rate the share that must be looked at; never less at a lower rate."""
    cells = _Cells.of(parts.table, rng)
    needed: dict[tuple[float, int], list[NDArray[np.float64]]] = {}
    for query in queries:
        for rate, kind, shares in _needed(parts, cells, query, settings, rng):
            needed.setdefault((rate, kind), []).append(shares)
    steps = [Step(1.0, 0.0, 0.0)]
    for rate in RATES:
        found = {kind: _share(np.concatenate(s), settings.recall) for (of, kind), s in needed.items() if of == rate}
        share = max([steps[-1].share, *(enough for kind, enough in found.items() if kind != _FARTHEST)])
        steps.append(Step(rate, share or 1.0, max(share or 1.0, steps[-1].far, found.get(_FARTHEST, 0.0))))
    return steps[1:]


def _share(needed: NDArray[np.float64], recall: float) -> float:
    """Return the share that finds ``recall`` of the best, one float up so that it is reached and not just touched."""
    return min(1.0, float(np.nextafter(np.quantile(needed, recall, method="higher"), 2.0)))


@dataclass(frozen=True, slots=True)
class _Cells:
    """Parts of the space, each around one of the vectors: filters that go with the vectors pass some of them.

    ``of_each`` int64[n]: the cell of each place; ``sizes`` int64[c].
    """

    anchors: Ints
    of_each: Ints
    sizes: Ints

    @classmethod
    def of(cls, table: VectorTable, rng: np.random.Generator) -> _Cells:
        anchors = rng.choice(len(table), size=min(_CELLS, max(1, len(table) // 8)), replace=False)
        units = directions(table.vectors.take(anchors, axis=0)).T
        blocks = (table.vectors[start : start + _ROWS] for start in range(0, len(table), _ROWS))
        of_each = np.concatenate([(block @ units).argmax(axis=1) for block in blocks])
        return cls(anchors, of_each, np.bincount(of_each, minlength=len(anchors)))

    def passing(self, order: Ints, rate: float) -> Mask:
        """Return a filter that passes the first cells of an order, as many as make up the pass rate: bool[n]."""
        enough = int(np.searchsorted(np.cumsum(self.sizes[order]), rate * len(self.of_each))) + 1
        passes = np.zeros(len(self.sizes), dtype=np.bool_)
        passes[order[:enough]] = True
        return passes.take(self.of_each)


def _filters(cells: _Cells, scores: NDArray[np.float32], rate: float, rng: np.random.Generator) -> Iterator[Mask]:
    """Yield filters of a pass rate: at random; of cells with that of the query, without those near it, farthest."""
    yield rng.random(len(scores)) < rate
    if rate >= 1.0:
        return
    near = np.argsort(-scores[cells.anchors])
    yield cells.passing(np.concatenate([near[:1], rng.permutation(near[1:])]), rate)
    yield cells.passing(rng.permutation(near[max(1, len(near) // 20) :]), rate)
    yield cells.passing(near[::-1], rate)


def _needed(
    parts: Fitted, cells: _Cells, query: NDArray[np.float32], settings: FitSettings, rng: np.random.Generator
) -> Iterator[tuple[float, int, NDArray[np.float64]]]:
    """Yield for each pass rate and kind of filter what share each of the true best needs to be found."""
    table, lists = parts.table, parts.lists
    asked = question(table, query, 0, None)
    point = parts.scale.query(asked)
    if point is None:  # answered exactly, whatever the plan
        return
    starts = range(0, len(table), _ROWS)
    blocks = [rough_scores(table.metric, asked.query, table.vectors[s : s + _ROWS]) for s in starts]
    scores = np.concatenate(blocks)
    for rate in RATES:
        for kind, allowed in enumerate(_filters(cells, scores, rate, rng)):
            best = _best(scores, allowed, settings.counted)
            if len(best):
                recount = partial(_recount, lists, allowed)
                survivors = lists.survivors(allowed.take(lists.sample), recount)
                order, held, _ = lists.expected(point, survivors, float(len(best)))
                reached = np.ones(len(lists.sizes))
                reached[order] = np.concatenate([np.zeros(1), held[:-1]])  # a list is probed until those before suffice
                yield rate, kind, reached[lists.owners[best]]


def _recount(lists: Lists, allowed: Mask, some: Ints) -> NDArray[np.float32]:
    return lists.recount(lambda at: allowed[lists.members[at]], some)


def _best(scores: NDArray[np.float32], allowed: Mask, count: int) -> Ints:
    passing = np.flatnonzero(allowed)
    if len(passing) <= count:
        return passing
    return passing[np.argpartition(scores[passing], -count)[-count:]]


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
