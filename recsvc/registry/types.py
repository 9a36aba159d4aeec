"""The types a feature can have, and what a value of each may be."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
FLOAT32_MAX: Final = 3.4028234663852886e38
FLOAT64_MAX: Final = sys.float_info.max
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_BOUND: Final = 65_536
"""Upper limit of a vector's dimension, a list's items and a string's bytes."""

FeatureScalar = int | float | bool | str | datetime
FeatureData = FeatureScalar | Sequence[int] | Sequence[float] | Sequence[str]
"""What a definition gives as a default: a Python value of the feature's type."""


class Kind(Enum):
    """The families of types; the value is the name in definitions, tables and fingerprints."""

    INT64 = "INT64"
    FLOAT64 = "FLOAT64"
    FLOAT32 = "FLOAT32"
    BOOL = "BOOL"
    STRING = "STRING"
    TIMESTAMP = "TIMESTAMP"
    VECTOR = "VECTOR"
    INT64_LIST = "INT64_LIST"
    STRING_LIST = "STRING_LIST"


FIXED_WIDTH: Final = {
    Kind.INT64: 8,
    Kind.FLOAT64: 8,
    Kind.FLOAT32: 4,
    Kind.BOOL: 1,
    Kind.TIMESTAMP: 8,
}
VARIABLE: Final = frozenset({Kind.STRING, Kind.INT64_LIST, Kind.STRING_LIST})
_BOUNDED: Final = VARIABLE | {Kind.VECTOR}


@dataclass(frozen=True, slots=True)
class FeatureType:
    """A feature's type.

    ``VECTOR[64]`` has 64 components, ``INT64_LIST[50]`` at most 50 items, ``STRING[32]`` at most 32 bytes,
    ``STRING_LIST[50, 20]`` has at most 50 items of at most 20 bytes of UTF-8 each. The bounds are what the size of an
    answer is computed from before anything is read.
    """

    kind: Kind
    bound: int = 0
    item_bytes: int = 0

    def __getitem__(self, bound: int | tuple[int, int]) -> FeatureType:
        if isinstance(bound, tuple):
            return replace(self, bound=bound[0], item_bytes=bound[1])
        return replace(self, bound=bound)

    def __str__(self) -> str:
        if self.kind is Kind.STRING_LIST:
            return f"STRING_LIST[{self.bound}, {self.item_bytes}]"
        return f"{self.kind.value}[{self.bound}]" if self.kind in _BOUNDED else self.kind.value

    @property
    def layout(self) -> str:
        """What of the type decides the bytes of a row: bounds of strings and lists do not."""
        return f"VECTOR[{self.bound}]" if self.kind is Kind.VECTOR else self.kind.value

    @property
    def max_reply_bytes(self) -> int:
        """The most that one value takes in a reply, its framing included, in bytes."""
        if self.kind is Kind.VECTOR:
            return 4 * self.bound
        if self.kind is Kind.STRING:
            return self.bound + 4
        if self.kind is Kind.INT64_LIST:
            return 8 * self.bound + 4
        if self.kind is Kind.STRING_LIST:
            return (self.item_bytes + 4) * self.bound + 4
        return FIXED_WIDTH[self.kind]

    def problem(self) -> str | None:
        """Say what is wrong with the type itself, or None."""
        name = self.kind.value
        if self.kind not in _BOUNDED:
            return f"{name} takes no bound" if self.bound or self.item_bytes else None
        if self.kind is Kind.STRING_LIST:
            right = _is_bound(self.bound) and _is_bound(self.item_bytes)
            return None if right else f"{name} needs two bounds from 1 to {MAX_BOUND}, such as {name}[50, 64]"
        if self.item_bytes:
            return f"{name} takes one bound, such as {name}[64]"
        return None if _is_bound(self.bound) else f"{name} needs a bound from 1 to {MAX_BOUND}, such as {name}[64]"

    def normalize(self, value: object) -> FeatureData:
        """Return ``value`` as this type keeps it (timestamps as int microseconds, sequences as tuples).

        Raises ValueError with what is wrong and what would be right.
        """
        if self.kind is Kind.VECTOR:
            return _vector(value, self.bound)
        if self.kind in (Kind.INT64_LIST, Kind.STRING_LIST):
            return self._list(value)
        return _scalar(value, self)

    def _list(self, value: object) -> tuple[int, ...] | tuple[str, ...]:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise ValueError(f"{value!r} is not a sequence of at most {self.bound} items")  # noqa: TRY004  # one kind of error
        if len(value) > self.bound:
            raise ValueError(f"has {len(value)} items, more than the bound {self.bound}")
        item = STRING[self.item_bytes] if self.kind is Kind.STRING_LIST else INT64
        return tuple(_scalar(v, item) for v in value)  # type: ignore[return-value]  # one kind for all items


