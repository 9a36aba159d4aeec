"""Answers of one row to messages: the long way, which says what is right; quick_row takes the short one."""

from __future__ import annotations

from recsvc.online.answer import Answer, Column, Source, Status
from recsvc.online.row import NO_TIME
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.types import Kind


def single(answer: Answer, fingerprint: str, *, event_times: bool) -> bytes:
    """Return a serialized GetFeaturesResponse."""
    reply = pb.GetFeaturesResponse(registry_fingerprint=fingerprint)
    for name, column, view in answer.columns:
        status, source = int(column.statuses[0]), int(column.sources[0])
        feature = reply.features.add(name=name, status=status, source=source)
        if status != Status.NULL_VALUE and source != Source.NONE:
            _set_value(feature.value, column)
        if event_times and view is not None:
            micros = int(answer.views[view].event_micros[0])
            if micros != NO_TIME:
                feature.event_time_micros = micros
    for reason, name in answer.degraded:
        reply.degraded.add(reason=int(reason), view=name)
    for served in answer.views:
        stale = None if served.stale_micros is None else served.stale_micros.tolist()
        reply.views.add(view=served.name, version=served.version, stale_age_micros=stale)
    return reply.SerializeToString()


def _set_value(value: pb.Value, column: Column) -> None:
    item = column.values[0]
    match column.type.kind:
        case Kind.INT64:
            value.int64_value = int(item)
        case Kind.FLOAT64:
            value.float64_value = float(item)
        case Kind.FLOAT32:
            value.float32_value = float(item)
        case Kind.BOOL:
            value.bool_value = bool(item)
        case Kind.STRING:
            value.string_value = item
        case Kind.TIMESTAMP:
            value.timestamp_micros_value = int(item)
        case Kind.VECTOR:
            value.vector_value.values.extend(item.tolist())
            value.vector_value.SetInParent()
        case Kind.INT64_LIST:
            value.int64_list_value.values.extend(item.tolist())
            value.int64_list_value.SetInParent()
        case Kind.STRING_LIST:
            value.string_list_value.values.extend(item)
            value.string_list_value.SetInParent()
