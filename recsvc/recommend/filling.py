"""Fills a slate that the candidates cannot: walks all items that may be shown, popular ones first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.caps import Room
from recsvc.recommend.places import firsts

FIRST_BLOCK: Final = 1_024
LARGEST_BLOCK: Final = 65_536
"""Blocks double, so that a short walk looks at few items and a long one at many at a time."""


def most_popular(order: NDArray[np.int64], mask: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Return the first ``count`` places of ``order`` (by popularity) that ``mask`` (bool[n]) lets through."""
    return Filler(order, mask).take(count, Room(None))


class Filler:
    """Gives items that are not in the slate yet: those of ``order`` first, then all others by place.

    ``order``: places, most popular first; may be a part of the catalogue, and of another size than ``mask`` bool[n].
    """

    def __init__(self, order: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        self._order = order
        self._free = mask.copy()

    def __repr__(self) -> str:
        return f"Filler({int(np.count_nonzero(self._free))} items left)"

    def exclude(self, places: NDArray[np.int64]) -> None:
        """Never give these."""
        self._free[places] = False

    def take(self, count: int, room: Room) -> NDArray[np.int64]:
        """Take up to `count` items that have room: int64; fewer only where there are no more."""
        taken = np.empty(0, dtype=np.int64)
        for block in self._blocks():
            if len(taken) >= count:
                break
            places = block[self._free[block]]
            places = places[room.fitting(places)][: count - len(taken)]
            self._free[places] = False
            room.take(places)
            taken = np.concatenate([taken, places])
        return taken

    def _blocks(self) -> Iterator[NDArray[np.int64]]:
        size, start = FIRST_BLOCK, 0
        while start < len(self._order):
            block = self._order[start : start + size]
            yield block[firsts(block, len(self._free))]
            start, size = start + size, min(size * 2, LARGEST_BLOCK)
        yield np.flatnonzero(self._free)
