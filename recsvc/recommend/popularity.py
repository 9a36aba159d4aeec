"""Items by popularity, or another number, kept in order while a few of them change; and so those of each category."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.item_column import NumberColumn

Floats = npt.NDArray[np.float64]
_TWO_BYTES: Final = 65_536
_MOST_MOVED: Final = 1_000
"""With more changes than this, sorting all is as fast as moving each."""


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """``values``: of each item, finite, 0 where there is none.

    ``order``: all places, the most popular first, ties by place.
    """

    values: Floats
    order: Places

    def __repr__(self) -> str:
        return f"Popularity({len(self.values)} items)"

    def between(self, low: float, high: float) -> tuple[int, int]:
        """Return where in the order values from ``low`` to ``high`` begin and end."""

        def key(place: int) -> float:
            return -self.values.item(place)

        begin = 0 if high == np.inf else bisect_left(self.order, -high, key=key)
        end = len(self.order) if low == -np.inf else bisect_right(self.order, -low, key=key)
        return begin, end

    @classmethod
    def of(cls, column: NumberColumn) -> Popularity:
        """Sort all."""
        values = _finite(column)
        return cls(_frozen(values), _frozen(np.argsort(-values, kind="stable").astype(np.int64, copy=False)))

    def changed(self, column: NumberColumn) -> Popularity:
        """Return what ``of(column)`` returns, sooner where few values differ and items were only appended."""
        values, old = _finite(column), len(self.values)
        moved = np.concatenate([np.flatnonzero(values[:old] != self.values), np.arange(old, len(values))])
        if not len(moved):
            return self
        if len(moved) > _MOST_MOVED:
            return Popularity.of(column)
        gone = [_rank(self.values, self.order, place) for place in moved[moved < old].tolist()]
        order = np.delete(self.order, gone)
        moved = moved[np.argsort(-values[moved], kind="stable")]
        ranks = [_rank(values, order, place) for place in moved.tolist()]
        return Popularity(_frozen(values), _frozen(np.insert(order, ranks, moved)))


@dataclass(frozen=True, slots=True, eq=False)
class ByCategory:
    """Places of each category, in an order. ``starts``: of each code, and of the one after the last."""

    order: Places
    starts: Places

    def __repr__(self) -> str:
        return f"ByCategory({len(self.order)} items, {np.count_nonzero(np.diff(self.starts))} categories)"

    @classmethod
    def of(cls, order: Places, codes: npt.NDArray[np.int32]) -> ByCategory:
        """Group places; ``codes``: of each place, below 0 for none. A million take some 50 ms, without the GIL."""
        order = order[codes[order] >= 0]
        keys = codes[order]
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys))])
        # Two bytes are sorted by radix: in a third of the time.
        keys = keys.astype(np.uint16) if len(starts) <= _TWO_BYTES else keys
        return cls(_frozen(order[np.argsort(keys, kind="stable")]), _frozen(starts))

    def places(self, code: int) -> Places:
        """Return the places of a category."""
        start, end = self.starts[code : code + 2]
        return self.order[start:end]


def _rank(values: Floats, order: Places, place: int) -> int:
    """Return where ``place`` stands in ``order``, or would."""

    def key(other: int) -> tuple[float, int]:
        return -values.item(other), other

    return bisect_left(order, key(place), key=key)


def _finite(column: NumberColumn) -> Floats:
    """Return numbers that can be sorted and added up: NaN is 0, the infinities are the largest numbers."""
    values = column.values.astype(np.float64, copy=False)
    if np.isfinite(values).all():
        return values
    largest = float(np.finfo(np.float64).max)
    return np.nan_to_num(values, nan=0.0, posinf=largest, neginf=-largest)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array
