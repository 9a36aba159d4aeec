"""Where the bytes of a row are: the header, the validity bitmap, the fixed part. FORMAT.md is the same for people of other languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recsvc.registry.schema import Schema
from recsvc.registry.types import FeatureType, Kind

FORMAT: Final = 1
TOMBSTONE: Final = 1
"""Flag bit: the entity was deleted; the row has a header and nothing else."""
HEADER_BYTES: Final = 24

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

    ``dtype`` has the fields head, event, write, valid (bytes of the bitmap) and f0 … of the features that both know; ``size`` is its itemsize.
    ``head`` is the first 8 bytes, None for a writer that knows more features than we do: its fingerprint cannot be checked here.
    """

    written: int
    shared: int
    dtype: np.dtype[Any]
    size: int
    head: int | None
    variable: bool


def layout(schema: Schema, written: int) -> Layout:
    """Return the layout of rows by a writer of ``written`` features to a reader of ``schema``."""
    shared = min(written, len(schema))
    fields: list[tuple[Any, ...]] = [
        ("head", "<u8"),
        ("event", "<i8"),
        ("write", "<i8"),
        ("valid", "u1", (bitmap_bytes(written),)),
    ]
    fields += [(f"f{i}", *_field(schema.types[i])) for i in range(shared)]
    dtype = np.dtype(fields)
    known = head(written, schema.fingerprints[written]) if written <= len(schema) else None
    variable = written > shared or any(t.kind not in _DTYPES and t.kind is not Kind.VECTOR for t in schema.types[:shared])
    return Layout(written, shared, dtype, dtype.itemsize, known, variable)


def bitmap_bytes(count: int) -> int:
    """Return the length of the validity bitmap of ``count`` features, in bytes."""
    return (count + 7) // 8


def _field(of: FeatureType) -> tuple[Any, ...]:
    if of.kind is Kind.VECTOR:
        return ("<f4", (of.bound,))
    if of.kind in _DTYPES:
        return (_DTYPES[of.kind],)
    return ("<u4", (2,))  # where in the row the bytes begin, and how many
