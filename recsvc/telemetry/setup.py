"""Where spans and metrics go, by OpenTelemetry's own environment variables: the one place that reads them.

Nothing is exported unless an exporter or an endpoint is named: a server without a collector does not look for one.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from grpc import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from recsvc.telemetry import names, variables
from recsvc.telemetry.calls import Calls, Tracing
from recsvc.telemetry.metrics import SPANS_WAITING, Metrics
from recsvc.telemetry.otlp_metrics import SCOPE, Destination, provider
from recsvc.telemetry.otlp_spans import RecordExporter, SpanEncoder
from recsvc.telemetry.prometheus import MetricsPage
from recsvc.telemetry.rejections import NotedMetrics, NotingSession, Rejections
from recsvc.telemetry.span_queue import SpanQueue, ToAll
from recsvc.telemetry.spans import Readable
from recsvc.telemetry.trace_context import sampling_of

log = logging.getLogger(__name__)

CLOSE_S: Final = 3.0
"""How long the last spans and metrics may take to be exported when the server ends."""
_COMPRESSIONS: Final = {"none": Compression.NoCompression, "gzip": Compression.Gzip}
WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # what others listen on


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the server's own settings say. ``page``: HOST:PORT of the page for Prometheus; empty: none.

    ``baggage``: names of entries, with commas between.
    """

    version: str
    metrics: bool = True
    page: str = ""
    late_s: float = 0.1
    late_per_s: int = 10
    baggage: str = ""


class Telemetry:
    """What is measured, and where it goes. Raises ValueError for a wrong variable, OSError for a port that is taken."""

    def __init__(self, wishes: Wishes, *, random: Random) -> None:
        environment = os.environ  # the SDK reads the same
        variables.drop_empty(environment)
        wanted = variables.wanted(environment, metrics=wishes.metrics)
        self.metrics = Metrics(enabled=wishes.metrics)
        self._resource = _resource(wishes.version)
        self._queues: list[SpanQueue] = []
        tracing = None
        if wanted.spans:
            readable = Readable(self._resource, InstrumentationScope(SCOPE, wishes.version))
            self._queues = [self._queue(name, readable, wishes) for name in wanted.spans]
            tracing = Tracing(
                sampling_of(environment),
                self._queues[0] if len(self._queues) == 1 else ToAll(self._queues),
                late_s=wishes.late_s,
                late_per_s=wishes.late_per_s,
                random=random,
                propagates=variables.propagators(environment),
            )
        self.tracing = tracing
        self.metrics[SPANS_WAITING].observe(lambda: [((), sum(queue.waiting for queue in self._queues))])
        self.calls = Calls(self.metrics, tracing)
        self._provider: MeterProvider | None = None
        pushed = [_metric_exporter(name, environment) for name in wanted.pushed]
        if pushed:
            self._provider = provider(self.metrics, pushed, self._resource)
        page = wishes.page or (variables.page(environment) if "prometheus" in wanted.metrics else "")
        self._page = self._open_page(page) if page and wishes.metrics else None
        logging.getLogger("opentelemetry").setLevel(wanted.log_level)

    def __repr__(self) -> str:
        return f"Telemetry({self.metrics!r}, {self._queues}, {self._page!r})"

    @property
    def page(self) -> str:
        """Where the page for Prometheus is, HOST:PORT; empty where there is none."""
        return "" if self._page is None else self._page.address

    def serves(self, address: str) -> None:
        """Say in spans where this server is; one that listens on every address of its host is known by its name."""
        if self.tracing is not None:
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            where = socket.gethostname() if host in WILDCARDS else host
            self.tracing.address = {names.SERVER_ADDRESS: where, names.SERVER_PORT: int(port)}

    async def close(self, grace_s: float = CLOSE_S) -> None:
        """Export what waits, for up to ``grace_s``, and end. It blocks in a thread of its own, off the event loop."""
        last: list[Callable[[], object]] = [queue.flush for queue in self._queues]
        if self._provider is not None:
            last.append(self._provider.shutdown)
        if not all(await asyncio.gather(*(_in_thread(step, grace_s) for step in last))):
            log.warning("telemetry: the last spans and metrics were not taken within %g s", grace_s)
        ends: list[Callable[[], object]] = [queue.shutdown for queue in self._queues]
        if self._page is not None:
            ends.append(self._page.close)
        await asyncio.gather(*(_in_thread(step, grace_s) for step in ends))

    def _queue(self, name: str, readable: Readable, wishes: Wishes) -> SpanQueue:
        """Return what spans go to an exporter through."""
        rejections, baggage = Rejections(), variables.listed(wishes.baggage)
        exporter, takes_records = _span_exporter(name, os.environ, readable, rejections)
        return SpanQueue(
            exporter,
            self.metrics,
            name=_told(name, os.environ, "TRACES"),
            readable=None if takes_records else readable,
            baggage=baggage,
            rejections=rejections,
        )

    def _open_page(self, address: str) -> MetricsPage:
        host, _, port = address.rpartition(":")
        facts = {name: str(value) for name, value in self._resource.attributes.items()}
        return MetricsPage(self.metrics, facts, host.strip("[]"), int(port))


async def _in_thread(work: Callable[[], object], grace_s: float) -> bool:
    """Do ``work`` in a thread that nobody waits for at the end of the process; say whether it is done in time."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="telemetry-close", daemon=True).start()
    try:
        async with asyncio.timeout(grace_s):
            await done.wait()
    except TimeoutError:
        return False
    return True


def _resource(version: str) -> Resource:
    """Return what this process is: by OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, else by us."""
    found = Resource.create()
    ours = {"service.version": version, "service.instance.id": str(uuid.uuid4())}
    if str(found.attributes.get("service.name", "")).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": "recsvc"}))
    return Resource(ours).merge(found)


def _span_exporter(
    name: str, environment: Mapping[str, str], readable: Readable, rejections: Rejections
) -> tuple[SpanExporter, bool]:
    """Return an exporter, and whether it takes records."""
    if name == "console":
        return ConsoleSpanExporter(), False
    compression = variables.compression(environment, "TRACES")
    if variables.protocol(environment, "TRACES") == "grpc":
        return RecordExporter(SpanEncoder(readable), rejections, compression=_COMPRESSIONS[compression]), True
    return HttpSpans(session=NotingSession(ExportTraceServiceResponse, rejections)), False


def _metric_exporter(name: str, environment: Mapping[str, str]) -> Destination:
    rejections, told = Rejections(), _told(name, environment, "METRICS")
    if name == "console":
        return Destination(told, ConsoleMetricExporter(), rejections)
    compression = variables.compression(environment, "METRICS")
    if variables.protocol(environment, "METRICS") == "grpc":
        return Destination(told, NotedMetrics(rejections, compression=_COMPRESSIONS[compression]), rejections)
    session = NotingSession(ExportMetricsServiceResponse, rejections)
    return Destination(told, HttpMetrics(session=session), rejections)


def _told(name: str, environment: Mapping[str, str], signal: str) -> str:
    """Return how log lines name an exporter."""
    return f"otlp to {variables.endpoint(environment, signal)}" if name == "otlp" else name
