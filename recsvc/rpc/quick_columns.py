"""Answers in columns to bytes: the columns as they stand in memory, joined with what was made once for the plan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

import numpy as np

from recsvc.online.answer import Answer, Bytes, Column
from recsvc.online.in_turns import Turns
from recsvc.online.row_values import pack, split_strings
from recsvc.online.tail_column import TailColumn
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.plan import ReadPlan
from recsvc.registry.types import Kind
from recsvc.rpc.quick_footer import Footer
from recsvc.rpc.quick_wire import strings, tag, text, unless_empty, varint

_KINDS: Final = {
    Kind.INT64: tag(pb.ColumnValues, "int64s"),
    Kind.FLOAT64: tag(pb.ColumnValues, "float64s"),
    Kind.FLOAT32: tag(pb.ColumnValues, "float32s"),
    Kind.BOOL: tag(pb.ColumnValues, "bools"),
    Kind.STRING: tag(pb.ColumnValues, "strings"),
    Kind.TIMESTAMP: tag(pb.ColumnValues, "timestamps"),
    Kind.VECTOR: tag(pb.ColumnValues, "vectors"),
    Kind.INT64_LIST: tag(pb.ColumnValues, "int64_lists"),
    Kind.STRING_LIST: tag(pb.ColumnValues, "string_lists"),
}
_VALUES: Final = tag(pb.Float64Column, "values")
"""Of all kinds of columns but VECTOR; TIMESTAMP calls it otherwise."""
_VECTOR_DIMENSION: Final = tag(pb.VectorColumn, "dimension")
_VECTOR_VALUES: Final = tag(pb.VectorColumn, "values")
_LIST_LENGTHS: Final = tag(pb.Int64ListColumn, "lengths")
"""Of both kinds of lists."""
_ROW_COUNT: Final = tag(pb.GetFeaturesBatchResponse, "row_count")
_COLUMNS: Final = tag(pb.GetFeaturesBatchResponse, "columns")
_NAME: Final = tag(pb.FeatureColumn, "name")
_COLUMN_VALUES: Final = tag(pb.FeatureColumn, "values")
_STATUSES: Final = tag(pb.FeatureColumn, "statuses")
_SOURCES: Final = tag(pb.FeatureColumn, "sources")
_WHOLE: Final = frozenset({Kind.STRING, Kind.VECTOR, Kind.INT64_LIST, Kind.STRING_LIST})
"""Kinds of columns that have more to them than numbers or bools one after the other."""


class ColumnsEncoder:
    """Serializes GetFeaturesBatchResponse for one plan of the registry with this fingerprint."""

    def __init__(self, plan: ReadPlan, fingerprint: str) -> None:
        kinds = [plan.slots[index].type.kind for _, index in plan.outputs]
        self._outputs = [
            (text(_NAME, name), _KINDS[kind], kind in _WHOLE)
            for (name, _), kind in zip(plan.outputs, kinds, strict=True)
        ]
        self._footer = Footer(pb.GetFeaturesBatchResponse, plan, fingerprint)

    def __repr__(self) -> str:
        return f"ColumnsEncoder({len(self._outputs)} columns)"

    def encode(self, answer: Answer, *, event_times: bool) -> bytes:
        """Return the serialized reply."""
        return b"".join(chain.from_iterable(self._parts(answer, event_times=event_times)))

    async def encode_in_turns(self, answer: Answer, turns: Turns, *, event_times: bool) -> bytes:
        """Return the serialized reply, without holding the event loop for long."""
        parts: list[bytes] = []
        for some in self._parts(answer, event_times=event_times):
            parts += some
            await turns.pause()
        return b"".join(parts)

    def _parts(self, answer: Answer, *, event_times: bool) -> Iterator[tuple[bytes, ...]]:
        """Yield the pieces of the reply, those of each column together."""
        if answer.rows:
            yield (_ROW_COUNT + varint(answer.rows),)
        heads: dict[tuple[bytes, int], bytes] = {}
        statuses = sources = None  # columns of one view share them, so they are looked at once
        codes = b""
        for (name, kind, is_whole), (_, column, _) in zip(self._outputs, answer.columns, strict=True):
            if column.statuses is not statuses or column.sources is not sources:
                statuses, sources = column.statuses, column.sources
                codes = _codes(statuses, sources, answer.rows)
            content = _message(column) if is_whole else column.values.tobytes()
            size = len(content)
            head = heads.get((kind, size))
            if head is None:
                head = heads[kind, size] = _head(kind, size, is_whole=is_whole)
            yield _COLUMNS, varint(len(name) + len(head) + size + len(codes)), name, head, content, codes
        yield (self._footer.encode(answer.degraded, answer.views, event_times=event_times),)


def feature_column(name: str, column: Column, rows: int) -> bytes:
    """Return a serialized FeatureColumn of ``rows`` rows."""
    kind = column.type.kind
    is_whole = kind in _WHOLE
    content = _message(column) if is_whole else column.values.tobytes()
    head = _head(_KINDS[kind], len(content), is_whole=is_whole)
    return text(_NAME, name) + head + content + _codes(column.statuses, column.sources, rows)


def _codes(statuses: Bytes, sources: Bytes, rows: int) -> bytes:
    """Return statuses and sources as fields of a column."""
    return unless_empty(_STATUSES, _short(statuses, rows)) + unless_empty(_SOURCES, _short(sources, rows))


def _short(codes: Bytes, rows: int) -> bytes:
    """Return one byte where all are the same, else one per row; none for no rows."""
    data = codes.tobytes()
    if len(data) > 1 and data != data[:1] * len(data):
        return data
    return data[: min(rows, 1)]


def _head(kind: bytes, size: int, *, is_whole: bool) -> bytes:
    """Return what stands before the content of a column: numbers one after the other, or the message of its kind."""
    numbers = b"" if is_whole or not size else _VALUES + varint(size)
    values = kind + varint(len(numbers) + size) + numbers
    return _COLUMN_VALUES + varint(len(values) + size) + values


def _message(column: Column) -> bytes:
    """Return the serialized message of a column of strings, vectors or lists."""
    if column.type.kind is Kind.VECTOR:
        dimension = _VECTOR_DIMENSION + varint(column.type.bound)
        return dimension + unless_empty(_VECTOR_VALUES, column.values.tobytes())
    pieces = column.tails.pieces if isinstance(column, TailColumn) else [pack(column.type, v) for v in column.values]
    if column.type.kind is Kind.STRING:
        return strings(_VALUES, pieces)
    if column.type.kind is Kind.INT64_LIST:
        lengths = np.fromiter(map(len, pieces), np.uint32, len(pieces)) // 8
        return unless_empty(_VALUES, b"".join(pieces)) + unless_empty(_LIST_LENGTHS, lengths.tobytes())
    lists = [split_strings(piece) if piece else [] for piece in pieces]
    lengths = np.fromiter(map(len, lists), np.uint32, len(lists))
    return strings(_VALUES, list(chain.from_iterable(lists))) + unless_empty(_LIST_LENGTHS, lengths.tobytes())
