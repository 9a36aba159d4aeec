"""Codes in place of strings (and of the items of lists), so that a filter compares small numbers.

Code 0 stands for no value. Codes are as narrow as their number allows: 1 M of uint8 are compared in about 0.1 ms, of
int64 in 0.6 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
NO_CODE: Final = 0
FEW: Final = 8
"""Up to so many values are compared one by one, which is vectorised better than a look-up in a table."""


class Dictionary:
    """Values and their codes; only grows, so that snapshots of different ages share it."""

    __slots__ = ("codes", "values")

    def __init__(self) -> None:
        self.codes: dict[Any, int] = {}
        self.values: list[Any] = [None]

    def __repr__(self) -> str:
        return f"Dictionary({len(self.codes)} values)"

    def encode(self, values: Iterable[Any]) -> list[int]:
        """Return the code of each value, and give one to those that have none."""
        codes, known = self.codes, self.values
        found = []
        for value in values:
            code = codes.get(value)
            if code is None:
                code = len(known)
                known.append(value)  # first, so that a reader in another thread never meets a code without a value
                codes[value] = code
            found.append(code)
        return found

    def seen(self) -> Codes:
        """Return the codes that there are now."""
        return Codes(self, len(self.values))


@dataclass(frozen=True, slots=True)
class Codes:
    """The first ``count`` codes of a dictionary, that of no value among them: those that a snapshot can have."""

    of: Dictionary
    count: int

    def known(self, values: Iterable[Any]) -> list[int]:
        """Return the codes of those of ``values`` that have one: distinct, ascending."""
        found = (self.of.codes.get(value, NO_CODE) for value in values)
        return sorted({code for code in found if NO_CODE < code < self.count})

    def value(self, code: int) -> Any:  # noqa: ANN401  # str or int
        """Return the value of ``code``; None for 0."""
        return self.of.values[code]

    def matcher(self, wanted: list[int]) -> Callable[[npt.NDArray[Any]], Mask]:
        """Return what says of each of some codes whether it is one of ``wanted``."""
        if len(wanted) <= FEW:
            return lambda codes: equal_any(codes, wanted)
        table = np.zeros(self.count, np.bool_)
        table[wanted] = True
        return table.take


def equal_any(values: npt.NDArray[Any], wanted: Iterable[Any]) -> Mask:
    """Say of each of ``values`` whether it equals one of a few."""
    hit: Mask | None = None
    for one in wanted:
        equal = values == one
        hit = equal if hit is None else np.logical_or(hit, equal, out=hit)
    return np.zeros(len(values), np.bool_) if hit is None else hit


def code_type(count: int) -> type[np.unsignedinteger[Any]]:
    """Return the narrowest type for ``count`` codes."""
    if count <= 1 << 8:
        return np.uint8
    return np.uint16 if count <= 1 << 16 else np.uint32


def bits_type(values: int) -> type[np.unsignedinteger[Any]] | None:
    """Return the narrowest type with a bit for each of so many values; None: there is none."""
    for dtype, bits in ((np.uint8, 8), (np.uint16, 16), (np.uint32, 32), (np.uint64, 64)):
        if values <= bits:
            return dtype
    return None
