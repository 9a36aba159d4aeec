"""Values of a row that are not numbers of fixed width, and the columns that values of all types are decoded into."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
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
    return tuple(map(_text, split_strings(data)))


def split_strings(data: bytes) -> list[bytes]:
    """Return the UTF-8 of each item of a STRING_LIST, not looked at; raises RowFormatError where the bytes are none."""
    try:
        (count,) = struct.unpack_from("<I", data)
        lengths = struct.unpack_from(f"<{count}I", data, 4)
    except struct.error:
        raise RowFormatError("a string list is cut short") from None
    start = 4 + 4 * count
    if start + sum(lengths) != len(data):
        raise RowFormatError("a string list's lengths do not fit its bytes")
    ends = list(accumulate(lengths, initial=start))
    return [data[i:j] for i, j in pairwise(ends)]


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RowFormatError("a string is not UTF-8") from None


def are_texts(pieces: Sequence[bytes]) -> bool:
    """Say whether all are UTF-8. No character of it holds a NUL but NUL itself, so one look at all of them will do."""
    try:
        b"\0".join(pieces).decode()
    except UnicodeDecodeError:
        return False
    return True


def check(of: FeatureType, data: bytes) -> None:
    """Raise RowFormatError where bytes behind the fixed part of a row are no value of a type, or over its bounds."""
    if of.kind is Kind.INT64_LIST:
        if len(data) % 8:
            raise RowFormatError("an integer list's length is not a multiple of 8 bytes")
        _bounded("items", len(data) // 8, of)
        return
    texts = [data]
    if of.kind is Kind.STRING:
        _bounded("bytes", len(data), of)
    else:
        texts = split_strings(data)
        _bounded("items", len(texts), of)
        if max(map(len, texts), default=0) > of.item_bytes:
            raise RowFormatError(f"an item of a {of} has more than {of.item_bytes} bytes")
    if not are_texts(texts):
        raise RowFormatError("a string is not UTF-8")


def _bounded(what: str, count: int, of: FeatureType) -> None:
    if count > of.bound:
        raise RowFormatError(f"a {of} has {count} {what}, more than the bound")


def are_all(of: FeatureType, pieces: Sequence[bytes]) -> bool:
    """Say whether ``check`` would take all of them; a few steps for all, where that is possible."""
    if of.kind is Kind.STRING:
        return max(map(len, pieces), default=0) <= of.bound and are_texts(pieces)
    if of.kind is Kind.INT64_LIST:
        lengths = set(map(len, pieces))
        return not any(n % 8 for n in lengths) and max(lengths, default=0) <= 8 * of.bound
    try:
        for piece in pieces:
            check(of, piece)
    except RowFormatError:
        return False
    return True


def pack(of: FeatureType, value: Any) -> bytes:  # noqa: ANN401  # as FeatureType.normalize gives it
    """Return the bytes behind the fixed part of a row that ``value`` of a type has."""
    if of.kind is Kind.STRING:
        return str(value).encode()
    return pack_strings(value) if of.kind is Kind.STRING_LIST else struct.pack(f"<{len(value)}q", *value)


@dataclass(slots=True, eq=False)
class Tails:
    """A column of strings or lists as the bytes that rows have of them, checked; none where there is no value."""

    type: FeatureType
    pieces: list[bytes]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, place: int) -> Any:  # noqa: ANN401  # str, an int64 array or a tuple of str
        return self.array()[place]

    def array(self) -> npt.NDArray[np.object_]:
        """Return them as Python has them: str, int64 arrays, tuples of str."""
        pieces = self.pieces
        if self.type.kind is Kind.STRING:
            return objects(list(map(bytes.decode, pieces)))
        if self.type.kind is Kind.STRING_LIST:
            return objects([unpack_strings(p) if p else () for p in pieces])
        flat = np.frombuffer(b"".join(pieces), "<i8")
        ends = accumulate((len(p) // 8 for p in pieces), initial=0)
        return objects([flat[i:j] for i, j in pairwise(ends)])


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
    return np.fromiter(items, object, len(items))
