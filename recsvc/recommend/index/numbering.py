"""Other numbers for the places of an index: a mask over them is not brought to the order of the index, but looked up.

To bring a mask of a million places to another order takes ten milliseconds; a search looks at some ten thousand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.protocol import Hits

Ints = NDArray[np.int64]
Small = NDArray[np.int32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Numbering:
    """``rows`` int64[size]: the place of each number, -1 for none; None: numbers are the places.

    ``numbers`` int64[n] has that of each place, ``members`` int32[n] those of the places of all lists, one list after
    another, ``sample`` int32[l, s] those of the places that survivors are counted on; -1 for none.
    """

    numbers: Ints
    rows: Ints | None
    known: Mask | None
    members: Small
    sample: Small
    everywhere: bool

    def __repr__(self) -> str:
        return f"Numbering({len(self.numbers)} places)"

    @classmethod
    def own(cls, members: Small, sample: Ints) -> Numbering:
        """Return the numbers that are the places themselves."""
        return cls(np.arange(len(members)), None, None, members, sample.astype(np.int32), everywhere=True)

    def renumbered(self, numbers: Ints, rows: Ints) -> Numbering:
        """Return other numbers of the same places."""
        known = rows >= 0
        small = numbers.astype(np.int32)
        return Numbering(
            numbers,
            rows,
            None if known.all() else known,
            small[self.members],
            small[self.sample],
            everywhere=bool((numbers >= 0).all()),
        )

    def indexed(self, allowed: Mask) -> Mask:
        """Return which allowed numbers have a place."""
        return allowed if self.known is None else allowed & self.known

    def allowed(self, mask: Mask, numbers: Small) -> Mask:
        """Return which of some numbers a mask allows; one below 0 never is."""
        if not len(mask):
            return np.zeros(numbers.shape, np.bool_)
        hits: Mask = mask.take(numbers, mode="wrap")
        return hits if self.everywhere else hits & (numbers >= 0)

    def places(self, allowed: Mask) -> Ints:
        """Return the places of allowed numbers that all have one, in rising order: vectors lie so in memory."""
        found = np.flatnonzero(allowed)
        return found if self.rows is None else np.sort(self.rows[found])

    def renumber(self, hits: Hits) -> Hits:
        """Return hits by number."""
        return hits if self.rows is None else Hits(self.numbers[hits.places], hits.scores)
