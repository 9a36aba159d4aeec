"""What a collector says of what it took: how much of it was rejected, which the SDK's exporters do not look at.

https://opentelemetry.io/docs/specs/otlp/#partial-success
"""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from requests import Response, Session

Answer = ExportTraceServiceResponse | ExportMetricsServiceResponse
_PROTOBUF: Final = "application/x-protobuf"


class Rejections:
    """How many spans or data points were rejected since somebody asked; for the thread that exports."""

    def __init__(self) -> None:
        self._count = 0

    def __repr__(self) -> str:
        return f"Rejections({self._count})"

    def note(self, answer: Answer) -> None:
        """Note what a collector answered."""
        if isinstance(answer, ExportTraceServiceResponse):
            self._count += answer.partial_success.rejected_spans
        else:
            self._count += answer.partial_success.rejected_data_points

    def take(self) -> int:
        """Return how many there were, and begin again."""
        count, self._count = self._count, 0
        return count

    def session(self, kind: type[Answer]) -> Session:
        """Return what an exporter over HTTP is to send with; it notes the answers, which are of a kind."""

        def note(response: Response, *_: object, **__: object) -> None:
            if response.ok and response.headers.get("Content-Type", "").startswith(_PROTOBUF):
                self.note(kind.FromString(response.content))

        made = Session()
        made.hooks["response"].append(note)
        return made


class NotingClient:
    """The client of an exporter over gRPC, whose answers are noted."""

    def __init__(self, client: Any, rejections: Rejections) -> None:  # noqa: ANN401  # a stub, of either service
        self._client = client
        self._rejections = rejections

    def __repr__(self) -> str:
        return f"NotingClient({self._rejections!r})"

    def Export(self, **options: Any) -> Answer:  # noqa: ANN401, N802  # as the exporter calls the stub
        """Export, and note the answer."""
        answer: Answer = self._client.Export(**options)
        self._rejections.note(answer)
        return answer


class NotedMetrics(OTLPMetricExporter):
    """The SDK's exporter of metrics over gRPC, whose collector's answers are noted."""

    def __init__(self, rejections: Rejections, **options: Any) -> None:  # noqa: ANN401  # the SDK's
        self._rejections = rejections
        super().__init__(**options)

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]  # the SDK's
        self._client = NotingClient(self._client, self._rejections)  # type: ignore[assignment]  # a stub
