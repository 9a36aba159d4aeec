"""An index whose vectors are kept by another server, which finds candidates; their scores are computed here.

So scores, and the order of what was found, are those of the exact index, whatever the server rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.online.vector_store import VectorSet, VectorStore
from recsvc.recommend.index.errors import BadQueryError
from recsvc.recommend.index.metric import Metric, lengths, scores
from recsvc.recommend.index.protocol import Hits
from recsvc.recommend.index.remote_plan import Way, first_k, more_k, way
from recsvc.recommend.index.scale import FAR
from recsvc.recommend.index.table import NO_HITS, Question, VectorTable, best_first, question

_SAME_LENGTH: Final = 1e-4
_PRODUCT: Final = 1e4
"""How large products are made: of products much below 1 the server would see little, since it takes them from 1."""
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an index with its vectors elsewhere knows of them."""

    ids: Sequence[str]
    dimension: int
    metric: Metric
    longest: float
    graph: bool

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, table: VectorTable, *, graph: bool) -> Facts:
        """Return what there is to know of a table; ``graph``: a graph is to lead the search, if one can.

        A graph by products of vectors of spread lengths finds .87 to .99 of the best hundred, as the vectors are; one
        by distance, of vectors brought to one length by one more component, .49 to .98. So there all are compared.
        """
        known = lengths(table.vectors)
        least = float(known.min(initial=table.longest, where=known > 0.0))
        leads = graph and (table.metric is Metric.L2 or least >= table.longest * (1.0 - _SAME_LENGTH))
        return cls(table.ids, table.dimension, table.metric, table.longest, leads)

    def point(self, asked: Question) -> NDArray[np.float32] | None:
        """Return the query as it is asked there; None where it has no direction, so all are alike.

        The length of a query changes no order of products (cosines are products of unit vectors).
        """
        if self.metric is Metric.L2:
            return asked.query * np.float32(min(1.0, FAR * self.longest / asked.length if asked.length else 1.0))
        if asked.length == 0.0 or self.longest == 0.0:
            return None
        scaled = asked.query.astype(np.float64) * (_PRODUCT / self.longest / asked.length)
        return scaled.astype(np.float32)


def vector_set(name: str, facts: Facts) -> VectorSet:
    """Return what the vectors are to the server that keeps them."""
    return VectorSet(name, len(facts), facts.dimension, facts.graph, facts.metric is not Metric.L2)


class RemoteIndex:
    """Searches vectors that ``store`` keeps; see VectorIndex. Raises StoreUnavailableError where it does not answer."""

    def __init__(self, facts: Facts, store: VectorStore, *, version: str) -> None:
        self._facts = facts
        self._store = store
        self._version = version

    def __repr__(self) -> str:
        kind = "a graph" if self._facts.graph else "no graph"
        return f"RemoteIndex({self._version}, {len(self)} × {self.dimension}, {self.metric}, {kind}, {self._store!r})"

    def __len__(self) -> int:
        return len(self._facts)

    @property
    def ids(self) -> Sequence[str]:
        """See VectorIndex."""
        return self._facts.ids

    @property
    def dimension(self) -> int:
        """See VectorIndex."""
        return self._facts.dimension

    @property
    def metric(self) -> Metric:
        """See VectorIndex."""
        return self._facts.metric

    @property
    def version(self) -> str:
        """See VectorIndex."""
        return self._version

    @property
    def facts(self) -> Facts:
        """What is known of the vectors here."""
        return self._facts

    def vectors(self, places: Places) -> NDArray[np.float32]:
        """See VectorIndex. They are fetched: not for an event loop."""
        chosen = np.asarray(places, dtype=np.int64)
        if not len(chosen):
            return np.empty((0, self.dimension), dtype=np.float32)
        if not 0 <= chosen.min() <= chosen.max() < len(self):
            raise BadQueryError(f"places {chosen.min()} to {chosen.max()}: the index has places 0 to {len(self) - 1}")
        return self._store.vectors(chosen)

    def table(self) -> VectorTable:
        """Fetch all vectors: to measure the index by them."""
        facts = self._facts
        return VectorTable(facts.ids, self.vectors(np.arange(len(self))), facts.metric, facts.longest)

    def search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """See VectorIndex."""
        asked = question(self._facts, query, k, allowed)
        if asked.wanted == 0:
            return NO_HITS
        point = self._facts.point(asked)
        if point is None:
            first = np.arange(len(self)) if asked.allowed is None else np.flatnonzero(asked.allowed)
            return Hits(first[: asked.wanted], np.zeros(asked.wanted, dtype=np.float32))
        places = self._candidates(point, asked)
        return best_first(places, scores(self.metric, asked.query, self.vectors(places)), asked.wanted)

    def _candidates(self, point: NDArray[np.float32], asked: Question) -> Places:
        """Return at least as many allowed places as are wanted, the best of them among these."""
        # Single precision there: what comes out nearly equal is decided by the scores here.
        enough = min(asked.passing, asked.wanted + asked.wanted // 8 + 8)
        k = first_k(enough, asked.passing, len(self))
        found = np.empty(0, dtype=np.int64)
        while (chosen := way(enough, asked.passing, len(self), k, graph=self._facts.graph)) is Way.NEAREST:
            nearest = self._store.nearest(point, k)
            found = nearest if asked.allowed is None else nearest[asked.allowed[nearest]]
            if len(found) >= enough:
                return found[:enough]
            k = more_k(k, len(found), enough, len(self))
        passing = np.arange(len(self)) if asked.allowed is None else np.flatnonzero(asked.allowed)
        return passing if chosen is Way.ALL else self._store.nearest_among(point, passing, enough)
