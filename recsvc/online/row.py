"""The row codec: columns to packed rows, packed rows to columns, many at a time and without touching single numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.errors import RowFormatError
from recsvc.online.layout import FORMAT, HEADER_BYTES, TOMBSTONE, Layout, bitmap_bytes, head, layout
from recsvc.registry.schema import Schema
from recsvc.registry.types import VARIABLE, FeatureType, Kind

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Values = npt.NDArray[Any] | Sequence[bytes]
"""A column to write: an array (n, or n × d for VECTOR; timestamps as int64 µs), or for STRING and lists the bytes of each (see pack_*)."""

_HEADER: Final = struct.Struct("<BBHIqq")
NO_TIME: Final = -(2**63)
"""The event time of a row that there is not; numpy's NaT."""


def pack_strings(items: Sequence[str]) -> bytes:
    """Return the bytes of a STRING_LIST: count, length of each, then their UTF-8; counts and lengths as u32."""
    encoded = [i.encode() for i in items]
    return struct.pack(f"<{len(encoded) + 1}I", len(encoded), *map(len, encoded)) + b"".join(encoded)


def unpack_strings(data: bytes) -> tuple[str, ...]:
    """Read the bytes of a STRING_LIST; raises RowFormatError where they are not one."""
    try:
        (count,) = struct.unpack_from("<I", data)
        lengths = struct.unpack_from(f"<{count}I", data, 4) if count * 4 <= len(data) else ()
    except struct.error:
        raise RowFormatError("a string list is cut short") from None
    start = 4 + 4 * count
    if len(lengths) != count or start + sum(lengths) != len(data):
        raise RowFormatError("a string list's lengths do not fit its bytes")
    items = []
    for length in lengths:
        items.append(_text(data[start : start + length]))
        start += length
    return tuple(items)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RowFormatError("a string is not UTF-8") from None


def _integers(data: bytes) -> Int64Array:
    if len(data) % 8:
        raise RowFormatError("an integer list's length is not a multiple of 8 bytes")
    return np.frombuffer(data, "<i8")


_READERS: Final = {Kind.STRING: _text, Kind.INT64_LIST: _integers, Kind.STRING_LIST: unpack_strings}


def tombstone(event_micros: int, write_micros: int) -> bytes:
    """Return the row that says that an entity was deleted, as of ``event_micros``."""
    return _HEADER.pack(FORMAT, TOMBSTONE, 0, 0, event_micros, write_micros)


@dataclass(slots=True)
class Block:
    """n rows decoded. ``corrupt`` and ``deleted`` rows have no values; ``reasons`` says of a few corrupt ones why.

    ``values[i]`` is the column of feature i (n values; NaN, 0 or empty where there is none). ``absent[i]`` says which rows do not hold feature i
    because their writer did not know it yet, ``null[i]`` which hold no value for it; None: no row.
    """

    event_micros: Int64Array
    corrupt: BoolArray
    deleted: BoolArray
    values: dict[int, npt.NDArray[Any]]
    null: dict[int, BoolArray | None]
    absent: dict[int, BoolArray | None]
    reasons: list[str]


