"""64-bit hashes of item ids: how a page token names what was returned, on any replica and whatever the item's place.

The hash of an id is the BLAKE2b (RFC 7693) of its UTF-8 with a digest of 8 bytes, big-endian, without a key.
Of a million items two share one with a chance of 1 in 37 million; then the one hides the other from later pages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_TAIL: Final = 4_096
"""Items that may be added before all are sorted again: so many are searched one after another in no time."""


def hashes(ids: Sequence[str]) -> Hashes:
    """Return the hash of each id, in its order."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(i.encode(), digest_size=8).digest() for i in ids])
    return np.frombuffer(digests, ">u8").astype(np.uint64)


class ItemHashes:
    """Finds the places of hashes among the ids of a catalogue; immutable, 16 bytes for each item.

    Place i is that of the i-th id since the beginning. An id that came twice has two places.
    """

    __slots__ = ("_places", "_sorted", "_tail")

    def __init__(self, ids: Sequence[str] = ()) -> None:
        every = hashes(ids)
        self._places: Places = np.argsort(every, kind="stable").astype(np.int64)
        self._sorted: Hashes = every[self._places]
        self._tail: Hashes = np.empty(0, np.uint64)

    def __repr__(self) -> str:
        return f"ItemHashes({len(self)} items, {len(self._tail)} of them not sorted)"

    def __len__(self) -> int:
        return len(self._sorted) + len(self._tail)

    def extended(self, ids: Sequence[str]) -> ItemHashes:
        """Return the hashes of these items and, at the places after them, of ``ids``."""
        longer = ItemHashes()
        longer._sorted, longer._places = self._sorted, self._places
        longer._tail = np.concatenate([self._tail, hashes(ids)])
        if len(longer._tail) > _TAIL:
            longer._merge()
        return longer

    def _merge(self) -> None:
        order = np.argsort(self._tail, kind="stable")
        tail = self._tail[order]
        at = np.searchsorted(self._sorted, tail, side="right")
        self._places = np.insert(self._places, at, order + len(self._sorted))
        self._sorted = np.insert(self._sorted, at, tail)
        self._tail = np.empty(0, np.uint64)

    def places(self, wanted: Hashes) -> Places:
        """Return all places of items whose hash is in ``wanted``, in rising order; hashes of no item are left out."""
        distinct = np.unique(wanted)
        begin = np.searchsorted(self._sorted, distinct, side="left")
        count = np.searchsorted(self._sorted, distinct, side="right") - begin
        # The runs [begin, begin + count), one after another.
        ends = np.cumsum(count)
        runs = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begin - ends + count, count)
        late = np.flatnonzero(np.isin(self._tail, distinct)) + len(self._sorted)
        return np.sort(np.concatenate([self._places[runs], late.astype(np.int64)]))
