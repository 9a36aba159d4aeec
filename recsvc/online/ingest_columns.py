"""A whole Arrow column into what RowCodec.encode takes.

Each type has a shortcut that converts the column without touching single values. It answers None wherever it is not
sure that every value is right; then the column is gone through value by value with the rules, which find the bad ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.online.ingest_arrow import pa, pc
from recsvc.online.ingest_rules import BadValueError, TimeUnit, rule, shown
from recsvc.online.ingest_times import from_temporal, is_temporal, times_from_text
from recsvc.online.row import BoolArray, Values
from recsvc.registry.types import VARIABLE, FeatureType, Kind

Bad = list[tuple[int, str]]
"""Which values are wrong (index in the column), and why."""
_BLANKS: Final = " \t\r\n"
_DTYPES: Final[dict[Kind, npt.DTypeLike]] = {
    Kind.INT64: np.int64,
    Kind.FLOAT64: np.float64,
    Kind.FLOAT32: np.float32,
    Kind.BOOL: np.bool_,
    Kind.TIMESTAMP: np.int64,
}


@dataclass(slots=True)
class Column:
    """A converted column, as RowCodec.encode takes it; what stands where a value is bad means nothing."""

    values: Values
    valid: BoolArray | None
    bad: Bad = field(default_factory=list)


def column(array: pa.Array, of: FeatureType, unit: TimeUnit | None) -> Column:
    """Convert a column of n values to type ``of``; ``unit`` is what plain numbers count in a TIMESTAMP."""
    array, undecodable = plain(array)
    if of.kind is Kind.TIMESTAMP and is_temporal(array.type):
        times, bad = from_temporal(array)
        return Column(times, valid_of(array), undecodable + bad)
    values = _SHORTCUTS[of.kind](array, of)
    if values is None:
        return _one_by_one(array, of, unit, undecodable)
    return Column(values, valid_of(array), undecodable)


def plain(array: pa.Array) -> tuple[pa.Array, Bad]:
    """Return the column without encodings: any text as string, dictionaries and extensions as what they hold."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.string()), []
    if not is_text(array.type) or pa.types.is_string(array.type):
        return array, []
    try:
        return array.cast(pa.string()), []
    except pa.ArrowInvalid:
        return _decoded(array)


def is_text(of: pa.DataType) -> bool:
    """Whether a column of this Arrow type holds text; bytes are text that must be UTF-8."""
    types = pa.types
    return any(
        is_one(of)
        for is_one in (
            types.is_string,
            types.is_large_string,
            types.is_string_view,
            types.is_binary,
            types.is_large_binary,
            types.is_binary_view,
        )
    )


def _decoded(array: pa.Array) -> tuple[pa.Array, Bad]:
    items: list[str | None] = []
    bad: Bad = []
    for index, item in enumerate(array.to_pylist()):
        try:
            items.append(None if item is None else item.decode())
        except UnicodeDecodeError:
            items.append(None)
            bad.append((index, f"{shown(item)} is not UTF-8"))
    return pa.array(items, pa.string()), bad


def valid_of(array: pa.Array) -> BoolArray | None:
    """Return which values are not null; None: all of them."""
    if array.null_count == 0:
        return None
    valid: BoolArray = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _one_by_one(array: pa.Array, of: FeatureType, unit: TimeUnit | None, bad: Bad) -> Column:
    judge = rule(of, unit)
    blank: Any = [0.0] * of.bound if of.kind is Kind.VECTOR else b"" if of.kind in VARIABLE else 0
    values: list[Any] = []
    for index, value in enumerate(array.to_pylist()):
        try:
            values.append(blank if value is None else judge(value))
        except BadValueError as error:
            values.append(blank)
            bad.append((index, str(error)))
    return Column(_packed(values, of), valid_of(array), bad)


def _packed(values: list[Any], of: FeatureType) -> Values:
    if of.kind in VARIABLE:
        return values
    if of.kind is Kind.VECTOR:
        return np.array(values, np.float32).reshape(-1, of.bound)
    return np.array(values, _DTYPES[of.kind])


def _numpy(array: pa.Array) -> npt.NDArray[Any]:
    """Return the values of a column of fixed width, 0 for null."""
    whole = array.fill_null(False if pa.types.is_boolean(array.type) else 0) if array.null_count else array
    values: npt.NDArray[Any] = whole.to_numpy(zero_copy_only=False)
    return values


def canonical(array: pa.Array) -> pa.Array | None:
    """Return a text column as int64, where every text is just what its integer is written as."""
    try:
        found = array.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return found if found.cast(pa.string()).equals(array) else None


def _integers(array: pa.Array, _: FeatureType) -> Values | None:
    if pa.types.is_string(array.type):
        found = canonical(array)
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        found = _cast(array, pa.int64())
    else:
        found = None
    return None if found is None else _numpy(found)


def _cast(array: pa.Array, to: pa.DataType) -> pa.Array | None:
    try:
        return array.cast(to)
    except pa.ArrowInvalid:
        return None


