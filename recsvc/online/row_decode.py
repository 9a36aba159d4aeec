"""Packed rows to columns, many at a time. Bytes that are no row are marked, never raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.errors import RowFormatError
from recsvc.online.layout import FORMAT, HEAD_BYTES, HEADER, HEADER_BYTES, TOMBSTONE, Layout, field_name, head, layout
from recsvc.online.row_values import UNPACK, BoolArray, Int64Array, blank
from recsvc.registry.schema import Schema
from recsvc.registry.types import VARIABLE, Kind

NO_TIME: Final = -(2**63)
"""The event time of a row that there is not; numpy's NaT."""


@dataclass(slots=True)
class Block:
    """n rows decoded. ``corrupt`` and ``deleted`` rows have no values; ``reasons`` says of a few corrupt ones why.

    ``values[i]`` is the column of feature i (n values; NaN, 0 or empty where there is none). ``absent[i]`` says which
    rows do not hold feature i because their writer did not know it yet, ``null[i]`` which hold no value for it; None:
    no row.
    """

    event_micros: Int64Array
    corrupt: BoolArray
    deleted: BoolArray
    null: dict[int, BoolArray | None]
    absent: dict[int, BoolArray | None]
    values: dict[int, npt.NDArray[Any]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.corrupt)


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that begin with the same 8 bytes, and where they are among all; ``at`` None: they are all there are.

    ``fixed``: how many bytes of each do not belong to its tail, at least.
    """

    rows: Sequence[bytes]
    at: Int64Array | None = None
    fixed: int = HEADER_BYTES

    @property
    def places(self) -> Any:  # noqa: ANN401  # an index of numpy's: a slice, or indices
        return slice(None) if self.at is None else self.at

    def pick(self, which: BoolArray, fixed: int) -> _Group:
        """Return the group of some of these rows."""
        at = np.flatnonzero(which) if self.at is None else self.at[which]
        return _Group([r for r, picked in zip(self.rows, which, strict=True) if picked], at, fixed)


class RowDecoder:
    """Decodes rows of one schema and of writers that knew fewer or more of its features."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._layouts: dict[int, Layout] = {}  # by the writer's feature count, which has 16 bits

    def __repr__(self) -> str:
        return f"RowDecoder({len(self._schema)} features, writers of {sorted(self._layouts)} met)"

    def decode(self, rows: Sequence[bytes], wanted: Sequence[int]) -> Block:
        """See RowCodec.decode."""
        n = len(rows)
        times = np.full(n, NO_TIME, np.int64)
        block = Block(times, np.zeros(n, bool), np.zeros(n, bool), dict.fromkeys(wanted), dict.fromkeys(wanted))
        for start, group in _groups(rows):
            problem = self._problem(start)
            if problem is not None:
                block.corrupt[group.places] = True
                block.reasons.append(problem)
            elif start[1] & TOMBSTONE:
                _bury(block, group)
            else:
                self._fill(block, group, int.from_bytes(start[2:4], "little"), wanted)
        for index in wanted:
            self._column(block, index)
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

    def _column(self, block: Block, index: int) -> npt.NDArray[Any]:
        """Return the column of feature ``index``, blank where nothing has been put into it yet."""
        column = block.values.get(index)
        if column is None:
            column = block.values[index] = blank(self._schema.types[index], len(block))
        return column

    def _fill(self, block: Block, group: _Group, written: int, wanted: Sequence[int]) -> None:
        """Decode rows of writers of ``written`` features."""
        found = self._layout(written)
        group = _of_right_size(block, group, found)
        pieces = [r[: found.size] for r in group.rows] if found.variable else group.rows
        fixed = np.frombuffer(b"".join(pieces), found.dtype)
        block.event_micros[group.places] = fixed["event"]
        missing = _missing(fixed["valid"], written)
        for index in wanted:
            if index >= found.shared:
                block.absent[index] = _mark(block, block.absent[index], group, which=True)
                continue
            column = None if missing is None else missing[:, index]
            if column is not None and column.any():
                block.null[index] = _mark(block, block.null[index], group, column)
            else:
                column = None
            if self._schema.types[index].kind in VARIABLE:
                self._read_tails(block, group, fixed[field_name(index)], column, index)
            else:
                self._read_numbers(block, group, fixed[field_name(index)], column, index)

    def _read_numbers(
        self, block: Block, group: _Group, values: npt.NDArray[Any], missing: BoolArray | None, index: int
    ) -> None:
        if self._schema.types[index].kind is Kind.BOOL:
            values = values != 0  # a byte that is neither 0 nor 1 must not go on to a reply
        if missing is None and group.at is None:
            block.values[index] = values
        elif missing is None:
            self._column(block, index)[group.at] = values
        else:
            there = ~missing
            at = there if group.at is None else group.at[there]
            self._column(block, index)[at] = values[there]

    def _read_tails(
        self, block: Block, group: _Group, places: npt.NDArray[Any], missing: BoolArray | None, index: int
    ) -> None:
        """Read a column whose values lie behind the fixed part; a place outside the tail makes that row corrupt."""
        read, out = UNPACK[self._schema.types[index].kind], self._column(block, index)
        nulls = [False] * len(places) if missing is None else missing.tolist()
        at = range(len(block)) if group.at is None else group.at.tolist()
        for i, row, (start, length), null in zip(at, group.rows, places.tolist(), nulls, strict=True):
            if null:
                continue
            try:
                out[i] = read(_tail_piece(row, group.fixed, start, length))
            except RowFormatError as error:
                block.corrupt[i] = True
                block.reasons.append(str(error))


