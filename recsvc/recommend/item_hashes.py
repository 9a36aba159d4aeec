"""64-bit hashes of item ids: how a page token names what was returned, on any replica and whatever the item's place.

The hash of an id is the BLAKE2b (RFC 7693) of its UTF-8 with a digest of 8 bytes, big-endian, without a key.
Of a million items two share one with a chance of 1 in 37 million; then the one hides the other from later pages.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Ids = Sequence[str] | npt.NDArray[np.object_]
Places = npt.NDArray[np.int64]

_TAIL: Final = 4_096
"""Items that may be added before all are sorted again: so many are searched one after another in no time."""
_AT_ONCE: Final = 1_000
"""Items that are hashed at a time: in a millisecond."""


def hashes(ids: Iterable[str]) -> Hashes:
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

    def extended(self, ids: Ids) -> ItemHashes:
        """Return the hashes of these items and, at the places after them, of ``ids``; any thread may do it."""
        longer = ItemHashes()
        longer._sorted, longer._places = self._sorted, self._places
        parts = [self._tail]
        for start in range(0, len(ids), _AT_ONCE):
            parts.append(hashes(ids[start : start + _AT_ONCE]))
            # Lets the event loop have the interpreter now, instead of after the 5 ms for which a thread may keep it.
            time.sleep(0)
        longer._tail = np.concatenate(parts)
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


class SharedHashes:
    """The hashes that all snapshots of a catalogue share, as long as an item keeps its place; for one event loop.

    They are made where they are wanted first, and all who want them meanwhile wait for that.
    """

    def __init__(self) -> None:
        self._known = ItemHashes()
        self._growing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"SharedHashes({self._known!r})"

    def has(self, ids: Ids) -> bool:
        """Say whether nothing need be waited for to find places among ``ids``."""
        return len(self._known) >= len(ids)

    async def places(self, ids: Ids, wanted: Hashes) -> Places:
        """Return the places of hashes among ``ids``, those of one snapshot."""
        while not self.has(ids):
            if self._growing is None:
                self._growing = asyncio.create_task(self._grow(ids))
            await asyncio.shield(self._growing)  # a call that ends leaves it to the others
        found = self._known.places(wanted)
        return found[found < len(ids)]  # a later snapshot has more

    async def _grow(self, ids: Ids) -> None:
        try:
            # In a thread: a million ids take a second, at the first page token after a start.
            self._known = await asyncio.to_thread(self._known.extended, ids[len(self._known) :])
        finally:
            self._growing = None