def _numbers(array: pa.Array, _: FeatureType) -> npt.NDArray[Any] | None:
    if pa.types.is_decimal(array.type):
        array = array.cast(
            pa.string()
        )  # its own way to a double is not rounded right: 0.47 becomes 0.47000000000000003
    if pa.types.is_string(array.type):
        found = _cast(array, pa.float64())
        values = None if found is None else _numpy(found)
        # Arrow reads "nan(1)" as a number, and 1e999 as infinity: whatever is not finite is left to the rules.
        return values if values is not None and np.isfinite(values).all() else None
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        return _numpy(array).astype(np.float64, copy=False)
    return None


def _small_numbers(array: pa.Array, of: FeatureType) -> npt.NDArray[np.float32] | None:
    if pa.types.is_float32(array.type):
        return _numpy(array)
    return _fitted(_numbers(array, of))


def _fitted(values: npt.NDArray[Any] | None) -> npt.NDArray[np.float32] | None:
    """Return numbers as 32 bits; None where one of them would become infinite."""
    if values is None:
        return None
    with np.errstate(over="ignore"):
        small = values.astype(np.float32)
    return small if (np.isfinite(small) | ~np.isfinite(values)).all() else None


def _bools(array: pa.Array, _: FeatureType) -> Values | None:
    if pa.types.is_boolean(array.type):
        return _numpy(array)
    if pa.types.is_string(array.type):
        found = _cast(array, pa.bool_())
        return None if found is None else _numpy(found)
    if pa.types.is_integer(array.type):
        values = _numpy(array)
        return values.astype(np.bool_) if np.isin(values, (0, 1)).all() else None
    return None


def _texts(array: pa.Array, of: FeatureType) -> Values | None:
    if pa.types.is_integer(array.type):
        array = array.cast(pa.string())
    if not pa.types.is_string(array.type) or (pc.max(pc.binary_length(array)).as_py() or 0) > of.bound:
        return None
    items: list[bytes] = array.cast(pa.binary()).fill_null(b"").to_pylist()
    return items


def _timestamps(array: pa.Array, _: FeatureType) -> Values | None:
    return times_from_text(array) if pa.types.is_string(array.type) else None


def is_list(of: pa.DataType) -> bool:
    """Whether a column of this Arrow type holds lists that can be loaded."""
    return bool(pa.types.is_list(of) or pa.types.is_large_list(of) or pa.types.is_fixed_size_list(of))


def _vectors(array: pa.Array, of: FeatureType) -> Values | None:
    present = array.drop_null()
    if pa.types.is_string(present.type):
        present = _split(present)
    if present is None or not is_list(present.type):
        return None
    if not _all(pc.equal(pc.list_value_length(present), of.bound)):
        return None
    flat, _bad = plain(present.flatten())
    if flat.null_count or len(flat) != len(present) * of.bound:
        return None
    found = _small_numbers(flat, of)
    if found is None:
        return None
    found = found.reshape(-1, of.bound)
    valid = valid_of(array)
    if valid is None:
        return found
    values = np.zeros((len(array), of.bound), np.float32)
    values[valid] = found
    return values


def _split(array: pa.Array) -> pa.Array | None:
    """Return texts like ``[1, 2]`` as lists of text; None where one is not in brackets."""
    trimmed = pc.utf8_trim(array, _BLANKS)
    if not _all(pc.and_(pc.starts_with(trimmed, "["), pc.ends_with(trimmed, "]"))):
        return None
    items = pc.split_pattern(pc.utf8_slice_codeunits(trimmed, 1, -1), ",")
    return pa.ListArray.from_arrays(items.offsets, pc.utf8_trim(items.values, _BLANKS))


def _all(mask: pa.Array) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())


def _integer_lists(array: pa.Array, of: FeatureType) -> Values | None:
    if not is_list(array.type):
        return None
    present = array.drop_null()
    lengths = pc.list_value_length(present).to_numpy(zero_copy_only=False)
    flat, _bad = plain(present.flatten())
    found = _integers(flat, of) if flat.null_count == 0 and pa.types.is_integer(flat.type) else None
    if found is None or (len(lengths) and lengths.max() > of.bound):
        return None
    data = np.asarray(found, "<i8").tobytes()
    ends = (8 * np.cumsum(lengths, dtype=np.int64)).tolist()
    pieces = iter([data[a:b] for a, b in zip([0, *ends], ends, strict=False)])
    valid = valid_of(array)
    return list(pieces) if valid is None else [next(pieces) if ok else b"" for ok in valid.tolist()]


def _unknown(_array: pa.Array, _: FeatureType) -> Values | None:
    return None


_SHORTCUTS: Final[dict[Kind, Callable[[pa.Array, FeatureType], Values | None]]] = {
    Kind.INT64: _integers,
    Kind.FLOAT64: _numbers,
    Kind.FLOAT32: _small_numbers,
    Kind.BOOL: _bools,
    Kind.STRING: _texts,
    Kind.TIMESTAMP: _timestamps,
    Kind.VECTOR: _vectors,
    Kind.INT64_LIST: _integer_lists,
    Kind.STRING_LIST: _unknown,
}
