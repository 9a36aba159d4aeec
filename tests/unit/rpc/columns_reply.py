"""A reply in columns, built message by message through the packed twin: what the quick encoder is held against."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Answer, Bytes, Column
from recsvc.pb import packed
from recsvc.registry.types import Kind


def columns_reply(answer: Answer, fingerprint: str, *, event_times: bool) -> bytes:
    """Return a serialized GetFeaturesBatchResponse."""
    reply = packed.GetFeaturesBatchResponse(row_count=answer.rows, registry_fingerprint=fingerprint)
    for name, column, _ in answer.columns:
        out = reply.columns.add(
            name=name, statuses=_short(column.statuses, len(column)), sources=_short(column.sources, len(column))
        )
        _set_column(out.values, column)
    for reason, name in answer.degraded:
        reply.degraded.add(reason=int(reason), view=name)
    for view in answer.views:
        times = view.event_micros.tobytes() if event_times else b""
        stale = b"" if view.stale_micros is None else view.stale_micros.tobytes()
        reply.views.add(view=view.name, version=view.version, event_time_micros=times, stale_age_micros=stale)
    return reply.SerializeToString()  # type: ignore[no-any-return]  # the twin is made at import


def _short(codes: Bytes, rows: int) -> bytes:
    """Return one byte where all are the same, else one per row; none for no rows."""
    if len(codes) > 1 and not (codes == codes[0]).all():
        return codes.tobytes()
    return codes[: min(rows, 1)].tobytes()


_FIELDS: Final = {
    Kind.INT64: "int64s",
    Kind.FLOAT64: "float64s",
    Kind.FLOAT32: "float32s",
    Kind.BOOL: "bools",
    Kind.STRING: "strings",
    Kind.TIMESTAMP: "timestamps",
    Kind.VECTOR: "vectors",
    Kind.INT64_LIST: "int64_lists",
    Kind.STRING_LIST: "string_lists",
}


def _set_column(message: packed.Twin, column: Column) -> None:
    values: npt.NDArray[Any] = column.values
    out = getattr(message, _FIELDS[column.type.kind])
    out.SetInParent()  # also where there are no values: the kind says what they would be
    match column.type.kind:
        case Kind.TIMESTAMP:
            out.micros = values.tobytes()
        case Kind.STRING:
            out.values.extend(values.tolist())
        case Kind.VECTOR:
            out.dimension = column.type.bound
            out.values = values.tobytes()
        case Kind.INT64_LIST:
            out.values = b"".join(v.tobytes() for v in values)
            out.lengths = _lengths(values)
        case Kind.STRING_LIST:
            for items in values:
                out.values.extend(items)
            out.lengths = _lengths(values)
        case _:
            out.values = values.tobytes()


def _lengths(values: npt.NDArray[Any]) -> bytes:
    return np.fromiter(map(len, values), np.uint32, len(values)).tobytes()
