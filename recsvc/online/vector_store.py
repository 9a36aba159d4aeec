"""Where vectors are kept outside of this process, as far as those who search them need to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VectorSet:
    """One set of vectors that never changes: its name in the store, their number, and how many components each has.

    ``graph``: a graph of near vectors leads the search (HNSW); else all of them are compared. ``product``: the nearest
    is the one of the greatest inner product; else the one of the least distance.
    """

    name: str
    count: int
    width: int
    graph: bool
    product: bool


class VectorStore(Protocol):
    """A set of vectors to search; a place is the number of a vector, from 0.

    Everything here waits for another server: not for an event loop. All raise StoreUnavailableError.
    """

    def nearest(self, point: Vectors, k: int) -> Places:
        """Return the ``k`` places nearest to ``point`` float32[width], nearest first; fewer where it found fewer."""
        ...

    def nearest_among(self, point: Vectors, among: Places, k: int) -> Places:
        """Return the ``k`` nearest of the places ``among``, nearest first."""
        ...

    def vectors(self, places: Places) -> Vectors:
        """Return the float32[m, width] at places."""
        ...


class VectorStores(Protocol):
    """A server that keeps sets of vectors."""

    def open(self, vectors: VectorSet) -> VectorStore:
        """Return a set to search. Raises StoreUnavailableError where it is not there, or not whole."""
        ...

    def write(self, vectors: VectorSet, rows: Vectors, on_progress: Callable[[int], None]) -> None:
        """Write a set, float32[count, width], whole or not at all; ``on_progress`` gets how many are written.

        Raises StoreUnavailableError, also where there is one of that name.
        """
        ...

    def drop(self, name: str, count: int) -> None:
        """Remove the set of a name, of ``count`` vectors, whatever there is of it. Raises StoreUnavailableError."""
        ...