def _groups(rows: Sequence[bytes]) -> Iterator[tuple[bytes, _Group]]:
    """Yield rows by their first 8 bytes; nearly always there is one group."""
    starts = {r[:HEAD_BYTES] for r in rows}
    if len(starts) == 1:
        yield starts.pop(), _Group(rows)
        return
    members: dict[bytes, list[int]] = {s: [] for s in starts}
    for index, row in enumerate(rows):
        members[row[:HEAD_BYTES]].append(index)
    for start, indices in members.items():
        yield start, _Group([rows[i] for i in indices], np.array(indices))


def _bury(block: Block, group: _Group) -> None:
    """Take tombstones; they have a header and nothing else."""
    whole = np.array([len(r) == HEADER_BYTES for r in group.rows])
    block.deleted[group.places] = whole
    block.event_micros[group.places] = [
        HEADER.unpack(r)[4] if ok else NO_TIME for r, ok in zip(group.rows, whole, strict=True)
    ]
    if not whole.all():
        block.corrupt[group.places] = ~whole
        block.reasons.append(f"a tombstone has not {HEADER_BYTES} bytes")


def _of_right_size(block: Block, group: _Group, found: Layout) -> _Group:
    """Return the rows that are as long as their writer's feature count says; mark the others as corrupt."""
    sizes = {len(r) for r in group.rows}
    if sizes == {found.smallest} or (found.variable and min(sizes) >= found.smallest):
        return _Group(group.rows, group.at, found.smallest)
    fits = np.array([len(r) >= found.smallest if found.variable else len(r) == found.size for r in group.rows])
    block.reasons.append(
        f"a row of {found.written} features has {min(sizes)} to {max(sizes)} bytes, not {found.smallest}"
    )
    block.corrupt[group.places] = ~fits
    return group.pick(fits, found.smallest)


def _tail_piece(row: bytes, fixed: int, start: int, length: int) -> bytes:
    if start < fixed or start + length > len(row):
        raise RowFormatError("a value's place is outside its row's tail")
    return row[start : start + length]


def _missing(bitmaps: npt.NDArray[np.uint8], count: int) -> BoolArray | None:
    """Return which values are missing, n × count; None where none is."""
    bits = np.unpackbits(bitmaps, axis=1, count=count, bitorder="little")
    return None if bits.all() else bits == 0


def _mark(block: Block, known: BoolArray | None, group: _Group, which: BoolArray | bool) -> BoolArray:  # noqa: FBT001
    marked = np.zeros(len(block), bool) if known is None else known
    marked[group.places] = which
    return marked