class RowCodec:
    """Encodes and decodes rows of one schema. A newer writer's surplus features are ignored, an older writer's missing ones are absent."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._layouts: dict[int, Layout] = {}
        self._own = self._layout(len(schema))

    def __repr__(self) -> str:
        return f"RowCodec({len(self.schema)} features, {self._own.size} bytes fixed)"

    def _layout(self, written: int) -> Layout:
        found = self._layouts.get(written)
        if found is None:
            found = self._layouts[written] = layout(self.schema, written)
        return found

    def encode(
        self,
        event_micros: Int64Array,
        write_micros: Int64Array,
        columns: Sequence[tuple[Values, BoolArray | None]],
    ) -> list[bytes]:
        """Return n rows. ``columns`` has (values, which are valid) of every feature in order; None: all are valid."""
        own, n = self._own, len(event_micros)
        block = np.zeros(n, own.dtype)
        block["head"], block["event"], block["write"] = own.head, event_micros, write_micros
        block["valid"] = _bitmap(n, [valid for _, valid in columns])
        tails: list[tuple[int, list[bytes]]] = []
        for index, (values, valid) in enumerate(columns):
            if self.schema.types[index].kind in VARIABLE:
                tails.append((index, _present(values, valid)))
            elif valid is None:
                block[f"f{index}"] = values
            else:
                block[f"f{index}"][valid] = np.asarray(values)[valid]
        return _rows_with_tails(block, own.size, tails) if tails else _rows(block, own.size)

    def decode(self, rows: Sequence[bytes], wanted: Sequence[int]) -> Block:
        """Decode the features with the indices ``wanted`` out of n rows. Rows that cannot be read are marked, never raised."""
        block = self._empty(len(rows), wanted)
        groups = _groups(rows)
        for start, members in groups.items():
            whole = len(groups) == 1
            self._decode_group(block, start, rows, None if whole else np.array(members), wanted)
        return block

    def _empty(self, n: int, wanted: Sequence[int]) -> Block:
        values = {i: _blank(self.schema.types[i], n) for i in wanted}
        nothing = dict.fromkeys(wanted)
        times = np.full(n, NO_TIME, np.int64)
        return Block(times, np.zeros(n, bool), np.zeros(n, bool), values, dict(nothing), dict(nothing), [])

    def _decode_group(
        self, block: Block, start: bytes, rows: Sequence[bytes], members: Int64Array | None, wanted: Sequence[int]
    ) -> None:
        """Decode rows that begin with the same 8 bytes into ``block``."""
        at: Any = slice(None) if members is None else members
        picked = rows if members is None else [rows[i] for i in members]
        problem = self._start_problem(start)
        if problem is not None:
            block.corrupt[at] = True
            block.reasons.append(problem)
            return
        if start[1] & TOMBSTONE:
            self._tombstones(block, at, picked)
            return
        found = self._layout(int.from_bytes(start[2:4], "little"))
        sizes = np.fromiter(map(len, picked), np.int64, len(picked))
        fits = sizes >= found.size if found.variable else sizes == found.size
        if not fits.all():
            block.reasons.append(f"a row has {int(sizes[~fits][0])} bytes, its fixed part {found.size}")
            block.corrupt[at] = ~fits
            at = np.arange(len(rows))[at][fits]
            picked, sizes = [r for r, ok in zip(picked, fits, strict=True) if ok], sizes[fits]
        self._fill(block, at, picked, sizes, found, wanted)

    def _start_problem(self, start: bytes) -> str | None:
        if len(start) < 8:  # noqa: PLR2004  # the head's size
            return f"a row has {len(start)} bytes"
        if start[0] != FORMAT or start[1] & ~TOMBSTONE:
            return f"row format {start[0]} (flags {start[1]}), this version reads format {FORMAT}"
        if start[1] & TOMBSTONE:
            return None
        written = int.from_bytes(start[2:4], "little")
        known = head(written, self.schema.fingerprints[written]) if written <= len(self.schema) else None
        if known is not None and known != int.from_bytes(start, "little"):
            return f"a row of {written} features was written by another schema"
        return None

    def _tombstones(self, block: Block, at: Any, rows: Sequence[bytes]) -> None:  # noqa: ANN401  # an index of numpy's
        whole = np.array([len(r) == HEADER_BYTES for r in rows])
        block.deleted[at] = whole
        block.corrupt[at] = ~whole
        block.event_micros[at] = [_HEADER.unpack(r)[4] if ok else NO_TIME for r, ok in zip(rows, whole, strict=True)]

    def _fill(  # noqa: PLR0913  # what a group of rows is
        self, block: Block, at: Any, rows: Sequence[bytes], sizes: Int64Array, found: Layout, wanted: Sequence[int]  # noqa: ANN401
    ) -> None:
        joined = b"".join([r[: found.size] for r in rows] if found.variable else rows)
        fixed = np.frombuffer(joined, found.dtype)
        block.event_micros[at] = fixed["event"]
        bits = _null_bits(fixed["valid"], found.written)
        whole = isinstance(at, slice)
        for index in wanted:
            if index >= found.shared:
                block.absent[index] = _mark(block.absent[index], len(block.corrupt), at)
                continue
            values = fixed[f"f{index}"]
            kind = self.schema.types[index].kind
            missing = None if bits is None else bits[:, index]
            if missing is not None and missing.any():
                block.null[index] = _mark(block.null[index], len(block.corrupt), at, missing)
            if kind in VARIABLE:
                self._tails(block, at, rows, sizes, values, index)
            elif whole and block.null[index] is None:
                block.values[index] = values.view(np.bool_) if kind is Kind.BOOL else values
            else:
                _assign(block.values[index], at, values, missing)

    def _tails(  # noqa: PLR0913  # one column of one group
        self, block: Block, at: Any, rows: Sequence[bytes], sizes: Int64Array, places: npt.NDArray[Any], index: int  # noqa: ANN401
    ) -> None:
        """Read a column whose values lie behind the fixed part; a place outside the row makes that row corrupt."""
        where = np.arange(len(block.corrupt))[at]
        read = _READERS[self.schema.types[index].kind]
        null = block.null[index]
        spans = places.tolist()
        out = block.values[index]
        for i, row, (start, length) in zip(where.tolist(), rows, spans, strict=True):
            if null is not None and null[i]:
                continue
            try:
                if start < HEADER_BYTES or start + length > len(row):
                    raise RowFormatError("a value's place is outside its row")  # noqa: TRY301  # handled like every unreadable value
                out[i] = read(row[start : start + length])
            except RowFormatError as error:
                block.corrupt[i] = True
                block.reasons.append(str(error))


def _groups(rows: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Group the indices of rows by their first 8 bytes; nearly always there is one group."""
    starts = {r[:8] for r in rows}
    if len(starts) == 1:
        return {starts.pop(): []}
    groups: dict[bytes, list[int]] = {s: [] for s in starts}
    for index, row in enumerate(rows):
        groups[row[:8]].append(index)
    return groups


