"""Keeps whatever can still be among the best k of a scan whose scores are a little off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Leaders:
    """Places with rough scores not more than ``margin`` below the ``k``-th best so far.

    ``floor`` is what a score must reach to be of interest; it only rises.
    """

    def __init__(self, k: int, *, margin: float) -> None:
        self.floor = -np.inf
        self._k = k
        self._margin = margin
        self._places: list[NDArray[np.int64]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._count = 0
        self._limit = 4 * k

    def __repr__(self) -> str:
        return f"Leaders({self._count} for the best {self._k}, from {self.floor})"

    def add(self, places: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Take in places with their scores; none may be there already."""
        self._places.append(places)
        self._scores.append(scores)
        self._count += len(places)
        if self._count > self._limit:
            self._trim()
            # Where most scores are equal nothing can be dropped: then look less and less often.
            self._limit = max(4 * self._k, 2 * self._count)

    def places(self) -> NDArray[np.int64]:
        """Return all that can be among the best k, in no order."""
        if self._count > self._k:
            self._trim()
        return np.concatenate([np.empty(0, dtype=np.int64), *self._places])

    def _trim(self) -> None:
        places, scores = np.concatenate(self._places), np.concatenate(self._scores)
        kth = len(scores) - self._k
        self.floor = max(self.floor, float(np.partition(scores, kth)[kth]) - self._margin)
        stay = scores >= self.floor
        self._places, self._scores = [places[stay]], [scores[stay]]
        self._count = len(self._places[0])
