"""What a request sees from beginning to end: one catalogue, and the vector indexes with its places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recsvc.recommend.catalogue import UNKNOWN, Catalogue
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.index.protocol import Hits, VectorIndex
from recsvc.recommend.index.table import NO_HITS


@dataclass(frozen=True, slots=True, eq=False)
class Indexed:
    """A vector index, searched by places of a catalogue.

    ``places`` int64[rows of the index]: where each is in the catalogue, -1 for items that it has not. ``rows``
    int64[places of the catalogue]: the other way round.
    """

    index: VectorIndex
    places: Places
    rows: Places

    @classmethod
    def of(cls, index: VectorIndex, catalogue: Catalogue) -> Indexed:
        """Find the items of an index in a catalogue, deleted ones too: they may come back to their place."""
        places = catalogue.kept_places(index.ids)
        rows = np.full(len(catalogue), UNKNOWN, np.int64)
        known = np.flatnonzero(places != UNKNOWN)
        rows[places[known]] = known
        return cls(index, places, rows)

    def search(self, query: np.ndarray[tuple[int], np.dtype[np.float32]], k: int, mask: Mask) -> Hits:
        """Return the ``k`` nearest of the items that ``mask`` (by place of the catalogue) permits, by such places.

        A hit that is no place of the index is UNKNOWN.
        """
        if not len(mask):
            return NO_HITS
        allowed = mask[self.places] & (self.places != UNKNOWN)
        hits = self.index.search(query, k, allowed)
        places = np.full(len(hits), UNKNOWN, np.int64)
        right = (hits.places >= 0) & (hits.places < len(self.places))  # -1 is how some say that there is no hit
        places[right] = self.places[hits.places[right]]
        return Hits(places, hits.scores)

    def vectors(self, places: Places) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Return float32[m, d] vectors of items; a row of NaN for one without."""
        rows = self.rows[places]
        found = np.full((len(places), self.index.dimension), np.nan, np.float32)
        known = np.flatnonzero(rows != UNKNOWN)
        found[known] = self.index.vectors(rows[known])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A catalogue with its indexes by name; ``age_s``: how long ago the catalogue was up to date, None: never yet.

    ``categories`` int64[places]: the code of each item's category, -1 for none.
    """

    catalogue: Catalogue
    indexes: Mapping[str, Indexed]
    age_s: float | None
    categories: Places


class Indexes:
    """Gives snapshots of a catalogue, and remembers where items of indexes are in it."""

    def __init__(self, indexes: Mapping[str, VectorIndex]) -> None:
        self._indexes = dict(indexes)
        self._known: dict[tuple[str, str], tuple[str, int, int, Indexed]] = {}
        self._categories: dict[str, tuple[Catalogue, Places]] = {}

    def __repr__(self) -> str:
        return f"Indexes({list(self._indexes.values())})"

    def swap(self, name: str, index: VectorIndex) -> None:
        """Take another index from now on; requests that began keep the one they have."""
        self._indexes[name] = index

    def snapshot(self, catalogue: Catalogue, age_s: float | None) -> Snapshot:
        """Return what a request sees that begins now."""
        indexes = {name: self._indexed(name, index, catalogue) for name, index in self._indexes.items()}
        known = self._categories.get(catalogue.name)
        if known is None or known[0] is not catalogue:  # once for each change of the catalogue, not for each request
            codes = catalogue.categories(np.arange(len(catalogue)))
            known = self._categories[catalogue.name] = catalogue, codes
        return Snapshot(catalogue, indexes, age_s, known[1])

    def _indexed(self, name: str, index: VectorIndex, catalogue: Catalogue) -> Indexed:
        state = index.version, catalogue.generation, len(catalogue)
        known = self._known.get((name, catalogue.name))
        if known is None or known[:3] != state:
            known = self._known[name, catalogue.name] = (*state, Indexed.of(index, catalogue))
        return known[3]
