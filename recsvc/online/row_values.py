"""Values of a row that are not numbers of fixed width, and the columns that values of all types are decoded into."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.errors import RowFormatError
from recsvc.registry.types import FeatureType, Kind

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Values = npt.NDArray[Any] | Sequence[bytes]
"""A column to write: an array (n, or n × d for VECTOR; timestamps as int64 µs), or for STRING and lists the bytes of
each (UTF-8; int64 one after the other; pack_strings)."""


def pack_strings(items: Sequence[str]) -> bytes:
    """Return the bytes of a STRING_LIST: count, length of each, then their UTF-8; counts and lengths as u32."""
    encoded = [i.encode() for i in items]
    return struct.pack(f"<{len(encoded) + 1}I", len(encoded), *map(len, encoded)) + b"".join(encoded)


def unpack_strings(data: bytes) -> tuple[str, ...]:
    """Read the bytes of a STRING_LIST; raises RowFormatError where they are not one."""
    try:
        (count,) = struct.unpack_from("<I", data)
        lengths = struct.unpack_from(f"<{count}I", data, 4)
    except struct.error:
        raise RowFormatError("a string list is cut short") from None
    start = 4 + 4 * count
    if start + sum(lengths) != len(data):
        raise RowFormatError("a string list's lengths do not fit its bytes")
    items = []
    for length in lengths:
        items.append(_text(data[start : start + length]))
        start += length
    return tuple(items)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RowFormatError("a string is not UTF-8") from None


def _integers(data: bytes) -> Int64Array:
    if len(data) % 8:
        raise RowFormatError("an integer list's length is not a multiple of 8 bytes")
    return np.frombuffer(data, "<i8")


UNPACK: Final[Mapping[Kind, Callable[[bytes], object]]] = {
    Kind.STRING: _text,
    Kind.INT64_LIST: _integers,
    Kind.STRING_LIST: unpack_strings,
}
"""Reads the bytes of one value behind the fixed part; raises RowFormatError where they are not one."""


def blank(of: FeatureType, n: int) -> npt.NDArray[Any]:
    """Return a column of n slots without values: NaN, 0, false, or empty."""
    match of.kind:
        case Kind.FLOAT64:
            return np.full(n, np.nan)
        case Kind.FLOAT32:
            return np.full(n, np.nan, np.float32)
        case Kind.VECTOR:
            return np.full((n, of.bound), np.nan, np.float32)
        case Kind.BOOL:
            return np.zeros(n, np.bool_)
        case Kind.INT64 | Kind.TIMESTAMP:
            return np.zeros(n, np.int64)
    return objects([_EMPTY[of.kind]] * n)


_EMPTY: Final[dict[Kind, object]] = {Kind.STRING: "", Kind.INT64_LIST: np.zeros(0, np.int64), Kind.STRING_LIST: ()}


def objects(items: Sequence[object]) -> npt.NDArray[np.object_]:
    """Return an object array of ``items``, one slot each, whatever they are."""
    out = np.empty(len(items), object)
    for index, item in enumerate(items):
        out[index] = item
    return out
