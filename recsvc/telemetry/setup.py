"""Where spans and metrics go, by OpenTelemetry's own environment variables: the one place that reads them.

Nothing is exported unless an exporter or an endpoint is named: a server without a collector does not look for one.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from recsvc.telemetry import names
from recsvc.telemetry.calls import Calls, Tracing
from recsvc.telemetry.metrics import SPANS_WAITING, Metrics
from recsvc.telemetry.otlp_metrics import SCOPE, provider
from recsvc.telemetry.otlp_spans import RecordExporter, SpanEncoder
from recsvc.telemetry.prometheus import MetricsPage
from recsvc.telemetry.span_queue import SpanQueue, ToAll
from recsvc.telemetry.spans import Readable
from recsvc.telemetry.trace_context import PROPAGATORS, sampling_of

log = logging.getLogger(__name__)

CLOSE_S: Final = 3.0
"""How long the last spans and metrics may take to be exported when the server ends."""
PAGE_PORT: Final = "9464"
"""Of the page for Prometheus where OTEL_METRICS_EXPORTER asks for it: OpenTelemetry's default."""
PROTOCOLS: Final = ("grpc", "http/protobuf")


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
        off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        _check(environment)
        self.metrics = Metrics(enabled=wishes.metrics)
        self._resource = _resource(wishes.version)
        spans = [] if off else _exporters(environment, "TRACES", ("otlp", "console", "none"))
        wanted = [] if off else _exporters(environment, "METRICS", ("otlp", "console", "prometheus", "none"))
        self._queues: list[SpanQueue] = []
        tracing = None
        if spans:
            readable = Readable(self._resource, InstrumentationScope(SCOPE, wishes.version))
            self._queues = [self._queue(name, readable, wishes) for name in spans]
            tracing = Tracing(
                sampling_of(environment),
                self._queues[0] if len(self._queues) == 1 else ToAll(self._queues),
                late_s=wishes.late_s,
                late_per_s=wishes.late_per_s,
                random=random,
                propagates=_propagators(environment),
            )
        self.tracing = tracing
        self.metrics[SPANS_WAITING].observe(lambda: [((), sum(queue.waiting for queue in self._queues))])
        self.calls = Calls(self.metrics, tracing)
        self._provider: MeterProvider | None = None
        pushed = [_metric_exporter(name, environment) for name in wanted if name != "prometheus"]
        if pushed and wishes.metrics:
            self._provider = provider(self.metrics, pushed, self._resource)
        page = wishes.page or (_page_of(environment) if "prometheus" in wanted else "")
        self._page = self._open_page(page) if page and wishes.metrics else None
        # A line for every batch that is lost, where ours say it once, and lines with what callers sent.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def __repr__(self) -> str:
        return f"Telemetry({self.metrics!r}, {self._queues}, {self._page!r})"

    @property
    def page(self) -> str:
        """Where the page for Prometheus is, HOST:PORT; empty where there is none."""
        return "" if self._page is None else self._page.address

    def serves(self, address: str) -> None:
        """Say in spans where this server is."""
        if self.tracing is not None:
            host, _, port = address.rpartition(":")
            self.tracing.address = {names.SERVER_ADDRESS: host, names.SERVER_PORT: int(port)}

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
        if name == "otlp" and _protocol(os.environ, "TRACES") == "grpc":
            exporter = RecordExporter(SpanEncoder(readable))
            return SpanQueue(exporter, self.metrics, name=name, baggage=_listed(wishes.baggage))
        others: SpanExporter = ConsoleSpanExporter() if name == "console" else HttpSpans()
        return SpanQueue(others, self.metrics, name=name, readable=readable, baggage=_listed(wishes.baggage))

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


def _check(environment: Mapping[str, str]) -> None:
    """Raise ValueError for what the variables ask for and nobody here does."""
    for name in ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"):
        if environment.get(name, "").strip():
            raise ValueError(f"{name}: files of configuration are not read; say it by variables")
    logs = environment.get("OTEL_LOGS_EXPORTER", "").strip().lower()
    if logs not in {"", "none"}:
        raise ValueError(f"OTEL_LOGS_EXPORTER: {logs!r} is not exported to, logs go to stderr as JSON; write none")


def _exporters(environment: Mapping[str, str], signal: str, known: Sequence[str]) -> list[str]:
    """Return the names of exporters that are wanted of a signal."""
    variable = f"OTEL_{signal}_EXPORTER"
    text = environment.get(variable, "").strip().lower()
    if not text:
        endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        return ["otlp"] if any(environment.get(name, "").strip() for name in endpoints) else []
    wanted = list(dict.fromkeys(_listed(text)))
    for name in wanted:
        if name not in known:
            raise ValueError(f"{variable}: there is no exporter {name!r} here; there are {', '.join(known)}")
    return [name for name in wanted if name != "none"]


def _protocol(environment: Mapping[str, str], signal: str) -> str:
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        text = environment.get(variable, "").strip().lower()
        if text:
            if text not in PROTOCOLS:
                raise ValueError(f"{variable}: {text!r} is not spoken here; {' and '.join(PROTOCOLS)} are")
            return text
    return PROTOCOLS[0]


def _metric_exporter(name: str, environment: Mapping[str, str]) -> MetricExporter:
    if name == "console":
        return ConsoleMetricExporter()
    return GrpcMetrics() if _protocol(environment, "METRICS") == "grpc" else HttpMetrics()


def _page_of(environment: Mapping[str, str]) -> str:
    host = environment.get("OTEL_EXPORTER_PROMETHEUS_HOST", "").strip() or "localhost"
    return f"{host}:{environment.get('OTEL_EXPORTER_PROMETHEUS_PORT', '').strip() or PAGE_PORT}"


def _propagators(environment: Mapping[str, str]) -> frozenset[str]:
    """Return in which headers a caller's trace comes."""
    text = environment.get("OTEL_PROPAGATORS", "").strip().lower()
    if not text:
        return PROPAGATORS
    wanted = frozenset(_listed(text)) - {"none"}
    if not wanted <= PROPAGATORS:
        others = ", ".join(sorted(wanted - PROPAGATORS))
        raise ValueError(
            f"OTEL_PROPAGATORS: there is no {others} here; there are {', '.join(sorted(PROPAGATORS))}, none"
        )
    return wanted


def _listed(text: str) -> Iterator[str]:
    return (part.strip() for part in text.split(",") if part.strip())
