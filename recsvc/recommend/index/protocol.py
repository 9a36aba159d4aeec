"""What every vector index can do, wherever its vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.metric import Metric


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found, best first, equal scores by place: int64[m] places and their float32[m] scores."""

    places: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.places)


class VectorIndex(Protocol):
    """Vectors of items under one metric. It never changes; any thread may search it.

    A place is the number of an item in ``ids``. Items without a vector are not in the index, so its places are not
    those of the catalogue.
    """

    @property
    def ids(self) -> Sequence[str]:
        """The canonical id text of each item, by place."""
        ...

    @property
    def dimension(self) -> int:
        """Length of vectors and queries."""
        ...

    @property
    def metric(self) -> Metric:
        """What scores mean; higher is better under each."""
        ...

    @property
    def version(self) -> str:
        """Which build of the index this is."""
        ...

    def __len__(self) -> int: ...

    def search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """Return the ``k`` best places for a query float32[d], of those that ``allowed`` bool[n] permits (None: all).

        Fewer than ``k`` only where fewer are allowed. Never a place twice, a place that is not allowed, or a score
        that is not finite. Raises BadQueryError where an argument does not fit the index.
        """
        ...

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32[m, d] vectors at places; unit vectors where the metric is COSINE."""
        ...


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Basis:
    """A mask that others are made of by taking out a few places: what an index knows of it does for these too.

    ``mask`` never changes; ``passing`` is how many it allows.
    """

    mask: NDArray[np.bool_]
    passing: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Basis:
        """Return a mask that nobody changes any more."""
        mask.flags.writeable = False
        return cls(mask, int(np.count_nonzero(mask)))


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which places may be found, and how many these are. ``basis``: what a few were taken out of, None for nothing."""

    mask: NDArray[np.bool_]
    passing: int
    basis: Basis | None = None

    @classmethod
    def by(cls, mask: NDArray[np.bool_]) -> Allowed:
        """Return what a mask allows."""
        return cls(mask, int(np.count_nonzero(mask)))

    def at_most(self, passing: int) -> Allowed:
        """Return the same, where no more than these are of any interest."""
        return self if self.passing <= passing else Allowed(self.mask, passing, self.basis)


class Renumbered(Protocol):
    """A vector index by other numbers than its own places, such as places of a catalogue."""

    def search(self, query: NDArray[np.float32], k: int, allowed: Allowed) -> Hits:
        """Search as VectorIndex does: ``allowed`` (bool[size]) and the places of hits are by those numbers."""
        ...


@runtime_checkable
class Renumbers(Protocol):
    """What an index has that searches by other numbers at once, for that is faster than to bring masks to its own."""

    def renumbered(self, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> Renumbered:
        """Return the index by other numbers.

        ``numbers`` int64[n] has that of each place, -1 where it has none; ``rows`` int64[size] the place of each
        number, -1 where it has none.
        """
        ...