def _is_bound(bound: object) -> bool:
    return isinstance(bound, int) and not isinstance(bound, bool) and 1 <= bound <= MAX_BOUND


def _scalar(value: object, of: FeatureType) -> FeatureScalar:  # noqa: PLR0911  # one for each type
    match of.kind, value:
        case Kind.BOOL, bool():
            return value
        case (_, bool()):
            raise ValueError(f"{value!r} is a bool, not {of}")
        case Kind.INT64, int() if INT64_MIN <= value <= INT64_MAX:
            return value
        case Kind.FLOAT64, int() | float() if _fits(value, FLOAT64_MAX):
            return float(value)
        case Kind.FLOAT32, int() | float() if _fits(value, FLOAT32_MAX):
            return float(value)
        case Kind.TIMESTAMP, datetime() if value.tzinfo is not None:
            return (value - EPOCH) // timedelta(microseconds=1)
        case Kind.TIMESTAMP, int() if INT64_MIN < value <= INT64_MAX:
            return value
        case Kind.STRING, str():
            return _string(value, of.bound)
        case _:
            raise ValueError(f"{value!r} is not {_WANTED[of.kind]}")


def _fits(value: int | float, largest: float) -> bool:  # noqa: PYI041  # a large int is no float
    """Whether a number can be one of a type up to ``largest``; NaN and the infinities are of every type."""
    return abs(value) <= largest or (isinstance(value, float) and not math.isfinite(value))


_WANTED: Final = {
    Kind.BOOL: "True or False",
    Kind.INT64: "an integer of 64 bits",
    Kind.FLOAT64: "a number",
    Kind.FLOAT32: "a number that fits 32 bits",
    Kind.TIMESTAMP: "a datetime with a time zone (or int microseconds since 1970)",
    Kind.STRING: "a string",
}


def _string(value: str, max_bytes: int) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{value!r} cannot be written as UTF-8") from None
    if size > max_bytes:
        raise ValueError(f"has {size} bytes, more than the bound {max_bytes}")
    return value


def _vector(value: object, dimension: int) -> tuple[float, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ValueError(f"{value!r} is not a sequence of {dimension} numbers")  # noqa: TRY004  # one kind of error
    if len(value) != dimension:
        raise ValueError(f"has {len(value)} components, must have {dimension}")
    return tuple(float(_scalar(v, FLOAT32)) for v in value)  # type: ignore[arg-type]  # FLOAT32 gives a float


INT64: Final = FeatureType(Kind.INT64)
FLOAT64: Final = FeatureType(Kind.FLOAT64)
FLOAT32: Final = FeatureType(Kind.FLOAT32)
BOOL: Final = FeatureType(Kind.BOOL)
STRING: Final = FeatureType(Kind.STRING, bound=256)
TIMESTAMP: Final = FeatureType(Kind.TIMESTAMP)
VECTOR: Final = FeatureType(Kind.VECTOR)
INT64_LIST: Final = FeatureType(Kind.INT64_LIST)
STRING_LIST: Final = FeatureType(Kind.STRING_LIST, item_bytes=64)
