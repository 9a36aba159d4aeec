"""Request context: typed values and columns of a message to columns of the declared type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Column, Source, Status
from recsvc.online.row import blank, objects
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.types import FeatureType, Kind

KINDS: Final = {
    "int64_value": Kind.INT64,
    "float64_value": Kind.FLOAT64,
    "float32_value": Kind.FLOAT32,
    "bool_value": Kind.BOOL,
    "string_value": Kind.STRING,
    "timestamp_micros_value": Kind.TIMESTAMP,
    "vector_value": Kind.VECTOR,
    "int64_list_value": Kind.INT64_LIST,
    "string_list_value": Kind.STRING_LIST,
}
_COLUMNS: Final = {
    "int64s": Kind.INT64,
    "float64s": Kind.FLOAT64,
    "float32s": Kind.FLOAT32,
    "bools": Kind.BOOL,
    "strings": Kind.STRING,
    "timestamps": Kind.TIMESTAMP,
    "vectors": Kind.VECTOR,
    "int64_lists": Kind.INT64_LIST,
    "string_lists": Kind.STRING_LIST,
}
_LISTS: Final = frozenset({Kind.INT64_LIST, Kind.STRING_LIST})
_TAKEN: Final = {Kind.FLOAT64: {Kind.INT64, Kind.FLOAT32}, Kind.FLOAT32: {Kind.INT64, Kind.FLOAT64}}
"""What is taken for a type besides itself; whole numbers are often sent for floats."""
_DTYPES: Final = {
    Kind.INT64: np.int64,
    Kind.FLOAT64: np.float64,
    Kind.FLOAT32: np.float32,
    Kind.BOOL: np.bool_,
    Kind.TIMESTAMP: np.int64,
}


def from_value(message: pb.Value, of: FeatureType) -> Column | str:
    """Return a column of one value, or what is wrong with it."""
    which = message.WhichOneof("kind")
    if which is None:
        return f"has no value, must be {of}"
    kind = KINDS[which]
    if not is_taken(kind, of):
        return f"is {kind.value}, must be {of}"
    value = getattr(message, which)
    if kind is Kind.VECTOR or kind in _LISTS:
        count = len(value.values)  # before they are copied: they may be a million
        if count > of.bound:
            return f"has {count} items, more than the bound {of.bound}"
        value = list(value.values)
    return _column([value], of)


def from_column(message: pb.ColumnValues, of: FeatureType, rows: int) -> Column | str:
    """Return a column of as many values as the message has, or what is wrong with it.

    Where a call asks for 0 ``rows``, its column need not have a kind: an empty list has none in some languages.
    """
    which = message.WhichOneof("kind")
    if which is None:
        return f"has no values, must be {of}" if rows else _given(of, blank(of, 0))
    column = getattr(message, which)
    kind = _COLUMNS[which]
    if kind is Kind.VECTOR:
        return _vectors(column, of)
    if not is_taken(kind, of):
        return f"is {kind.value}, must be {of}"
    if kind in _LISTS:
        return _lists(column, of)
    return _column(column.micros if kind is Kind.TIMESTAMP else column.values, of)


def length(message: pb.ColumnValues) -> int:
    """Return how many values a column has, without looking at them; one without any kind of values has 1."""
    which = message.WhichOneof("kind")
    if which is None:
        return 1  # agrees with every other length: what is wrong with it is for from_column to say
    column: Any = getattr(message, which)
    match _COLUMNS[which]:
        case Kind.VECTOR:
            count: int = len(column.values) // max(column.dimension, 1)
            return count
        case Kind.INT64_LIST | Kind.STRING_LIST:
            return len(column.lengths)
        case Kind.TIMESTAMP:
            return len(column.micros)
        case _:
            return len(column.values)


def is_taken(kind: Kind, of: FeatureType) -> bool:
    """Say whether a value of a kind may stand for one of type ``of``."""
    return kind is of.kind or kind in _TAKEN.get(of.kind, ())


def _vectors(column: pb.VectorColumn, of: FeatureType) -> Column | str:
    if of.kind is not Kind.VECTOR or column.dimension != of.bound:
        return f"is VECTOR[{column.dimension}], must be {of}"
    if len(column.values) % of.bound:
        return f"has {len(column.values)} components, not a multiple of {of.bound}"
    return _given(of, np.array(column.values, np.float32).reshape(-1, of.bound))


def _lists(column: pb.Int64ListColumn | pb.StringListColumn, of: FeatureType) -> Column | str:
    total = sum(column.lengths)
    if total != len(column.values):
        return f"its lengths add up to {total}, it has {len(column.values)} values"
    longest = max(column.lengths, default=0)
    if longest > of.bound:
        return f"has a list of {longest} items, more than the bound {of.bound}"
    return _column(list(_cut(column.values, column.lengths)), of)


def _cut(values: Sequence[Any], lengths: Sequence[int]) -> Iterator[list[Any]]:
    for start, end in pairwise(accumulate(lengths, initial=0)):
        yield list(values[start:end])


def _column(values: Sequence[Any], of: FeatureType) -> Column | str:
    if of.kind in _DTYPES:
        with np.errstate(over="ignore"):  # a float64 beyond FLOAT32 is infinity there, as everywhere in numpy
            return _given(of, np.array(values, dtype=_DTYPES[of.kind]))
    try:
        items = [of.normalize(v) for v in values]
    except ValueError as error:
        return str(error)
    if of.kind is Kind.VECTOR:
        return _given(of, np.array(items, np.float32).reshape(-1, of.bound))
    if of.kind is Kind.INT64_LIST:
        return _given(of, objects([np.array(i, np.int64) for i in items]))
    return _given(of, objects(items))


def _given(of: FeatureType, values: npt.NDArray[Any]) -> Column:
    present, request = np.array([Status.PRESENT], np.uint8), np.array([Source.REQUEST], np.uint8)
    return Column(of, values, present, request)
