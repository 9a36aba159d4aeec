"""What a request sees from beginning to end: one catalogue, and the vector indexes with its places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.catalogue import UNKNOWN, Catalogue
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.index.protocol import Allowed, Hits, Renumbered, Renumbers, VectorIndex
from recsvc.recommend.index.table import NO_HITS
from recsvc.registry.placement import CandidateSource, Newest, Placement, Popular

Vector = NDArray[np.float32]
_TURN: Final = 512
"""Items that are looked up at a time: in half a millisecond."""


def go_on() -> None:
    """Take all the time there is: nobody waits."""


class Aligned:
    """An index by places of a catalogue, that brings masks to its own order; ``places`` as in Indexed."""

    def __init__(self, index: VectorIndex, places: Places) -> None:
        self._index = index
        self._places = places

    def __repr__(self) -> str:
        return f"Aligned({self._index!r})"

    def search(self, query: Vector, k: int, allowed: Allowed) -> Hits:
        """See Renumbered. A hit that is no place of the index is UNKNOWN."""
        own = allowed.mask[self._places] & (self._places != UNKNOWN)
        hits = self._index.search(query, k, own)
        places = np.full(len(hits), UNKNOWN, np.int64)
        right = (hits.places >= 0) & (hits.places < len(self._places))  # -1 is how some say that there is no hit
        places[right] = self._places[hits.places[right]]
        return Hits(places, hits.scores)


@dataclass(frozen=True, slots=True, eq=False)
class Indexed:
    """A vector index, searched by places of a catalogue.

    ``places`` int64[rows of the index]: where each is in the catalogue, -1 for items that it has not. ``rows``
    int64[places of the catalogue]: the other way round. ``missing``: the rows of items that the catalogue had not.
    ``order``: the ``index`` of the catalogue, which is another one where items have other places.
    """

    index: VectorIndex
    order: Mapping[str, int] = field(repr=False)
    places: Places
    rows: Places
    missing: Mapping[str, int] = field(repr=False)
    by_place: Renumbered

    @classmethod
    def of(cls, index: VectorIndex, catalogue: Catalogue, pause: Callable[[], object] = go_on) -> Indexed:
        """Find the items of an index in a catalogue, deleted ones too: they may come back to their place.

        ``pause`` is called again and again, so that another thread can have its turn.
        """
        ids = index.ids
        left = iter(ids)  # one after another: to look each up by its place takes longer
        parts = [np.empty(0, np.int64)]
        while some := list(islice(left, _TURN)):
            parts.append(catalogue.kept_places(some))
            pause()
        places = np.concatenate(parts)
        missing = {ids[row]: row for row in np.flatnonzero(places == UNKNOWN).tolist()}
        return cls._with(index, catalogue, places, missing)

    @classmethod
    def _with(cls, index: VectorIndex, catalogue: Catalogue, places: Places, missing: Mapping[str, int]) -> Indexed:
        rows = np.full(len(catalogue), UNKNOWN, np.int64)
        known = np.flatnonzero(places != UNKNOWN)
        rows[places[known]] = known
        by_place = index.renumbered(places, rows) if isinstance(index, Renumbers) else Aligned(index, places)
        return cls(index, catalogue.index, places, rows, missing, by_place)

    def grown(self, catalogue: Catalogue) -> Indexed:
        """Return what ``of`` returns for a later snapshot of the same ``order``, at the price of its new items."""
        if len(self.rows) == len(catalogue):
            return self
        before = len(self.rows)
        new = ((place, self.missing.get(item)) for place, item in enumerate(catalogue.ids[before:].tolist(), before))
        found = [(place, row) for place, row in new if row is not None]
        places = self.places.copy()
        places[[row for _, row in found]] = [place for place, _ in found]
        return self._with(self.index, catalogue, places, self.missing)

    def search(self, query: Vector, k: int, allowed: Allowed) -> Hits:
        """Return the ``k`` nearest of the items that are ``allowed`` (by place of the catalogue), by such places.

        A hit that is no place of the index is UNKNOWN.
        """
        return self.by_place.search(query, k, allowed) if len(allowed.mask) else NO_HITS

    def vectors(self, places: Places) -> Vector:
        """Return float32[m, d] vectors of items; a row of NaN for one without."""
        rows = self.rows[places]
        found = np.full((len(places), self.index.dimension), np.nan, np.float32)
        known = np.flatnonzero(rows != UNKNOWN)
        found[known] = self.index.vectors(rows[known])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A catalogue with its indexes by name; ``age_s``: how long ago the catalogue was up to date, None: never yet."""

    catalogue: Catalogue
    indexes: Mapping[str, Indexed]
    age_s: float | None


