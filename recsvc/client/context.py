"""Turns Python and numpy values into typed values of the contract, by rules that leave no type to guess.

| given | in one row | in a batch |
|---|---|---|
| bool, int, float, str | BOOL, INT64, FLOAT64, STRING | that, for all rows |
| numpy.float32, numpy.float16 | FLOAT32 | that, for all rows |
| datetime with a time zone, numpy.datetime64 | TIMESTAMP (finer than microseconds: rounded down) | that, for all rows |
| 1-D list or array of floats | VECTOR | FLOAT64 (FLOAT32 where the dtype says so), one per row |
| … of int, of str | INT64_LIST, STRING_LIST | INT64, STRING, one per row |
| … of bool, of times | - | BOOL, TIMESTAMP, one per row |
| 2-D array, or list of lists, of floats | - | VECTOR, one per row |
| … of int, of str | - | INT64_LIST, STRING_LIST, one per row |

Integers and floats in one list are floats. A vector for all rows of a batch has the shape (1, d), a list for all rows
is `[[…]]`. An empty list tells no type: in a batch it goes out as a column without a kind, which has no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsvc.client.typed import FLOATS, Typed, plain, typed
from recsvc.pb import packed, serving_pb2

ContextValue: TypeAlias = bool | int | float | str | datetime | np.generic | Sequence[Any] | NDArray[Any]

_UNTYPED: Final = "is empty and tells no type; give an array of the field's dtype, such as np.array([], dtype=np.int64)"
_COLUMNS: Final = {
    "int64": ("int64s", "values"),
    "float64": ("float64s", "values"),
    "float32": ("float32s", "values"),
    "bool": ("bools", "values"),
    "string": ("strings", "values"),
    "timestamp": ("timestamps", "micros"),
}


def to_value(given: ContextValue) -> serving_pb2.Value:
    """Return one value. ValueError says why ``given`` is none."""
    values = plain(given)
    if not isinstance(values, list | np.ndarray):
        one = _typed([values])
        name = "timestamp_micros_value" if one.kind == "timestamp" else f"{one.kind}_value"
        return serving_pb2.Value(**{name: one.wire.tolist()[0]})
    many = _typed(values)
    if many.kind in FLOATS:
        return serving_pb2.Value(vector_value=serving_pb2.FloatVector(values=_components(many).tolist()))
    if many.kind == "int64":
        return serving_pb2.Value(int64_list_value=serving_pb2.Int64List(values=many.array.tolist()))
    if many.kind == "string":
        return serving_pb2.Value(string_list_value=serving_pb2.StringList(values=many.array.tolist()))
    raise ValueError(f"is a list of {many.kind}, which is no type of one row")


def to_column(given: ContextValue) -> packed.Twin:
    """Return a column (the twin of ColumnValues). ValueError says why ``given`` is none."""
    values = plain(given)
    if not isinstance(values, list | np.ndarray):
        return _flat(_typed([values]))
    if isinstance(values, np.ndarray) and values.ndim == 2:  # noqa: PLR2004  # rows × components
        rows, dimension = values.shape
        return _nested(_typed(values.reshape(-1)), [dimension] * rows, dimension)
    if isinstance(values, list):
        values = [plain(row) for row in values]
        if any(isinstance(row, list | np.ndarray) for row in values):
            return _of_lists(values)
    flat = typed(values)
    return packed.ColumnValues() if flat is None else _flat(flat)


def _typed(values: list[Any] | NDArray[Any]) -> Typed:
    found = typed(values)
    if found is None:
        raise ValueError(_UNTYPED)
    return found


def _flat(column: Typed) -> packed.Twin:
    name, part = _COLUMNS[column.kind]
    return packed.ColumnValues(**{name: {part: _sent(column)}})


def _sent(values: Typed) -> bytes | list[str]:
    if values.kind == "string":
        strings: list[str] = values.array.tolist()
        return strings
    return values.wire.tobytes()


def _of_lists(rows: list[Any]) -> packed.Twin:
    if not all(isinstance(row, list | np.ndarray) for row in rows):
        raise ValueError("mixes lists and single values; give one or the other for each row")
    arrays = [row for row in rows if isinstance(row, np.ndarray)]
    joined = np.concatenate(arrays) if len(arrays) == len(rows) else list(chain.from_iterable(rows))
    return _nested(_typed(joined), [len(row) for row in rows], len(rows[0]))


def _nested(flat: Typed, lengths: list[int], dimension: int) -> packed.Twin:
    counts = np.array(lengths, dtype="<u4").tobytes()
    if flat.kind in FLOATS:
        if len(set(lengths)) > 1:
            raise ValueError(f"has vectors of {min(lengths)} to {max(lengths)} components; one length is needed")
        return packed.ColumnValues(vectors={"dimension": dimension, "values": _components(flat).tobytes()})
    if flat.kind == "int64":
        return packed.ColumnValues(int64_lists={"values": _sent(flat), "lengths": counts})
    if flat.kind == "string":
        return packed.ColumnValues(string_lists={"values": _sent(flat), "lengths": counts})
    raise ValueError(f"has lists of {flat.kind}, which is no type of a column")


def _components(values: Typed) -> NDArray[np.float32]:
    """Return the components of vectors as float32. ValueError where one is out of its range."""
    with np.errstate(over="ignore"):
        components = values.array.astype("<f4")
    if np.isinf(components).sum() != np.isinf(values.array).sum():
        raise ValueError("has components that do not fit 32 bits")
    return components
