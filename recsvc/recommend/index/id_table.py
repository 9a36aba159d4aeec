"""Ids of an index as two arrays, so that workers share one memory-mapped copy instead of a million strings each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

_AT_ONCE: Final = 512


class IdTable(Sequence[str]):
    """Id texts by place: ``text`` uint8[bytes] in UTF-8, and where each ends, ``ends`` int64[n]."""

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._text = text
        self._ends = ends

    def __repr__(self) -> str:
        return f"IdTable({len(self)} ids)"

    @classmethod
    def of(cls, ids: Sequence[str]) -> IdTable:
        """Pack id texts."""
        encoded = [name.encode() for name in ids]
        ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    @property
    def text(self) -> NDArray[np.uint8]:
        """All texts, one after the other."""
        return self._text

    @property
    def ends(self) -> NDArray[np.int64]:
        """Where the text of each place ends."""
        return self._ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        number = range(len(self))[place]  # counts from the end where negative; raises IndexError
        start = int(self._ends[number - 1]) if number else 0
        return self._text[start : int(self._ends[number])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for first in range(0, len(self), _AT_ONCE):  # a thread that does this holds up no other for long
            ends = self._ends[first : first + _AT_ONCE].tolist()
            text, start = self._text[begin : ends[-1]].tobytes(), 0
            for end in ends:
                yield text[start : end - begin].decode()
                start = end - begin
            begin = ends[-1]
