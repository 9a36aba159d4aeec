"""Where the bytes of a row are: the header, the validity bitmap, the fixed part.

FORMAT.md says the same to people who write rows from another language.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recsvc.registry.schema import Schema
from recsvc.registry.types import VARIABLE, FeatureType, Kind

FORMAT: Final = 1
TOMBSTONE: Final = 1
"""Flag bit: the entity was deleted; the row has a header and nothing else."""
HEADER: Final = struct.Struct("<BBHIqq")
"""Format, flags, feature count, fingerprint, event time, write time."""
HEADER_BYTES: Final = HEADER.size
HEAD_BYTES: Final = 8
"""The part of the header that rows of one writer share: all before the times."""

_DTYPES: Final = {
    Kind.INT64: "<i8",
    Kind.FLOAT64: "<f8",
    Kind.FLOAT32: "<f4",
    Kind.BOOL: "u1",
    Kind.TIMESTAMP: "<i8",
}


def head(count: int, fingerprint: int, flags: int = 0) -> int:
    """Return the first 8 bytes of a row as a little-endian integer: format, flags, feature count, fingerprint."""
    return FORMAT | flags << 8 | count << 16 | fingerprint << 32


@dataclass(frozen=True, slots=True)
class Layout:
    """The fixed bytes of rows by a writer of ``written`` features, as far as the reader's schema knows them.

    ``dtype`` has the fields head, event, write, valid (bytes of the bitmap) and f0 … of the ``shared`` features that
    both know; ``size`` is its itemsize. A row has ``smallest`` bytes, or where it is ``variable`` at least as many; its
    tail begins there or behind. ``head`` is the first 8 bytes, None for a writer that knows more features than we do:
    its fingerprint cannot be checked here.
    """

    written: int
    shared: int
    dtype: np.dtype[Any]
    size: int
    smallest: int
    head: int | None
    variable: bool


def layout(schema: Schema, written: int) -> Layout:
    """Return the layout of rows by a writer of ``written`` features to a reader of ``schema``."""
    shared = min(written, len(schema))
    types = schema.types[:shared]
    fields: list[tuple[Any, ...]] = [
        ("head", "<u8"),
        ("event", "<i8"),
        ("write", "<i8"),
        ("valid", "u1", (bitmap_bytes(written),)),
        *((field_name(i), *_field(t)) for i, t in enumerate(types)),
    ]
    dtype = np.dtype(fields)
    surplus = written - shared  # of types that we do not know; the narrowest, BOOL, has one byte
    known = head(written, schema.fingerprints[written]) if not surplus else None
    variable = surplus > 0 or any(t.kind in VARIABLE for t in types)
    return Layout(written, shared, dtype, dtype.itemsize, dtype.itemsize + surplus, known, variable)


def field_name(index: int) -> str:
    """Return the name of feature ``index`` in a layout's dtype."""
    return f"f{index}"


def bitmap_bytes(count: int) -> int:
    """Return the length of the validity bitmap of ``count`` features, in bytes."""
    return (count + 7) // 8


def _field(of: FeatureType) -> tuple[Any, ...]:
    if of.kind is Kind.VECTOR:
        return ("<f4", (of.bound,))
    if of.kind in VARIABLE:
        return ("<u4", (2,))  # where in the row the bytes begin, and how many
    return (_DTYPES[of.kind],)
