"""The keys of vectors in Redis, made and read by the thousand: fixed in length, so numpy does it.

A set named NAME is the search index ``fs:vectors:NAME`` over one hash for each vector, ``fs:vectors:NAME:PLACE``: PLACE
in as many digits as the greatest one has, the vector in the field ``v``, float32 little-endian.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FIELD: Final = b"v"
_ZERO: Final = ord("0")
_TEN: Final = 10


def index_key(name: str) -> bytes:
    """Return the name of the search index of a set."""
    return f"fs:vectors:{name}".encode()


class VectorKeys:
    """The keys of one set of ``count`` vectors."""

    def __init__(self, name: str, count: int) -> None:
        self.index = index_key(name)
        self.prefix = self.index + b":"
        self._digits = len(str(max(count - 1, 0)))
        self._count = count
        self._powers = _TEN ** np.arange(self._digits - 1, -1, -1, dtype=np.int64)

    def __repr__(self) -> str:
        return f"VectorKeys({self.prefix!r}, {self._count})"

    @property
    def length(self) -> int:
        """The length of each key in bytes."""
        return len(self.prefix) + self._digits

    def between(self, before: bytes, places: NDArray[np.int64], after: bytes) -> bytes:
        """Return the keys of places, each between ``before`` and ``after``, as one piece."""
        start = np.frombuffer(before + self.prefix, dtype=np.uint8)
        end = np.frombuffer(after, dtype=np.uint8)
        rows = np.empty((len(places), len(start) + self._digits + len(end)), dtype=np.uint8)
        rows[:, : len(start)] = start
        rows[:, len(start) : len(start) + self._digits] = places[:, None] // self._powers % _TEN + _ZERO
        rows[:, len(start) + self._digits :] = end
        return rows.tobytes()

    def each(self, places: NDArray[np.int64]) -> list[bytes]:
        """Return the keys of places, one by one."""
        text = self.between(b"", places, b"")
        return [text[start : start + self.length] for start in range(0, len(text), self.length)]

    def places(self, keys: list[bytes]) -> NDArray[np.int64] | None:
        """Return the places of keys; None where one is not of this set."""
        text = b"".join(keys)
        if len(text) != len(keys) * self.length:
            return None
        rows = np.frombuffer(text, dtype=np.uint8).reshape(len(keys), self.length)
        digits = rows[:, len(self.prefix) :].astype(np.int64) - _ZERO
        places = digits @ self._powers
        right = (rows[:, : len(self.prefix)] == np.frombuffer(self.prefix, dtype=np.uint8)).all()
        right &= ((digits >= 0) & (digits < _TEN)).all() and (places < self._count).all()
        return places if right else None
