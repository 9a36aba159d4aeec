"""All items that may be recommended, with what is known of them in memory: one immutable snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
import numpy.typing as npt

from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.index.protocol import Basis
from recsvc.recommend.item_column import ItemColumn, StringColumn
from recsvc.recommend.item_hashes import Hashes, SharedHashes
from recsvc.recommend.list_column import ListColumn
from recsvc.recommend.masks import Masks
from recsvc.recommend.popularity import ByCategory, Popularity

UNKNOWN = -1
"""The place of an item that the catalogue has not."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Catalogue:
    """A snapshot of a catalogue; all arrays are by *place*, the index of an item, and read-only.

    * ``ids``: canonical text of each place. ``exists``: which of them are items now; the others were deleted.
    * ``basis``: which may be recommended at all: they exist, and are available where the catalogue says what that is.
    * ``columns``: by reference (``view:feature``). ``category``: the reference of that column, or None.
    * ``created``: all places by when they were created, the last first; None where the catalogue does not say that.
    * ``category_codes``: what ``categories`` gives for all places. ``by_category``: as ``ranked``, of each code.
    * ``unavailable``: how many items exist that are not allowed. ``masks``: what filters made of it.
    * ``index``: the place of each id. As long as it is the same object an item keeps its place, also after it was
      deleted and came back; new ones are appended. ``hashes``: of the ids, shared by the snapshots of an index.
    """

    name: str
    ids: npt.NDArray[np.object_]
    exists: Mask
    basis: Basis
    columns: Mapping[str, ItemColumn]
    ranked: Popularity
    created: Popularity | None
    category: str | None
    category_codes: npt.NDArray[np.int32]
    by_category: ByCategory
    unavailable: int
    index: Mapping[str, int]
    masks: Masks = field(default_factory=Masks)
    hashes: SharedHashes = field(default_factory=SharedHashes)

    def __repr__(self) -> str:
        there, allowed = int(self.exists.sum()), f"{self.basis.passing} allowed"
        return f"Catalogue({self.name!r}, {there} items, {allowed})"

    def __len__(self) -> int:
        """How many places there are, those of deleted items included."""
        return len(self.ids)

    @property
    def allowed(self) -> Mask:
        """Which may be recommended at all."""
        return self.basis.mask

    @property
    def popularity(self) -> npt.NDArray[np.float64]:
        """Of each item, finite; 0 where there is none."""
        return self.ranked.values

    def places(self, ids: Sequence[str]) -> Places:
        """Return the place of each item, UNKNOWN (-1) where there is no such item."""
        found = self.kept_places(ids)
        known = np.flatnonzero(found != UNKNOWN)
        found[known[~self.exists[found[known]]]] = UNKNOWN
        return found

    def kept_places(self, ids: Sequence[str]) -> Places:
        """Return the place of each item, also where it was deleted: it will be there again if it comes back.

        For what is kept as long as ``index`` is the same object, such as the places of a vector index.
        """
        found = np.fromiter(map(self.index.get, ids, repeat(UNKNOWN)), np.int64, len(ids))
        found[found >= len(self)] = UNKNOWN  # the index is shared with younger snapshots
        return found

    @property
    def has_hashes(self) -> bool:
        """Whether ``places_of_hashes`` need not wait."""
        return self.hashes.has(self.ids)

    async def places_of_hashes(self, wanted: Hashes) -> Places:
        """Return the places of the items that have these hashes, in rising order."""
        return await self.hashes.places(self.ids, wanted)

    def id_texts(self, places: Places) -> list[str]:
        """Return the ids of the items at ``places``."""
        texts: list[str] = self.ids[places].tolist()
        return texts

    def categories(self, places: Places) -> npt.NDArray[np.int64]:
        """Return a code for the category of each item (of a list: its first), UNKNOWN (-1) where it has none.

        The same category has the same code in this snapshot, maybe another one in the next.
        """
        return self.category_codes[places].astype(np.int64)

    def category_name(self, code: int) -> str | None:
        """Return the category that ``categories`` gave ``code``; None for UNKNOWN."""
        column = category_column(self.columns, self.category)
        if column is None or code == UNKNOWN:
            return None
        name: str = column.dictionary.value(code)
        return name


def category_column(columns: Mapping[str, ItemColumn], category: str | None) -> StringColumn | ListColumn | None:
    """Return the column of the category; None where there is none. Raises TypeError for one of another type."""
    column = None if category is None else columns[category]
    if column is None or isinstance(column, StringColumn | ListColumn):
        return column
    raise TypeError(f"the category {category} is {column.type}, not STRING or STRING_LIST")
