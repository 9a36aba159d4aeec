"""Which entries of a list of places can be used: real places, each at its first occurrence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def firsts(places: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Mark in places[c] those of 0 … `size` - 1 where they stand for the first time: bool[c]."""
    first = np.zeros(len(places), dtype=np.bool_)
    first[np.unique(places, return_index=True)[1]] = True
    marked: NDArray[np.bool_] = first & (places >= 0) & (places < size)
    return marked
