"""Schemas, values of every type with their extremes, ids and whole columns, for property tests."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT32, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, TIMESTAMP, VECTOR
from recsvc.online.row import RowCodec, Values, pack_strings
from recsvc.registry.schema import Schema
from recsvc.registry.types import INT64_MAX, INT64_MIN, FeatureType, Kind

FEW = settings(max_examples=20)
MANY = settings(max_examples=100)

TYPES = (
    INT64,
    FLOAT64,
    FLOAT32,
    BOOL,
    STRING[64],
    TIMESTAMP,
    VECTOR[1],
    VECTOR[3],
    INT64_LIST[5],
    STRING_LIST[4, 32],
)
NOW = 1_800_000_000_000_000
"""A time of writing, in µs."""

# Whole numbers of 64 bits with the ends of the range; times that numpy does not take for "no time".
int64s = st.one_of(st.integers(INT64_MIN, INT64_MAX), st.sampled_from([INT64_MIN, INT64_MAX, 0, -1, 2**53 + 1]))
times = st.one_of(st.integers(INT64_MIN + 1, INT64_MAX), st.sampled_from([INT64_MIN + 1, INT64_MAX, 0, NOW]))
# Floats are drawn as bits, for NaN has payloads: quiet and signalling NaN, ±inf, -0.0, denormals, the largest.
float64_bits = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0x7FF8 << 48, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF, 0x7FF0 << 48, 0xFFF0 << 48, 1 << 63, 1]),
)
float32_bits = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 1 << 31, 1, 0x7F7FFFFF]),
)
# Any text that UTF-8 can write: NUL, combining signs and characters beyond the 16-bit plane among it.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=16)
short_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ids = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.text("%:{}*?[]\\^\"'~ +v1aé\x00\n\x7f", min_size=1, max_size=8),
)
schemas = st.lists(st.sampled_from(TYPES), min_size=1, max_size=20).map(lambda types: schema_of(*types))


def schema_of(*types: FeatureType) -> Schema:
    """Return a schema of features f0, f1, … of these types."""
    return Schema(tuple(f"f{i}" for i in range(len(types))), types)


def _bits(code: str) -> Callable[[int], bytes]:
    return lambda value: struct.pack(f"<{code}", value)


_VALUES: dict[Kind, Callable[[int], st.SearchStrategy[Any]]] = {
    Kind.INT64: lambda _: int64s.map(_bits("q")),
    Kind.TIMESTAMP: lambda _: times.map(_bits("q")),
    Kind.FLOAT64: lambda _: float64_bits.map(_bits("Q")),
    Kind.FLOAT32: lambda _: float32_bits.map(_bits("I")),
    Kind.BOOL: lambda _: st.booleans().map(_bits("B")),
    Kind.VECTOR: lambda n: st.lists(float32_bits.map(_bits("I")), min_size=n, max_size=n).map(b"".join),
    Kind.STRING: lambda _: texts,
    Kind.INT64_LIST: lambda n: st.lists(int64s, max_size=n).map(tuple),
    Kind.STRING_LIST: lambda n: st.lists(short_texts, max_size=n).map(tuple),
}


def value_of(of: FeatureType) -> st.SearchStrategy[Any]:
    """Draw one value of a type: as bytes for what is compared bit by bit, else as Python has it."""
    return _VALUES[of.kind](of.bound)


_DTYPES = {
    Kind.INT64: "<i8",
    Kind.TIMESTAMP: "<i8",
    Kind.FLOAT64: "<f8",
    Kind.FLOAT32: "<f4",
    Kind.BOOL: "?",
    Kind.VECTOR: "<f4",
}
_PACK: dict[Kind, Callable[[Any], bytes]] = {
    Kind.STRING: str.encode,
    Kind.INT64_LIST: lambda v: struct.pack(f"<{len(v)}q", *v),
    Kind.STRING_LIST: pack_strings,
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to write: values of each feature (None: null) and event times."""

    schema: Schema
    events: list[int]
    columns: list[list[Any]]

    def encode(self, count: int | None = None) -> list[bytes]:
        """Return the rows as a writer of the first ``count`` features writes them."""
        schema = self.schema if count is None else self.schema.prefix(count)
        events = np.array(self.events, np.int64)
        columns = [as_written(t, c) for t, c in zip(schema.types, self.columns, strict=False)]
        return RowCodec(schema).encode(events, np.full(len(events), NOW), columns)


def as_written(of: FeatureType, values: Sequence[Any]) -> tuple[Values, npt.NDArray[np.bool_] | None]:
    """Return a column as RowCodec.encode takes it; one without nulls sometimes says so by None."""
    valid = np.array([v is not None for v in values], bool)
    mask = None if valid.all() else valid
    if of.kind in _PACK:
        return [_PACK[of.kind](v) if v is not None else b"never written" for v in values], mask
    width = np.dtype(_DTYPES[of.kind]).itemsize * max(of.bound, 1)
    raw = b"".join(v if v is not None else b"\xee" * width for v in values)
    array = np.frombuffer(raw, _DTYPES[of.kind] if of.kind is not Kind.BOOL else "u1")
    array = array.astype(bool) if of.kind is Kind.BOOL else array
    return (array.reshape(len(values), of.bound) if of.kind is Kind.VECTOR else array), mask


def as_read(of: FeatureType, column: npt.NDArray[Any], place: int) -> object:
    """Return one decoded value in the form that ``value_of`` draws."""
    if of.kind is Kind.INT64_LIST:
        return tuple(column[place].tolist())
    if of.kind in _PACK:
        return column[place]
    return column[place].tobytes()


@st.composite
def tables(draw: st.DrawFn, max_rows: int = 6) -> Table:
    """Draw a schema and rows of it."""
    schema = draw(schemas)
    n = draw(st.integers(0, max_rows))
    columns = [draw(st.lists(st.none() | value_of(t), min_size=n, max_size=n)) for t in schema.types]
    return Table(schema, draw(st.lists(times, min_size=n, max_size=n)), columns)
