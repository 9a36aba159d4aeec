"""Records to OTLP in a few steps: the SDK's encoder takes 24 µs for a span and 6 for each of its attributes.

A pair of attribute and value is made once and used again: nearly all of them are the same from call to call. That what
comes out is what the SDK makes of the same spans is tested; how it is sent (retries, TLS, headers) stays the SDK's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags, Status

from recsvc.telemetry.hop import Attribute, Hop, Kind
from recsvc.telemetry.rejections import NotingClient, Rejections
from recsvc.telemetry.spans import Readable, SpanRecord

PAIRS_KEPT: Final = 4_096
_KINDS: Final = {
    Kind.SERVER: Span.SPAN_KIND_SERVER,
    Kind.CLIENT: Span.SPAN_KIND_CLIENT,
    Kind.INTERNAL: Span.SPAN_KIND_INTERNAL,
}
_OK: Final = Status()
_ERROR: Final = Status(code=Status.STATUS_CODE_ERROR)
_LOCAL: Final = int(SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
_REMOTE: Final = _LOCAL | int(SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)


class SpanEncoder:
    """Encodes records of one process; for one thread."""

    def __init__(self, readable: Readable) -> None:
        self._readable = readable
        self._frame: ResourceSpans | None = None
        self._pairs: dict[tuple[str, type, Attribute], KeyValue] = {}

    def __repr__(self) -> str:
        return f"SpanEncoder({len(self._pairs)} pairs kept)"

    def request(self, records: Sequence[SpanRecord]) -> ExportTraceServiceRequest:
        """Return what is to be sent for records, of which there is at least one."""
        frame = self._framed(records[0])
        scope = frame.scope_spans[0]
        spans = ScopeSpans(scope=scope.scope, schema_url=scope.schema_url, spans=[self._span(r) for r in records])
        of = ResourceSpans(resource=frame.resource, schema_url=frame.schema_url, scope_spans=[spans])
        return ExportTraceServiceRequest(resource_spans=[of])

    def _framed(self, record: SpanRecord) -> ResourceSpans:
        """Return what stands around spans, as the SDK makes it."""
        if self._frame is None:
            self._frame = encode_spans(self._readable.spans([record])).resource_spans[0]
        return self._frame

    def _span(self, record: SpanRecord) -> Span:
        hop = record.hop
        made = Span(
            trace_id=hop.call.trace_id.to_bytes(16, "big"),
            span_id=hop.id.to_bytes(8, "big"),
            parent_span_id=record.parent.to_bytes(8, "big") if record.parent else b"",
            name=hop.name,
            kind=_KINDS[hop.kind],
            start_time_unix_nano=record.start,
            end_time_unix_nano=record.end,
            attributes=self._attributes(hop.attributes),
            flags=_REMOTE if record.remote else _LOCAL,
            trace_state=record.trace_state,
            status=_ERROR if hop.error else _OK,
        )
        if hop.events or hop.links:
            self._add_more(made, hop, record.offset)
        return made

    def _add_more(self, made: Span, hop: Hop, offset: int) -> None:
        for event in hop.events:
            attributes = self._attributes(event.attributes)
            made.events.add(name=event.name, time_unix_nano=int(event.at * 1e9) + offset, attributes=attributes)
        for place in hop.links:
            made.links.add(
                trace_id=place.trace_id.to_bytes(16, "big"), span_id=place.span_id.to_bytes(8, "big"), flags=_LOCAL
            )

    def _attributes(self, attributes: Mapping[str, Attribute]) -> list[KeyValue]:
        known, found = self._pairs, []
        for name, value in attributes.items():
            pair = known.get((name, type(value), value))
            found.append(self._new_pair(name, value) if pair is None else pair)
        return found

    def _new_pair(self, name: str, value: Attribute) -> KeyValue:
        made = KeyValue(key=name, value=_value(value))
        if not isinstance(value, float):  # times are never the same again
            if len(self._pairs) >= PAIRS_KEPT:
                self._pairs.clear()
            self._pairs[name, type(value), value] = made
        return made


def _value(value: Attribute) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=text) for text in value]))


class RecordExporter(OTLPSpanExporter):
    """The SDK's exporter over gRPC, for records; what its collector answers is noted."""

    def __init__(self, encoder: SpanEncoder, rejections: Rejections, **options: Any) -> None:  # noqa: ANN401  # the SDK's
        self._encoder = encoder
        self._rejections = rejections
        super().__init__(**options)

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]  # the SDK's
        self._client = NotingClient(self._client, self._rejections)  # type: ignore[assignment]  # a stub

    def _translate_data(self, data: Any) -> ExportTraceServiceRequest:  # noqa: ANN401  # of records, where the SDK has spans
        return self._encoder.request(data)
