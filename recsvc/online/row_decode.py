"""Packed rows to columns, many at a time. Bytes that are no row are marked, never raised.

Rows of one writer are laid end to end, and neighbouring features of one width come out of that in one strided copy:
what a call costs grows with the number of runs of such features, hardly with that of rows or features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from recsvc.errors import RowFormatError
from recsvc.online.layout import FORMAT, HEAD_BYTES, HEADER, HEADER_BYTES, TOMBSTONE, Layout, bitmap_bytes, head, layout
from recsvc.online.row_picks import Picks
from recsvc.online.row_values import BoolArray, Int64Array, Tails, are_all, blank, check
from recsvc.registry.schema import Schema
from recsvc.registry.types import VARIABLE, FeatureType

NO_TIME: Final = -(2**63)
"""The event time of a row that there is not; numpy's NaT."""
Values = npt.NDArray[Any] | Tails
"""A column: an array, or for strings and lists their bytes."""


@dataclass(slots=True)
class Block:
    """n rows decoded. ``corrupt`` and ``deleted`` rows have no values; ``reasons`` says of a few corrupt ones why.

    ``values[i]`` is the column of feature i (n values; NaN, 0 or empty where there is none): an array, or Tails.
    ``absent[i]`` says which rows do not hold feature i because their writer did not know it yet, ``null[i]`` which hold
    no value for it; not there: no row.
    """

    event_micros: Int64Array
    corrupt: BoolArray
    deleted: BoolArray
    null: dict[int, BoolArray]
    absent: dict[int, BoolArray]
    values: dict[int, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.corrupt)


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of one layout laid end to end, without their tails: ``data``.

    ``at`` is where they stand among all; None: they are all there are.
    """

    rows: Sequence[bytes]
    data: bytes
    layout: Layout
    at: Int64Array | None = None

    @property
    def places(self) -> Any:  # noqa: ANN401  # an index of numpy's: a slice, or indices
        return slice(None) if self.at is None else self.at

    def field(self, dtype: str, offset: int) -> npt.NDArray[Any]:
        """Return a view on the number at ``offset`` of all rows."""
        return np.ndarray((len(self.rows),), dtype, self.data, offset, (self.layout.size,))

    def fields(self, dtype: np.dtype[Any] | str, offset: int, count: int, width: int) -> npt.NDArray[Any]:
        """Return a view on the ``count`` numbers from ``offset`` on: count × rows."""
        return np.ndarray((count, len(self.rows)), dtype, self.data, offset, (width, self.layout.size))


class RowDecoder:
    """Decodes rows of one schema and of writers that knew fewer or more of its features."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._layouts: dict[int, Layout] = {}  # by the writer's feature count, which has 16 bits
        self._picks = Picks(schema)
        self._own = self._layout(len(schema))
        self._own_head = (self._own.head or 0).to_bytes(HEAD_BYTES, "little")

    def __repr__(self) -> str:
        return f"RowDecoder({len(self._schema)} features, writers of {sorted(self._layouts)} met)"

    def decode(self, rows: Sequence[bytes], wanted: Sequence[int]) -> Block:
        """See RowCodec.decode."""
        block = self.decode_own(rows, wanted)
        if block is not None:
            return block
        block = _empty(len(rows))
        for start, members in _groups(rows):
            problem = self._problem(start)
            if problem is not None:
                block.corrupt[members] = True
                block.reasons.append(problem)
            elif start[1] & TOMBSTONE:
                _bury(block, rows, members)
            else:
                group = _of_right_size(block, rows, members, self._layout(int.from_bytes(start[2:4], "little")))
                if group.rows:
                    block.event_micros[group.places] = group.field("<i8", 8)
                    self._fill(block, group, tuple(wanted))
        for index in wanted:
            self._column(block, index)
        return block

    def decode_own(self, rows: Sequence[object], wanted: Sequence[int]) -> Block | None:
        """Decode rows that all are of this very schema, as nearly always; None where one is not, or is no row."""
        own, n = self._own, len(rows)
        try:
            pieces = [row[: own.size] for row in rows] if own.variable else rows  # type: ignore[index]  # it may be, so try
            data = b"".join(cast("Sequence[bytes]", pieces))
        except TypeError:
            return None
        if len(data) != n * own.size or not n:
            return None
        if not own.variable and set(map(len, cast("Sequence[bytes]", rows))) != {own.size}:
            return None
        group = _Group(cast("Sequence[bytes]", rows), data, own)
        if group.field("<u8", 0).tobytes() != self._own_head * n:
            return None
        block = Block(group.field("<i8", 8).copy(), np.zeros(n, bool), np.zeros(n, bool), {}, {})
        self._fill(block, group, tuple(wanted))
        return block

    def _problem(self, start: bytes) -> str | None:
        """Say why rows that begin with ``start`` cannot be read, or None."""
        if len(start) < HEAD_BYTES:
            return f"a row has {len(start)} bytes"
        if start[0] != FORMAT or start[1] & ~TOMBSTONE:
            return f"row format {start[0]} (flags {start[1]}), this version reads format {FORMAT}"
        if start[1] & TOMBSTONE:
            return None
        written = int.from_bytes(start[2:4], "little")
        known = head(written, self._schema.fingerprints[written]) if written <= len(self._schema) else None
        if known is not None and known != int.from_bytes(start, "little"):
            return f"a row of {written} features was written by another schema"
        return None

    def _layout(self, written: int) -> Layout:
        found = self._layouts.get(written)
        if found is None:
            found = self._layouts[written] = layout(self._schema, written)
        return found

    def _column(self, block: Block, index: int) -> Values:
        """Return the column of feature ``index``, blank where nothing has been put into it yet."""
        column = block.values.get(index)
        if column is None:
            column = block.values[index] = _blank(self._schema.types[index], len(block))
        return column

    def _fill(self, block: Block, group: _Group, wanted: tuple[int, ...]) -> None:
        """Decode the rows of a group."""
        pick = self._picks.of(group.layout, wanted)
        nulls = _nulls(group)
        for index in pick.absent:
            _mark(block, block.absent, index, group, which=True)
        if nulls is not None:
            some: npt.NDArray[np.bool_] = np.any(nulls, axis=1)
            for index in pick.features:
                if index < group.layout.shared and some[index]:
                    _mark(block, block.null, index, group, nulls[index])
        for run in pick.runs:
            matrix = group.fields(run.dtype, run.offset, len(run.features), run.dtype.itemsize)
            # A byte of a BOOL that is neither 0 nor 1 must not go on to a reply.
            matrix = matrix != 0 if run.dtype.itemsize == 1 else matrix.copy()
            self._put(block, group, run.features, matrix, nulls)
        for index, offset, dimension in pick.vectors:
            values = group.fields("<f4", offset, dimension, 4).T.copy()
            self._put(block, group, (index,), [values], nulls)
        for index, offset in pick.tails:
            places = group.fields("<u4", offset, 2, 4)
            self._read_tails(block, group, places, None if nulls is None else nulls[index], index)

    def _put(
        self,
        block: Block,
        group: _Group,
        features: Sequence[int],
        columns: npt.NDArray[Any] | list[npt.NDArray[Any]],
        nulls: BoolArray | None,
    ) -> None:
        """Put columns of numbers, which are nobody else's, into their places."""
        if nulls is not None:
            for index, column in zip(features, columns, strict=True):
                column[nulls[index]] = _blank_number(self._schema.types[index])
        if group.at is None:
            block.values.update(zip(features, columns, strict=True))
            return
        for index, column in zip(features, columns, strict=True):
            whole: Any = self._column(block, index)
            whole[group.at] = column

    def _read_tails(
        self, block: Block, group: _Group, places: npt.NDArray[Any], nulls: BoolArray | None, index: int
    ) -> None:
        """Read a column whose values lie behind the fixed part; what is no value there makes that row corrupt."""
        of = self._schema.types[index]
        pieces = _pieces(group, places, nulls, of)
        if pieces is None:
            pieces = list(_judged(block, group, places, nulls, of))
        if group.at is None:
            block.values[index] = Tails(of, pieces)
            return
        whole = cast("Tails", self._column(block, index)).pieces
        for place, piece in zip(group.at.tolist(), pieces, strict=True):
            whole[place] = piece