def _blank(of: FeatureType, n: int) -> npt.NDArray[Any]:
    """Return a column without values: NaN, 0, false, or empty."""
    match of.kind:
        case Kind.FLOAT64:
            return np.full(n, np.nan)
        case Kind.FLOAT32:
            return np.full(n, np.nan, np.float32)
        case Kind.VECTOR:
            return np.full((n, of.bound), np.nan, np.float32)
        case Kind.BOOL:
            return np.zeros(n, np.bool_)
        case Kind.INT64 | Kind.TIMESTAMP:
            return np.zeros(n, np.int64)
    return objects([_EMPTY[of.kind]] * n)


_EMPTY: Final[dict[Kind, object]] = {Kind.STRING: "", Kind.INT64_LIST: np.zeros(0, np.int64), Kind.STRING_LIST: ()}
blank = _blank


def objects(items: Sequence[object]) -> npt.NDArray[np.object_]:
    """Return an object array of ``items``, one slot each, whatever they are."""
    out = np.empty(len(items), object)
    for index, item in enumerate(items):
        out[index] = item
    return out


def _bitmap(n: int, valid: Sequence[BoolArray | None]) -> npt.NDArray[np.uint8]:
    """Return n bitmaps, the first feature in the lowest bit of the first byte."""
    bits = np.zeros((n, 8 * bitmap_bytes(len(valid))), bool)
    for index, column in enumerate(valid):
        bits[:, index] = True if column is None else column
    return np.packbits(bits, axis=1, bitorder="little")


def _null_bits(bitmaps: npt.NDArray[np.uint8], count: int) -> BoolArray | None:
    """Return which values are missing, n × count; None where none is."""
    bits = np.unpackbits(bitmaps, axis=1, count=count, bitorder="little")
    return None if bits.all() else bits == 0


def _mark(known: BoolArray | None, n: int, at: Any, which: BoolArray | bool = True) -> BoolArray:  # noqa: ANN401, FBT001, FBT002
    marked = np.zeros(n, bool) if known is None else known
    marked[at] = which
    return marked


def _assign(out: npt.NDArray[Any], at: Any, values: npt.NDArray[Any], missing: BoolArray | None) -> None:  # noqa: ANN401
    if missing is None:
        out[at] = values
    else:
        where = np.arange(len(out))[at]
        out[where[~missing]] = values[~missing]


def _present(values: Values, valid: BoolArray | None) -> list[bytes]:
    if valid is None:
        return list(values)
    return [v if ok else b"" for v, ok in zip(values, valid, strict=True)]


def _rows(block: npt.NDArray[Any], size: int) -> list[bytes]:
    data = block.tobytes()
    return [data[i : i + size] for i in range(0, len(data), size)]


def _rows_with_tails(block: npt.NDArray[Any], size: int, tails: list[tuple[int, list[bytes]]]) -> list[bytes]:
    start = np.full(len(block), size, np.int64)
    for index, pieces in tails:
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        block[f"f{index}"][:, 0], block[f"f{index}"][:, 1] = start, lengths
        start += lengths
    return list(map(b"".join, zip(_rows(block, size), *(pieces for _, pieces in tails), strict=True)))