class Indexes:
    """Gives snapshots of catalogues, with the indexes that placements of each of them name; for one event loop.

    Items are looked for in threads, before a catalogue or an index is served: a snapshot costs nothing.
    """

    def __init__(self, indexes: Mapping[str, VectorIndex], placements: Iterable[Placement] = ()) -> None:
        self._served = dict(indexes)
        self._placements = list(placements)
        self._known: WeakKeyDictionary[Catalogue, Mapping[str, Indexed]] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"Indexes({list(self._served.values())})"

    @property
    def served(self) -> Mapping[str, VectorIndex]:
        """The indexes of now, by name."""
        return self._served

    def serve(self, placements: Iterable[Placement]) -> None:
        """Have the indexes that these placements name from now on, and let go of others."""
        self._placements = list(placements)
        names = set(index_names(self._placements))
        self._served = {name: index for name, index in self._served.items() if name in names}
        for catalogue, known in list(self._known.items()):
            wanted = self._wanted(catalogue)
            self._known[catalogue] = {name: indexed for name, indexed in known.items() if name in wanted}

    def snapshot(self, catalogue: Catalogue, age_s: float | None) -> Snapshot:
        """Return what a request sees that begins now; without indexes that were not prepared."""
        return Snapshot(catalogue, self._known.get(catalogue, {}), age_s)

    async def prepare(self, catalogue: Catalogue, served: Catalogue | None = None) -> None:
        """Find the items of the indexes in a catalogue that is about to be served, in place of another one.

        Who serves it before anything else is awaited has no snapshot without an index.
        """
        while late := self._late(catalogue):
            for name, index in late.items():
                known = [of[name] for of in map(self._of, (catalogue, served)) if name in of]
                indexed = await asyncio.to_thread(_indexed, index, catalogue, known)
                self._known[catalogue] = {**self._of(catalogue), name: indexed}

    async def swap(
        self,
        name: str,
        index: VectorIndex,
        catalogues: Callable[[], Iterable[Catalogue]],
        pause: Callable[[], object] = go_on,
    ) -> None:
        """Take another index, once its items were found in the catalogues that are served by then.

        Requests that began keep the one they have. ``pause`` as in Indexed.of.
        """
        found: dict[Catalogue, Indexed] = {}
        while late := [of for of in catalogues() if name in self._names(of) and of not in found]:
            for catalogue in late:  # other snapshots may be served by the time that these are looked through
                found[catalogue] = await asyncio.to_thread(_indexed, index, catalogue, list(found.values()), pause)
        for catalogue, indexed in found.items():
            self._known[catalogue] = {**self._of(catalogue), name: indexed}
        self._served[name] = index

    def _of(self, catalogue: Catalogue | None) -> Mapping[str, Indexed]:
        return {} if catalogue is None else self._known.get(catalogue, {})

    def _names(self, catalogue: Catalogue) -> set[str]:
        """Return the names of the indexes that placements of a catalogue name."""
        return set(index_names(of for of in self._placements if of.catalogue == catalogue.name))

    def _wanted(self, catalogue: Catalogue) -> Mapping[str, VectorIndex]:
        names = self._names(catalogue)
        return {name: index for name, index in self._served.items() if name in names}

    def _late(self, catalogue: Catalogue) -> Mapping[str, VectorIndex]:
        """Return the indexes whose items were not yet looked for in a catalogue."""
        known = self._of(catalogue)
        wanted = self._wanted(catalogue).items()
        return {name: index for name, index in wanted if name not in known or known[name].index is not index}


def _indexed(
    index: VectorIndex, catalogue: Catalogue, known: Iterable[Indexed], pause: Callable[[], object] = go_on
) -> Indexed:
    """Find the items of an index in a catalogue; ``known``: what was found in others, maybe of the same order."""
    fitting = [of for of in known if of.index is index and of.order is catalogue.index]
    shorter = [of for of in fitting if len(of.rows) <= len(catalogue)]
    return shorter[-1].grown(catalogue) if shorter else Indexed.of(index, catalogue, pause)


def index_of(source: CandidateSource) -> str | None:
    """Return the name of the index that a source searches; None where it finds its items in this process' memory."""
    return None if isinstance(source, Popular | Newest) else source.index


def index_names(placements: Iterable[Placement]) -> Iterator[str]:
    """Yield the name of each index that placements search, or compare items by."""
    for of in placements:
        for source in of.sources:
            name = index_of(source)
            if name is not None:
                yield name
        if of.diversity is not None:
            yield of.diversity.index
