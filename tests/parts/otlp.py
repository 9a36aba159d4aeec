"""A collector for tests: takes spans and metrics over OTLP gRPC, and keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.parts.spans import Seen


class Collector(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """What was received. ``endpoint`` is for OTEL_EXPORTER_OTLP_ENDPOINT; ``rejects``: so much of each batch."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.rejects = 0
        self.spans: list[Seen] = []
        self.resources: list[Mapping[str, Any]] = []
        self.metrics: dict[str, Metric] = {}

    def Export(self, request: Any, _: object) -> Any:  # noqa: ANN401, N802  # of both services
        """Take a batch."""
        if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
            for of in request.resource_spans:
                self.resources.append(_plain(of.resource.attributes))
                self.spans += [_seen(span) for scope in of.scope_spans for span in scope.spans]
            partial = trace_service_pb2.ExportTracePartialSuccess(rejected_spans=self.rejects)
            return trace_service_pb2.ExportTraceServiceResponse(partial_success=partial)
        for of in request.resource_metrics:
            self.metrics |= {metric.name: metric for scope in of.scope_metrics for metric in scope.metrics}
        rejected = metrics_service_pb2.ExportMetricsPartialSuccess(rejected_data_points=self.rejects)
        return metrics_service_pb2.ExportMetricsServiceResponse(partial_success=rejected)

    def trace(self, trace_id: str) -> list[Seen]:
        """Return the spans of one trace so far."""
        return [span for span in self.spans if span.trace == trace_id]


def _seen(span: Span) -> Seen:
    return Seen(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_plain(span.attributes),
        events=[(event.name, _plain(event.attributes)) for event in span.events],
        links=[link.span_id.hex() for link in span.links],
        error=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _plain(attributes: Any) -> dict[str, Any]:  # noqa: ANN401  # a repeated field
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:  # noqa: ANN401  # whatever it holds
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind or "string_value")


@contextmanager
def collector() -> Iterator[Collector]:
    """Run one on a free port."""
    made = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(made, server)  # type: ignore[no-untyped-call]
    made.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield made
    finally:
        server.stop(None).wait()
