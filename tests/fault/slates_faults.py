"""What breaks inside the server of the drill on slates: its sources, its index, its ranker; at the seams they have."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from recsvc.recommend.candidates import Found, Query, find
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.protocol import Hits, VectorIndex
from recsvc.recommend.merge import Candidates
from recsvc.recommend.ranking.bundle import load_bundle
from recsvc.recommend.ranking.card import Floats
from recsvc.recommend.ranking.ranker import Contributions, Explains, Ranker
from recsvc.recommend.snapshot import Indexes
from recsvc.registry.placement import CandidateSource
from recsvc.registry.registry import Registry

SLOW_S: Final = 0.25
"""Longer than the budget of any source."""
HANGING_S: Final = 5.0
"""Longer than any caller waits."""
RAISES: Final = "raises"
SLOW: Final = "slow"
HANGS: Final = "hangs"
RUBBISH: Final = "rubbish"
NAN: Final = "NaN"
SHAPE: Final = "another shape"
VECTORS_RAISE: Final = "raises for vectors"
VECTORS_RUBBISH: Final = "rubbish for vectors"
VECTORS_SLOW: Final = "slow for vectors"


class PlannedError(Exception):
    """What a part raises that is to fail."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong: with sources by name, with the index, with the ranker. Empty: nothing."""

    sources: Mapping[str, str] = field(default_factory=dict)
    index: str = ""
    ranker: str = ""

    def __hash__(self) -> int:
        return hash(self.text())

    def text(self) -> str:
        """Return it as one line."""
        return json.dumps({"sources": dict(self.sources), "index": self.index, "ranker": self.ranker})

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a line that ``text`` gave."""
        return cls(**json.loads(text))


class Now:
    """What is wrong now, for all parts of a server to see."""

    def __init__(self) -> None:
        self.faults = Faults()

    def __repr__(self) -> str:
        return f"Now({self.faults})"


def _happen(fault: str) -> None:
    if fault == RAISES:
        raise PlannedError("out of order")
    if fault in {SLOW, HANGS}:
        time.sleep(SLOW_S if fault == SLOW else HANGING_S)


def faulty_find(now: Now) -> Callable[[CandidateSource, Query, Callable[[], float]], Found | None]:
    """Return what stands for ``find``: it finds what that finds, as far as the faults let it."""

    def finding(source: CandidateSource, query: Query, left_s: Callable[[], float]) -> Found | None:
        fault = now.faults.sources.get(source.name, "")
        _happen(fault)
        found = find(source, query, left_s)
        return _spoiled(source.name, found, query) if fault == RUBBISH else found

    return finding


def _spoiled(name: str, found: Found | None, query: Query) -> Found:
    """Put what no item is, what must not come and what comes twice between the candidates."""
    size = len(query.allowed.mask)
    right = np.zeros(0, np.int64) if found is None else found.candidates.places[:50]
    masked = np.flatnonzero(~query.allowed.mask)[:200]
    strange = np.array([-1, -1, size, size + 1_000_000, -size - 5, np.iinfo(np.int64).max, np.iinfo(np.int64).min])
    places = np.concatenate([strange, masked, right, right, np.arange(20)]).astype(np.int64)
    scores = np.linspace(9.0, 1.0, len(places))
    scores[::5], scores[1::11], scores[2::13] = np.nan, np.inf, -np.inf
    like = dict.fromkeys(places.tolist(), -1) | ({} if found is None else dict(found.like))
    return Found(Candidates(name, places, scores), like)


class FaultyIndex:
    """An index that does what it is told to; see VectorIndex."""

    def __init__(self, inner: VectorIndex, now: Now) -> None:
        self._inner = inner
        self._now = now
        self._turns = itertools.cycle(_RUBBISH)

    def __repr__(self) -> str:
        return f"FaultyIndex({self._inner!r}, {self._now.faults.index or 'well'})"

    def __len__(self) -> int:
        return len(self._inner)

    @property
    def ids(self) -> Sequence[str]:
        """See VectorIndex."""
        return self._inner.ids

    @property
    def dimension(self) -> int:
        """See VectorIndex."""
        return self._inner.dimension

    @property
    def metric(self) -> Metric:
        """See VectorIndex."""
        return self._inner.metric

    @property
    def version(self) -> str:
        """See VectorIndex."""
        return self._inner.version

    def search(self, query: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.bool_] | None = None) -> Hits:
        """See VectorIndex; not so while it is to fail."""
        _happen(self._now.faults.index)
        hits = self._inner.search(query, k, allowed)
        return next(self._turns)(hits, len(self)) if self._now.faults.index == RUBBISH else hits

    def vectors(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """See VectorIndex; not so while it is to fail."""
        fault = self._now.faults.index
        _happen({VECTORS_RAISE: RAISES, VECTORS_SLOW: SLOW}.get(fault, ""))
        found = self._inner.vectors(places)
        if fault != VECTORS_RUBBISH:
            return found
        spoiled: list[npt.NDArray[np.float32]] = [found * np.float32(np.nan), found * 0, found[:-1], found[:, :3]]
        return spoiled[int(time.monotonic_ns() // 1_000) % len(spoiled)]


def _places(hits: Hits, *places: int) -> Hits:
    strange = np.array(places, np.int64)
    return Hits(np.concatenate([strange, hits.places]), np.concatenate([np.full(len(strange), 9.0), hits.scores]))


_RUBBISH: Final[Sequence[Callable[[Hits, int], Any]]] = (
    lambda hits, _n: Hits(np.where(np.arange(len(hits)) % 2, hits.places, -1), hits.scores),
    lambda hits, _n: Hits(hits.places, hits.scores * np.float32(np.nan)),
    lambda hits, n: _places(hits, n, n + 7, -n - 1, 1 << 40),
    lambda _hits, n: Hits(np.arange(n), np.linspace(1, 0, n, dtype=np.float32)),
    lambda hits, _n: Hits(hits.places[:1].repeat(200), np.ones(200 if len(hits) else 0, np.float32)),
    lambda hits, _n: Hits(hits.places, hits.scores[:-1]),
    lambda hits, _n: Hits(hits.places.astype(np.float32), hits.scores),
    lambda _hits, _n: Hits(np.full(50, -1), np.full(50, np.nan, np.float32)),
    lambda _hits, _n: None,
)
"""What an index may answer that has lost its mind; the fourth is every place there is, also those not allowed."""


class FaultyIndexes(Indexes):
    """Gives each index that the server takes the faults it may have."""

    def __init__(self, now: Now, indexes: Mapping[str, VectorIndex]) -> None:
        super().__init__(indexes)
        self._now = now

    async def swap(
        self,
        name: str,
        index: VectorIndex,
        catalogues: Callable[[], Iterable[Catalogue]],
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        """See Indexes."""
        await super().swap(name, FaultyIndex(index, self._now), catalogues, pause)


class FaultyRanker:
    """A ranker that does what it is told to; see Ranker."""

    def __init__(self, inner: Ranker, now: Now) -> None:
        self._inner = inner
        self._now = now

    def __repr__(self) -> str:
        return f"FaultyRanker({self._inner!r}, {self._now.faults.ranker or 'well'})"

    @property
    def name(self) -> str:
        """See Ranker."""
        return self._inner.name

    @property
    def version(self) -> str:
        """See Ranker."""
        return self._inner.version

    @property
    def service(self) -> str:
        """See Ranker."""
        return self._inner.service

    @property
    def explains(self) -> Explains:
        """See Ranker."""
        return self._inner.explains

    @property
    def is_quick(self) -> bool:
        """See Ranker: it may hang."""
        return False

    def rank(self, matrix: Floats, names: Sequence[str]) -> Floats:
        """See Ranker; not so while it is to fail."""
        fault = self._now.faults.ranker
        _happen(fault)
        scores = self._inner.rank(matrix, names)
        if fault == NAN:
            scores = np.where(np.arange(len(scores)) % 7 == 3, np.nan, scores)
        return scores[:-1] if fault == SHAPE else scores

    def contributions(self, matrix: Floats, names: Sequence[str]) -> Contributions | None:
        """See Ranker."""
        return self._inner.contributions(matrix, names)


def faulty_bundles(now: Now) -> Callable[[Path, Registry], Ranker]:
    """Return what stands for ``load_bundle``."""
    return lambda directory, registry: FaultyRanker(load_bundle(directory, registry), now)
