"""What a collector says of what it took: how much of it was rejected, and why it took nothing.

The SDK's exporters do not look at the one, and keep the other to themselves.
https://opentelemetry.io/docs/specs/otlp/#partial-success
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from requests import PreparedRequest, RequestException, Response, Session

Answer = ExportTraceServiceResponse | ExportMetricsServiceResponse
_PROTOBUF: Final = "application/x-protobuf"


UNSENT: Final = "nothing was sent"


class Told(NamedTuple):
    """How many spans or data points were rejected, and the kind of the last failure to send any."""

    rejected: int = 0
    failure: str = UNSENT


class Rejections:
    """What a collector has told since somebody asked; for the thread that exports."""

    def __init__(self) -> None:
        self._told = Told()

    def __repr__(self) -> str:
        return f"Rejections({self._told})"

    def note(self, answer: Answer) -> None:
        """Note what a collector answered."""
        if isinstance(answer, ExportTraceServiceResponse):
            more = answer.partial_success.rejected_spans
        else:
            more = answer.partial_success.rejected_data_points
        self._told = self._told._replace(rejected=self._told.rejected + max(more, 0))

    def failed(self, failure: str) -> None:
        """Note of what kind a failure was."""
        self._told = self._told._replace(failure=failure)

    def take(self) -> Told:
        """Return what there was, and begin again."""
        told, self._told = self._told, Told()
        return told


class NotingSession(Session):
    """What an exporter over HTTP sends with; its collector's answers, which are of a ``kind``, are noted."""

    def __init__(self, kind: type[Answer], rejections: Rejections) -> None:
        super().__init__()
        self._kind = kind
        self._rejections = rejections

    def __repr__(self) -> str:
        return f"NotingSession({self._rejections!r})"

    def send(self, request: PreparedRequest, **options: Any) -> Response:  # noqa: ANN401  # as requests has it
        """Send, and note the answer."""
        try:
            response = super().send(request, **options)
        except RequestException as error:
            self._rejections.failed(type(error).__name__)
            raise
        if not response.ok:
            self._rejections.failed(f"HTTP {response.status_code}")
        elif response.headers.get("Content-Type", "").startswith(_PROTOBUF):
            with suppress(DecodeError):  # it took the spans, whatever it says then
                self._rejections.note(self._kind.FromString(response.content))
        return response


class NotingClient:
    """The client of an exporter over gRPC, whose answers are noted."""

    def __init__(self, client: Any, rejections: Rejections) -> None:  # noqa: ANN401  # a stub, of either service
        self._client = client
        self._rejections = rejections

    def __repr__(self) -> str:
        return f"NotingClient({self._rejections!r})"

    def Export(self, **options: Any) -> Answer:  # noqa: ANN401, N802  # as the exporter calls the stub
        """Export, and note the answer."""
        try:
            answer: Answer = self._client.Export(**options)
        except Exception as error:
            code = getattr(error, "code", None)  # as errors of gRPC have it
            self._rejections.failed(type(error).__name__ if code is None else code().name)
            raise
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
