"""Columns of an answer as numpy arrays: views on the bytes of the reply, nothing copied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from recsvc.client.errors import bad_reply
from recsvc.client.vocabulary import Source, Status
from recsvc.pb.packed import Twin

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
FeatureData: TypeAlias = (
    int | float | bool | str | datetime | np.datetime64 | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
)
"""A value in Python's types. A time out of datetime's range (years 1 to 9999) is a numpy.datetime64."""


def to_datetime(micros: int) -> datetime | np.datetime64:
    """Return the time ``micros`` microseconds after 1970, in UTC; out of datetime's range as numpy.datetime64."""
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return np.datetime64(micros, "us")


def nearest_datetime(micros: int) -> datetime:
    """Return the time ``micros`` microseconds after 1970, in UTC, or the first or last one that datetime has."""
    time = to_datetime(micros)
    if isinstance(time, datetime):
        return time
    return _LAST if micros > 0 else _FIRST


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lists(Sequence[NDArray[Any]]):
    """A list per row: row ``i`` is ``flat[offsets[i]:offsets[i + 1]]``.

    ``flat`` is int64, or object (str); ``offsets`` is int64, one more than there are rows.
    """

    flat: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NDArray[Any]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[Any] | Sequence[NDArray[Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return self.flat[self.offsets[row] : self.offsets[row + 1]]

    def __repr__(self) -> str:
        return f"Lists({len(self)} rows, {len(self.flat)} × {self.flat.dtype})"

    def to_list(self) -> list[list[Any]]:
        """Return the rows as Python lists."""
        flat, ends = self.flat.tolist(), self.offsets.tolist()
        return [flat[start:end] for start, end in pairwise(ends)]

    def repeated(self, rows: int) -> Lists:
        """Return ``rows`` rows: these, or the only one that often (copied). ValueError where neither fits."""
        if len(self) == rows:
            return self
        if len(self) != 1:
            raise ValueError(f"a column of {len(self)} values cannot stand for {rows} rows")
        return Lists(np.tile(self.flat, rows), np.arange(rows + 1, dtype=np.int64) * len(self.flat))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Column:
    """One feature of all rows. Its arrays are read only and keep their part of the reply alive: copy to change or keep.

    There is one slot per row, or a single one where all join keys that the feature depends on were broadcast; a slot
    without a value holds 0, NaN, False, "" or an empty list. ``statuses`` (`Status`) and ``sources`` (`Source`) are
    uint8, one per slot, or a single one that holds for all.
    """

    name: str
    data: NDArray[Any] | Lists
    """The values as they came: see ``values`` and ``lists``."""
    statuses: NDArray[np.uint8]
    sources: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        kind = "lists" if isinstance(self.data, Lists) else f"{self.data.dtype}{list(self.data.shape[1:]) or ''}"
        return f"Column({self.name!r}, {len(self)} × {kind})"

    @property
    def values(self) -> NDArray[Any]:
        """int64, float64, float32, bool, object (str), datetime64[us], or float32 of n × d for a VECTOR.

        For a list feature an object array of Python lists, made at each access: ``lists`` costs nothing.
        """
        if not isinstance(self.data, Lists):
            return self.data
        rows = np.empty(len(self.data), dtype=object)
        rows[:] = self.data.to_list()
        return rows

    @property
    def lists(self) -> Lists:
        """The values of a list feature. TypeError for any other."""
        if not isinstance(self.data, Lists):
            raise TypeError(f"{self.name} has one {self.data.dtype} per row, no lists; read .values")
        return self.data

    @property
    def has_value(self) -> NDArray[np.bool_]:
        """One bool per slot: whether it holds a value (stored, computed, given or default) and not a filler."""
        known: NDArray[np.bool_] = (self.statuses != Status.NULL_VALUE) & (self.sources != Source.NONE)
        return _repeated(known, len(self))

    def expanded(self, rows: int) -> Column:
        """Return the column with a slot, status and source for each of ``rows`` rows.

        Costs no memory (a view that repeats the single value), except for lists, which are copied. ValueError where the
        column has neither one slot nor ``rows``.
        """
        data = self.data.repeated(rows) if isinstance(self.data, Lists) else _repeated(self.data, rows)
        return replace(self, data=data, statuses=_repeated(self.statuses, rows), sources=_repeated(self.sources, rows))

    def to_list(self) -> list[FeatureData | None]:
        """Return the slots as Python values, None where there is no value. Copies; for tables, JSON and tests."""
        slots = zip(self._python(), self.has_value.tolist(), strict=True)
        return [value if has_value else None for value, has_value in slots]

    def _python(self) -> list[Any]:
        if isinstance(self.data, Lists):
            return [tuple(row) for row in self.data.to_list()]
        if self.data.dtype.kind == "M":
            return [to_datetime(micros) for micros in self.data.view(np.int64).tolist()]
        return [tuple(row) for row in self.data.tolist()] if self.data.ndim > 1 else self.data.tolist()


def _repeated(values: NDArray[Any], rows: int) -> NDArray[Any]:
    if len(values) == rows:
        return values
    if len(values) != 1:
        raise ValueError(f"a column of {len(values)} values cannot stand for {rows} rows")
    return np.broadcast_to(values, (rows, *values.shape[1:]))


def read_column(column: Twin) -> Column:
    """Return the column that a FeatureColumn (the twin) holds. ClientError where its bytes do not fit its type."""
    kind = column.values.WhichOneof("kind")
    if kind not in _READERS:
        raise bad_reply(f"{column.name} is of a type that this client does not know; a newer recsvc may")
    try:
        data = _READERS[kind](getattr(column.values, kind))
    except ValueError as error:
        raise bad_reply(f"{column.name}: {error}") from None
    return Column(column.name, data, np.frombuffer(column.statuses, "u1"), np.frombuffer(column.sources, "u1"))


def read_times(micros: bytes) -> NDArray[np.datetime64]:
    """Return packed microseconds as datetime64[us]; the contract's "no row is known", -2^63, is NaT there."""
    return np.frombuffer(micros, "<M8[us]")


def read_ages(micros: bytes) -> NDArray[np.timedelta64]:
    """Return packed microseconds as timedelta64[us]."""
    return np.frombuffer(micros, "<m8[us]")


def _vectors(column: Twin) -> NDArray[np.float32]:
    flat = np.frombuffer(column.values, "<f4")
    return flat.reshape(-1, column.dimension) if column.dimension else flat.reshape(0, 0)


def _lists(flat: NDArray[Any], lengths: bytes) -> Lists:
    counts = np.frombuffer(lengths, "<u4")
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    if offsets[-1] != len(flat):
        raise ValueError(f"its lengths add up to {offsets[-1]}, there are {len(flat)} elements")
    return Lists(flat, offsets)


def _strings(values: Any) -> NDArray[Any]:  # noqa: ANN401  # a repeated field
    strings = np.array(values, dtype=object)
    strings.flags.writeable = False
    return strings


_READERS: Final[dict[str, Callable[[Twin], NDArray[Any] | Lists]]] = {
    "int64s": lambda column: np.frombuffer(column.values, "<i8"),
    "float64s": lambda column: np.frombuffer(column.values, "<f8"),
    "float32s": lambda column: np.frombuffer(column.values, "<f4"),
    "bools": lambda column: np.frombuffer(column.values, np.bool_),
    "strings": lambda column: _strings(column.values),
    "timestamps": lambda column: read_times(column.micros),
    "vectors": _vectors,
    "int64_lists": lambda column: _lists(np.frombuffer(column.values, "<i8"), column.lengths),
    "string_lists": lambda column: _lists(_strings(column.values), column.lengths),
}
