"""Holds candidates back for the quotas of sources, so that what a slate takes before cannot make them impossible.

What is held meets all quotas that can be met under the cap. For sources that share no items this is exact: greedy, then
augmenting paths between sources and categories. Where sources share items (a set cover, which has no quick exact
answer) a quota may be missed that a cleverer choice would have met.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Reserve:
    """The rows of m candidates that are held back, and what each source still needs.

    ``quotas``: for each source how many items there must be at least, and which candidates it gave: bool[m].
    """

    def __init__(self, quotas: Sequence[tuple[int, NDArray[np.bool_]]]) -> None:
        self._need = np.array([least for least, _ in quotas], dtype=np.int64)
        self._given: NDArray[np.bool_] = (
            np.stack([given for _, given in quotas], axis=1) if quotas else np.empty((0, 0), dtype=np.bool_)
        )
        # Row → the source it is held for.
        self._held: dict[int, int] = {}
        self._categories: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._left: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __repr__(self) -> str:
        return f"Reserve(held={self.held}, need={self._need.tolist()})"

    @property
    def held(self) -> list[int]:
        """The rows held back, best first."""
        return sorted(self._held)

    def hold(
        self, among: NDArray[np.bool_], categories: NDArray[np.int64], left: NDArray[np.int64], slots: int
    ) -> None:
        """Hold back up to `slots` of the rows marked in bool[m], no more of a category than has room.

        `categories` int64[m]; `left` int64[c + 1]: room by category, the last for those with category -1.
        """
        self._held = {}
        if not self._need.any():
            return
        self._categories, self._left = categories, left.copy()
        eligible = self._given & among[:, None]
        scarcest = np.argsort(eligible.sum(axis=0) - self._need, kind="stable").tolist()
        for source in scarcest:
            self._hold_best(eligible, source)
        for source in scarcest:
            while self._missing(source) > 0 and self._make_way(eligible, source, set()):
                pass
        for row in self.held[slots:]:
            del self._held[row]

    def took(self, row: int) -> None:
        """Count a row that the slate has now, and let go of what need not be held any longer, the worst first."""
        if not self._need.any():
            return
        self._need = np.maximum(self._need - self._given[row], 0)
        self._held.pop(row, None)
        cover = self._given[self.held].sum(axis=0)
        for held in reversed(self.held):
            sources = self._given[held]
            if (cover > self._need)[sources].all():
                del self._held[held]
                cover = cover - sources

    def narrow(self, may: NDArray[np.bool_], slots: int, left: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Leave of the rows marked in bool[m] those after which the held ones still fit into the slots and the room."""
        held = np.zeros(len(may), dtype=np.bool_)
        held[self.held] = True
        if slots <= len(self._held):
            return may & held
        beyond = left.copy()
        np.subtract.at(beyond, self._categories[held], 1)
        return may & (held | (beyond[self._categories] > 0))

    def _missing(self, source: int) -> int:
        return int(self._need[source]) - int(np.count_nonzero(self._given[self.held, source]))

    def _hold_best(self, eligible: NDArray[np.bool_], source: int) -> None:
        """Hold the best rows of a source, as long as it needs any and their categories have room."""
        missing = self._missing(source)
        for row in np.flatnonzero(eligible[:, source]).tolist():
            if missing <= 0:
                return
            if row not in self._held and self._left[self._categories[row]] > 0:
                self._add(row, source)
                missing -= 1

    def _add(self, row: int, source: int) -> None:
        self._held[row] = source
        self._left[self._categories[row]] -= 1

    def _make_way(self, eligible: NDArray[np.bool_], source: int, visited: set[int]) -> bool:
        """Hold one more row of a source whose categories are full: others move to categories that have room."""
        for row in np.flatnonzero(eligible[:, source]).tolist():
            category = int(self._categories[row])
            if row in self._held or category in visited:
                continue
            if self._left[category] > 0:
                self._add(row, source)
                return True
            visited.add(category)
            if self._replace(eligible, row, source, visited):
                return True
        return False

    def _replace(self, eligible: NDArray[np.bool_], row: int, source: int, visited: set[int]) -> bool:
        """Hold a row in the stead of one of its category, if the source of that one finds another."""
        for other, owner in self._replaceable(int(self._categories[row]), source):
            del self._held[other]
            self._held[row] = source
            if self._make_way(eligible, owner, visited):
                return True
            del self._held[row]
            self._held[other] = owner
        return False

    def _replaceable(self, category: int, source: int) -> list[tuple[int, int]]:
        """List one held row of a category for each other source; none that two sources lean on."""
        rows = {
            owner: row
            for row, owner in self._held.items()
            if owner != source and self._categories[row] == category and np.count_nonzero(self._given[row]) == 1
        }
        return [(row, owner) for owner, row in rows.items()]
