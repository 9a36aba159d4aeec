"""Finds the one type of Python and numpy values, and gives them as the array that goes on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from numbers import Integral
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Kind: TypeAlias = Literal["bool", "int64", "float32", "float64", "string", "timestamp"]
FLOATS: Final = frozenset({"float32", "float64"})
_NUMBERS: Final = FLOATS | {"int64"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COARSE: Final = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms"})
"""Units of datetime64 that reach further than microseconds do."""
_INT64: Final = np.iinfo(np.int64)
_DTYPES: Final[dict[Kind, Any]] = {
    "bool": np.bool_,
    "int64": "<i8",
    "float32": "<f4",
    "float64": "<f8",
    "string": object,
    "timestamp": "<M8[us]",
}
_OF_DTYPE: Final[dict[str, Kind]] = {
    "b": "bool",
    "i": "int64",
    "u": "int64",
    "U": "string",
    "T": "string",
    "M": "timestamp",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """Values of one kind: ``array`` is one-dimensional, little-endian, of the dtype of its kind (str as objects)."""

    kind: Kind
    array: NDArray[Any]

    @property
    def wire(self) -> NDArray[Any]:
        """The numbers as they are sent: timestamps as int64 microseconds."""
        return self.array.view("<i8") if self.kind == "timestamp" else self.array


def plain(given: object) -> object:
    """Return a list or an array (with a dimension) where ``given`` holds many values, else the value."""
    if isinstance(given, np.ndarray):
        return given if given.ndim else given[()]
    if isinstance(given, np.generic | str | bytes):
        return given
    if isinstance(given, Sequence):
        return list(given)
    return plain(np.asarray(given)) if hasattr(given, "__array__") else given


def typed(values: list[Any] | NDArray[Any]) -> Typed | None:
    """Return ``values`` with their one type, None where an empty list has none. ValueError says what is wrong."""
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise ValueError(f"has {values.ndim} dimensions, one too many")
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        kind = _kind_of_dtype(values.dtype)
        return _checked(kind, values)
    objects = list(values)
    kinds = {_kind_of(of) for of in set(map(type, objects))}
    if not kinds:
        return None
    kind = _common(kinds)
    return _checked(kind, _array(kind, objects))


def _kind_of_dtype(dtype: np.dtype[Any]) -> Kind:
    if dtype.kind == "f" and dtype.itemsize <= 8:  # noqa: PLR2004  # bytes; a longdouble has no type here
        return "float64" if dtype.itemsize == 8 else "float32"  # noqa: PLR2004
    if dtype.kind not in _OF_DTYPE:
        raise ValueError(f"dtype {dtype} is not one of bool, integers, float16 to float64, str and datetime64")
    return _OF_DTYPE[dtype.kind]


def _kind_of(of: type) -> Kind:
    if issubclass(of, bool | np.bool_):
        return "bool"
    if issubclass(of, datetime | np.datetime64):
        return "timestamp"
    if issubclass(of, Integral):
        return "int64"
    if issubclass(of, np.float32 | np.float16):
        return "float32"
    if issubclass(of, float):
        return "float64"
    if issubclass(of, str):
        return "string"
    raise ValueError(f"{of.__name__} is not one of bool, int, float, str, datetime and their numpy types")


def _common(kinds: set[Kind]) -> Kind:
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds <= _NUMBERS:
        return "float64"
    raise ValueError(f"mixes {' and '.join(sorted(kinds))}; give one type")


def _array(kind: Kind, objects: list[Any]) -> NDArray[Any]:
    if kind == "timestamp":
        return np.array([_micros(value) for value in objects], dtype="<i8").view("<M8[us]")
    if kind == "int64":
        return _integers([int(value) for value in objects])
    return np.array(objects, dtype=_DTYPES[kind])


def _integers(values: list[int]) -> NDArray[Any]:
    for value in (min(values), max(values)):
        if not _INT64.min <= value <= _INT64.max:
            raise ValueError(f"{value} does not fit 64 bits")
    return np.array(values, dtype="<i8")


def _micros(value: datetime | np.datetime64) -> int:
    if isinstance(value, np.datetime64):
        return int(_microseconds(np.array(value)).view("<i8"))
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone; give it one, such as tzinfo=UTC")
    return (value - _EPOCH) // timedelta(microseconds=1)


def _checked(kind: Kind, array: NDArray[Any]) -> Typed:
    if array.dtype.kind == "u" and array.size and int(array.max()) > _INT64.max:
        raise ValueError(f"{array.max()} does not fit 64 bits")
    array = _microseconds(array) if kind == "timestamp" else array
    return Typed(kind, array.astype(_DTYPES[kind], copy=False))


def _microseconds(times: NDArray[Any]) -> NDArray[Any]:
    if np.isnat(times).any():
        raise ValueError("NaT is not a time")
    micros = times.astype("<M8[us]")
    if np.datetime_data(times.dtype)[0] in _COARSE and (micros.astype(times.dtype) != times).any():
        raise ValueError("has a time that does not fit 64 bits of microseconds")  # numpy wraps it around without a word
    return micros
