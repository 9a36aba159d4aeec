"""What a request sees from beginning to end: one catalogue, and the vector indexes with its places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.catalogue import UNKNOWN, Catalogue
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.index.protocol import Allowed, Hits, Renumbered, Renumbers, VectorIndex
from recsvc.recommend.index.table import NO_HITS

Vector = NDArray[np.float32]
_State = tuple[str, int, int]
"""Version of an index, generation of a catalogue, and how many places that has."""
_KEPT: Final = 3
"""What is remembered of an index: for what is served, what was, and what is being prepared."""
_TURN: Final = 512
"""Items that are looked up at a time: in half a millisecond."""


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
    """

    index: VectorIndex
    places: Places
    rows: Places
    missing: Mapping[str, int] = field(repr=False)
    by_place: Renumbered

    @classmethod
    def of(cls, index: VectorIndex, catalogue: Catalogue, pause: Callable[[], object] = lambda: None) -> Indexed:
        """Find the items of an index in a catalogue, deleted ones too: they may come back to their place.

        ``pause`` is called again and again, so that another thread can have its turn.
        """
        ids, left = index.ids, iter(index.ids)  # one after another: to look each up by its place takes longer
        parts = [np.empty(0, np.int64)]
        while some := list(islice(left, _TURN)):
            parts.append(catalogue.kept_places(some))
            pause()
        places = np.concatenate(parts)
        missing = {ids[row]: row for row in np.flatnonzero(places == UNKNOWN).tolist()}
        return cls._with(index, places, len(catalogue), missing)

    @classmethod
    def _with(cls, index: VectorIndex, places: Places, size: int, missing: Mapping[str, int]) -> Indexed:
        rows = np.full(size, UNKNOWN, np.int64)
        known = np.flatnonzero(places != UNKNOWN)
        rows[places[known]] = known
        by_place = index.renumbered(places, rows) if isinstance(index, Renumbers) else Aligned(index, places)
        return cls(index, places, rows, missing, by_place)

    def grown(self, catalogue: Catalogue) -> Indexed:
        """Return what ``of`` returns for a later snapshot of the same generation, at the price of its new items."""
        before = len(self.rows)
        new = ((place, self.missing.get(item)) for place, item in enumerate(catalogue.ids[before:].tolist(), before))
        found = [(place, row) for place, row in new if row is not None]
        places = self.places.copy()
        places[[row for _, row in found]] = [place for place, _ in found]
        return self._with(self.index, places, len(catalogue), self.missing)

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
    """Gives snapshots of a catalogue, and remembers where items of indexes are in it.

    One thread may ``prepare`` while another takes snapshots.
    """

    def __init__(self, indexes: Mapping[str, VectorIndex]) -> None:
        self._indexes = dict(indexes)
        self._known: dict[tuple[str, str], dict[_State, Indexed]] = {}

    def __repr__(self) -> str:
        return f"Indexes({list(self._indexes.values())})"

    def swap(self, name: str, index: VectorIndex) -> None:
        """Take another index from now on; requests that began keep the one they have."""
        self._indexes[name] = index

    def snapshot(self, catalogue: Catalogue, age_s: float | None) -> Snapshot:
        """Return what a request sees that begins now; at once where it was prepared."""
        indexes = {name: self._indexed(name, index, catalogue) for name, index in self._indexes.items()}
        return Snapshot(catalogue, indexes, age_s)

    def prepare(
        self,
        catalogue: Catalogue,
        indexes: Mapping[str, VectorIndex] | None = None,
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        """Find the items of indexes (None: of those that are served) in a catalogue, for snapshots to come.

        For another thread than that of requests, before these see the catalogue or the index; ``pause`` as in
        Indexed.of.
        """
        for name, index in (self._indexes if indexes is None else dict(indexes)).copy().items():
            self._indexed(name, index, catalogue, pause)

    def _indexed(
        self, name: str, index: VectorIndex, catalogue: Catalogue, pause: Callable[[], object] = lambda: None
    ) -> Indexed:
        known = self._known.setdefault((name, catalogue.name), {})
        state = index.version, catalogue.generation, len(catalogue)
        found = known.get(state)
        if found is None or found.index is not index:
            shorter = [i for s, i in list(known.items()) if i.index is index and s[1] == state[1] and s[2] < state[2]]
            found = shorter[-1].grown(catalogue) if shorter else Indexed.of(index, catalogue, pause)
            known[state] = found
            for old in list(known)[:-_KEPT]:
                known.pop(old, None)
        return found
