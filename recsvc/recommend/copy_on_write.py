"""An array that one writer changes while snapshots of it stay as they are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
_LEAST: Final = 16
"""Slots that an array begins with."""


class CopyOnWrite:
    """Grows at its end, and is copied at the first write to a slot that a snapshot shows.

    So an appended item costs no copy, and any number of changes between two snapshots costs one, without a loop.
    """

    __slots__ = ("_array", "_empty", "_shown", "_size", "_view")

    def __init__(self, dtype: npt.DTypeLike, empty: object) -> None:
        """Begin without slots; new ones hold ``empty``."""
        self._empty = empty
        self._size = 0
        self._shown = 0
        self._view: npt.NDArray[Any] | None = None
        self._array = np.full(_LEAST, empty, dtype)

    def __repr__(self) -> str:
        return f"CopyOnWrite({self._size} × {self.dtype}, {self._shown} shown)"

    def __len__(self) -> int:
        return self._size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a slot."""
        return self._array.dtype

    def resize(self, size: int) -> None:
        """Append empty slots up to ``size``."""
        if size > len(self._array):
            grown = np.full(max(size, 2 * len(self._array)), self._empty, self.dtype)
            grown[: self._size] = self._array[: self._size]
            self._restart(grown)
        if size != self._size:
            self._size = size
            self._view = None

    def read(self, places: Places) -> npt.NDArray[Any]:
        """Return a copy of the slots at ``places``."""
        found: npt.NDArray[Any] = self._array[places]
        return found

    def write(self, places: Places, values: npt.NDArray[Any]) -> None:
        """Put ``values`` into the slots at ``places``; what is there already is not written again."""
        old = self._array[places]
        same = (old == values) | ((old != old) & (values != values))  # noqa: PLR0124  # NaN is the same as NaN here
        if same.all():
            return
        if self._shown and int(places.min()) < self._shown:
            self._restart(self._array.copy())
        self._array[places] = values
        self._view = None

    def append(self, values: npt.NDArray[Any]) -> int:
        """Append ``values``; return the place of the first."""
        start = self._size
        self.resize(start + len(values))
        self._array[start : self._size] = values
        return start

    def replace(self, values: npt.NDArray[Any]) -> None:
        """Have other slots, maybe of another type."""
        array = np.full(max(_LEAST, len(values)), self._empty, values.dtype)
        array[: len(values)] = values
        self._size = len(values)
        self._restart(array)

    def widen(self, dtype: npt.DTypeLike) -> None:
        """Let slots have a wider type."""
        if self.dtype != dtype:
            self.replace(self._array[: self._size].astype(dtype))

    def view(self) -> npt.NDArray[Any]:
        """Return all slots as they are now and will be in this array for ever, read-only; no copy.

        The same object as before where nothing was written since.
        """
        if self._view is None:
            self._view = self._array[: self._size]
            self._view.flags.writeable = False
        self._shown = self._size
        return self._view

    def _restart(self, array: npt.NDArray[Any]) -> None:
        """Go on in ``array``, which no snapshot shows."""
        self._array = array
        self._shown = 0
        self._view = None
