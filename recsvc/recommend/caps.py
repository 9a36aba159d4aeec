"""How much room is left in each category of a slate."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.slate_rules import CategoryCap

NO_END: Final = 1 << 40
"""Room of what is not capped: more than there are items."""


class Room:
    """Counts down what each category may still have; without a cap everything has room.

    ``left`` int64[categories + 1]: the last entry, which code -1 finds, is for items without a category.
    """

    def __init__(self, cap: CategoryCap | None) -> None:
        self._codes = None if cap is None else cap.codes
        self.left: NDArray[np.int64] = np.full(1 if cap is None else cap.categories + 1, NO_END)
        if cap is not None:
            self.left[:-1] = cap.most

    def __repr__(self) -> str:
        full = int(np.count_nonzero(self.left <= 0))
        return f"Room({len(self.left) - 1} categories, {full} of them full)"

    @property
    def is_endless(self) -> bool:
        """Whether everything has room."""
        return self._codes is None

    def categories(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Look up the category codes of items: int64, in the shape of `places`; -1: none."""
        if self._codes is None:
            return np.full(places.shape, -1, dtype=np.int64)
        return self._codes[places].astype(np.int64)

    def take(self, places: NDArray[np.int64]) -> None:
        """Use room for items; it may be overdrawn, by pins."""
        np.subtract.at(self.left, self.categories(places), 1)

    def fitting(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the items that find room if all are taken in this order: bool, in the shape of `places`."""
        codes = self.categories(places)
        return occurrence(codes) < self.left[codes]


def occurrence(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each entry how many equal ones stand before it: int64."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.searchsorted(ordered, ordered)
    counts = np.empty(len(codes), dtype=np.int64)
    counts[order] = np.arange(len(codes)) - starts
    return counts