def _empty(n: int) -> Block:
    return Block(np.full(n, NO_TIME, np.int64), np.zeros(n, bool), np.zeros(n, bool), {}, {})


def _blank(of: FeatureType, n: int) -> Values:
    return Tails(of, [b""] * n) if of.kind in VARIABLE else blank(of, n)


def _blank_number(of: FeatureType) -> Any:  # noqa: ANN401  # a number of numpy's, or a vector
    return blank(of, 1)[0]


def _groups(rows: Sequence[bytes]) -> Iterator[tuple[bytes, list[int]]]:
    """Yield indices of rows by their first 8 bytes."""
    members: dict[bytes, list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(row[:HEAD_BYTES], []).append(index)
    yield from members.items()


def _bury(block: Block, rows: Sequence[bytes], members: Sequence[int]) -> None:
    """Take tombstones; they have a header and nothing else."""
    for index in members:
        if len(rows[index]) == HEADER_BYTES:
            block.deleted[index] = True
            block.event_micros[index] = HEADER.unpack(rows[index])[4]
        else:
            block.corrupt[index] = True
    if block.corrupt[members].any():
        block.reasons.append(f"a tombstone has not {HEADER_BYTES} bytes")


def _of_right_size(block: Block, rows: Sequence[bytes], members: Sequence[int], found: Layout) -> _Group:
    """Return the rows that are as long as their writer's feature count says; mark the others as corrupt."""
    sizes = {len(rows[i]) for i in members}
    right = {n for n in sizes if n == found.smallest or (found.variable and n > found.smallest)}
    fits = [i for i in members if len(rows[i]) in right]
    if sizes - right:
        block.corrupt[[i for i in members if len(rows[i]) not in right]] = True
        wrong = f"{min(sizes - right)} to {max(sizes - right)} bytes, not {found.smallest}"
        block.reasons.append(f"a row of {found.written} features has {wrong}")
    chosen = [rows[i] for i in fits]
    data = b"".join([row[: found.size] for row in chosen])
    return _Group(chosen, data, found, np.array(fits, np.int64))


def _nulls(group: _Group) -> BoolArray | None:
    """Return which values are missing, features × rows; None where none is."""
    count, n = group.layout.written, len(group.rows)
    size = bitmap_bytes(count)
    bitmaps = group.fields("u1", HEADER_BYTES, size, 1).T.tobytes()
    if bitmaps == ((1 << count) - 1).to_bytes(size, "little") * n:
        return None
    bits = np.unpackbits(np.frombuffer(bitmaps, np.uint8).reshape(n, size), axis=1, count=count, bitorder="little")
    return None if bits.all() else bits.T == 0


def _mark(
    block: Block,
    marks: dict[int, BoolArray],
    index: int,
    group: _Group,
    which: BoolArray | bool,  # noqa: FBT001
) -> None:
    marked = marks.get(index)
    if marked is None:
        marked = marks[index] = np.zeros(len(block), bool)
    marked[group.places] = which


def _pieces(group: _Group, places: npt.NDArray[Any], nulls: BoolArray | None, of: FeatureType) -> list[bytes] | None:
    """Return the bytes of each value, none for nulls; None where not all of them are values."""
    there = None if nulls is None else (~nulls).tolist()
    rows = group.rows if there is None else list(compress(group.rows, there))
    begins, lengths = (places if nulls is None else places[:, ~nulls]).tolist()
    pieces = [row[i : i + n] for row, i, n in zip(rows, begins, lengths, strict=True)]
    first = group.layout.smallest
    if min(begins, default=first) < first or sum(map(len, pieces)) != sum(lengths) or not are_all(of, pieces):
        return None
    if not all(lengths) and any(begin > len(row) for begin, row in zip(begins, rows, strict=True)):
        return None  # an empty value from behind its row's end
    if there is None:
        return pieces
    values = iter(pieces)
    return [next(values) if is_there else b"" for is_there in there]


def _judged(
    block: Block, group: _Group, places: npt.NDArray[Any], nulls: BoolArray | None, of: FeatureType
) -> Iterator[bytes]:
    """Yield the bytes of each value, none for nulls and for what is no value: those rows are marked as corrupt."""
    at = range(len(block)) if group.at is None else group.at.tolist()
    missing = [False] * len(group.rows) if nulls is None else nulls.tolist()
    for index, row, begin, length, is_null in zip(at, group.rows, *places.tolist(), missing, strict=True):
        piece = b""
        if not is_null:
            try:
                piece = _tail_piece(row, group.layout.smallest, begin, length)
                check(of, piece)
            except RowFormatError as error:
                piece = b""
                block.corrupt[index] = True
                block.reasons.append(str(error))
        yield piece


def _tail_piece(row: bytes, fixed: int, start: int, length: int) -> bytes:
    if start < fixed or start + length > len(row):
        raise RowFormatError("a value's place is outside its row's tail")
    return row[start : start + length]
