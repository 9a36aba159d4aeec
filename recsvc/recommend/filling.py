"""Fills a slate that the candidates cannot: walks all items that may be shown, popular ones first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.caps import Room
from recsvc.recommend.places import firsts
from recsvc.recommend.popularity import Popularity

FIRST_BLOCK: Final = 1_024
LARGEST_BLOCK: Final = 65_536
"""Blocks double, so that a short walk looks at few items and a long one at many at a time."""
WALKED: Final = 65_536
"""After so many items that a filter was looked up for, one by one, all that pass are sorted instead."""

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


def first_of(  # noqa: PLR0913  # an order, and what may come of it
    ranked: Popularity,
    mask: Mask,
    count: int,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    among: Callable[[Places], Mask] | None = None,
) -> Places:
    """Return the first ``count`` places of an order that ``mask`` bool[n] lets through.

    ``low`` and ``high``: what values must lie between, both included; ``among`` says which of some places may come.
    """
    begin, end = ranked.between(low, high)
    walked = min(begin + WALKED, end)
    found = passing(ranked.order[begin:walked], mask, count, among)
    if len(found) >= count or walked == end:
        return found
    return _sorted(ranked, mask, count, (low, high), among)


def passing(order: Places, mask: Mask, count: int, among: Callable[[Places], Mask] | None = None) -> Places:
    """Return the first ``count`` of some places that ``mask`` bool[n] lets through, and ``among``; looks at no more."""
    found, missing = [np.empty(0, np.int64)], count
    start, size = 0, FIRST_BLOCK
    while missing > 0 and start < len(order):
        block = order[start : start + size]
        block = block[mask[block]]
        block = (block if among is None else block[among(block)])[:missing]
        found.append(block)
        missing -= len(block)
        start, size = start + size, min(size * 2, LARGEST_BLOCK)
    return np.concatenate(found)


def _sorted(
    ranked: Popularity, mask: Mask, count: int, ends: tuple[float, float], among: Callable[[Places], Mask] | None
) -> Places:
    """Return what ``first_of`` does, from all that the mask lets through."""
    places = np.flatnonzero(mask)
    places = places if among is None else places[among(places)]
    values = ranked.values[places]
    inside = (values >= ends[0]) & (values <= ends[1])
    if not inside.all():
        places, values = places[inside], values[inside]
    if len(places) > 2 * count:
        enough = values >= np.partition(values, len(values) - count)[len(values) - count]
        places, values = places[enough], values[enough]
    return places[np.argsort(-values, kind="stable")[:count]].astype(np.int64, copy=False)


class Filler:
    """Gives items that are not in the slate yet: those of ``order`` first, then all others by place.

    ``order``: places, most popular first; may be a part of the catalogue, and of another size than ``mask`` bool[n].
    """

    def __init__(self, order: Places, mask: Mask) -> None:
        self._order = order
        self._free = mask.copy()

    def __repr__(self) -> str:
        return f"Filler({int(np.count_nonzero(self._free))} items left)"

    def exclude(self, places: Places) -> None:
        """Never give these."""
        self._free[places] = False

    def take(self, count: int, room: Room) -> Places:
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

    def _blocks(self) -> Iterator[Places]:
        size, start = FIRST_BLOCK, 0
        while start < len(self._order):
            block = self._order[start : start + size]
            yield block[firsts(block, len(self._free))]
            start, size = start + size, min(size * 2, LARGEST_BLOCK)
        yield np.flatnonzero(self._free)
