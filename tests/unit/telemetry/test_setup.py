"""Where telemetry goes, by OpenTelemetry's variables; what is wrong there is said, and nothing is sent unasked."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from recsvc.telemetry import metrics as m
from recsvc.telemetry.series import Example
from recsvc.telemetry.setup import Telemetry, Wishes
from tests.parts.otlp import Collector, collector
from tests.parts.waiting import eventually

OTLP = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"}
HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


@pytest.fixture
def received() -> Iterator[Collector]:
    """A collector."""
    with collector() as made:
        yield made


@asynccontextmanager
async def telemetry(environment: dict[str, str], **wishes: object) -> AsyncIterator[Telemetry]:
    """Set telemetry up as a server does, in an environment without any other such variable."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        made = Telemetry(Wishes("1.2.3", **wishes), random=Random(1))  # type: ignore[arg-type]  # by their names
        try:
            yield made
        finally:
            await made.close(grace_s=5.0)


def call(of: Telemetry) -> None:
    """Measure one call."""
    made = of.calls.begin("service/Method", of.calls.clock(), list)
    assert made is not None
    of.calls.end(made, "OK")


async def test_nothing_is_exported_unasked() -> None:
    """Without variables there are metrics, for whoever scrapes them, and no traces."""
    async with telemetry({}) as made:
        assert made.tracing is None
        assert made.page == ""
        call(made)
        assert made.metrics[m.CALL_DURATION].points()


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_SDK_DISABLED": "True", "OTEL_TRACES_EXPORTER": "zipkin", "OTEL_LOG_LEVEL": "loud"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
async def test_exporting_can_be_switched_off(environment: dict[str, str]) -> None:
    """An endpoint is no order where the SDK is disabled, whatever else is said, or the exporter is none."""
    async with telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **environment}) as made:
        assert made.tracing is None
        assert made._provider is None


async def test_an_endpoint_is_enough(received: Collector) -> None:
    """With an endpoint spans and metrics go there over OTLP, with what the process is, and what waits is flushed."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
        "OTEL_SERVICE_NAME": "shop-features",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    async with telemetry(environment) as made:
        call(made)
    assert [span.name for span in received.spans if span.kind == "SERVER"] == ["service/Method"]
    (resource,) = received.resources
    assert resource["service.name"] == "shop-features"
    assert resource["service.version"] == "1.2.3"
    assert resource["deployment.environment.name"] == "test"
    assert resource["service.instance.id"]
    (point,) = received.metrics[m.CALL_DURATION.name].histogram.data_points
    assert point.count == 1
    assert sum(point.bucket_counts) == 1
    assert list(point.explicit_bounds) == list(m.SECONDS)
    exemplar = point.exemplars[0]
    assert exemplar.trace_id.hex() == received.spans[0].trace
    assert exemplar.span_id.hex() == received.spans[0].id
    assert m.LATE_SPANS.name in received.metrics


async def test_histograms_may_be_deltas(received: Collector) -> None:
    """Where the backend wants deltas, each export has what came since the last one."""
    environment = {
        "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": received.endpoint,
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        "OTEL_METRIC_EXPORT_INTERVAL": "50",
    }
    async with telemetry(environment) as made:
        assert made.tracing is None
        sizes = made.metrics[m.REQUEST_SIZE].histogram("x")
        sizes.record(100.0)
        await eventually(lambda: _count(received) == 1)
        sizes.exemplify(Example(100.0, 1, 2, 3))
        await eventually(lambda: _count(received) == 0)
        sizes.record(5.0)
        sizes.record(5.0)
        await eventually(lambda: _count(received) == 2)
    found = received.metrics[m.REQUEST_SIZE.name].histogram
    assert found.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def _count(received: Collector) -> int | None:
    metric = received.metrics.get(m.REQUEST_SIZE.name)
    return None if metric is None else metric.histogram.data_points[0].count


@pytest.mark.parametrize(
    ("listens", "host"),
    [
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:1", "::1"),
        ("features-1:1", "features-1"),
        ("0.0.0.0:1", socket.gethostname()),
        ("[::]:1", socket.gethostname()),
    ],
)
async def test_spans_say_which_server_it_is(listens: str, host: str) -> None:
    """The address is one that tells servers apart, without brackets; for all addresses stands the name of the host."""
    async with telemetry({"OTEL_TRACES_EXPORTER": "otlp"}) as made:
        made.serves(listens)
        assert made.tracing is not None
        assert made.tracing.address == {"server.address": host, "server.port": 1}


async def test_a_dead_collector_costs_no_caller() -> None:
    """Spans that nobody takes are counted, those beyond the bound are dropped, and the end does not wait for them."""
    environment = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_MAX_QUEUE_SIZE": "64",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16",
    }
    async with telemetry(environment) as made:
        for _ in range(500):
            call(made)
        (queue,) = made._queues
        assert queue.waiting <= 64
    results = _results(made)
    assert results["failed"] == queue._given  # every span is counted once
    assert results["dropped"] > 100  # type: ignore[operator]
    assert results["exported"] == 0


@pytest.mark.parametrize(("protocol", "failure"), [({}, "UNAVAILABLE"), (HTTP, "ConnectionError")])
async def test_what_nobody_takes_is_told_once(
    protocol: dict[str, str], failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong endpoint does not stay unseen, and does not fill the log; its login is never there."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://ann:hunter2@127.0.0.1:9" if protocol else "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.7",  # too short for a second try
        "OTEL_METRIC_EXPORT_INTERVAL": "50",
        "OTEL_BSP_SCHEDULE_DELAY": "1",
        **protocol,
    }
    lines = (
        f"metrics: otlp to http://127.0.0.1:9 takes none ({failure})",
        f"traces: otlp to http://127.0.0.1:9 takes no spans ({failure}), they are lost",
    )
    async with telemetry(environment) as made:
        call(made)
        await eventually(lambda: all(line in caplog.text for line in lines))
    assert [caplog.text.count(line) for line in lines] == [1, 1]
    assert "hunter2" not in caplog.text


async def test_an_answer_that_is_no_message_is_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    """A proxy that says all is well in words of its own has taken the spans; one that says 503 has not."""
    with http_collector(body=b"<p>fine</p>") as (endpoint, _):
        async with telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **HTTP}) as made:
            call(made)
    assert _results(made) == {"exported": made._queues[0]._given, "failed": 0, "dropped": 0}
    with http_collector(status=400) as (endpoint, _):
        async with telemetry({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint, **HTTP}) as made:
            call(made)
    assert _results(made) == {"exported": 0, "failed": made._queues[0]._given, "dropped": 0}
    assert f"traces: otlp to {endpoint} takes no spans (HTTP 400), they are lost" in caplog.text
    assert "metrics:" not in caplog.text


@pytest.mark.parametrize(("rejects", "result"), [(-3, "exported"), (1_000, "failed")])
async def test_no_more_is_lost_than_was_sent(rejects: int, result: str, received: Collector) -> None:
    """However wrong a collector counts: no count of ours goes down."""
    received.rejects = rejects
    environment = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": received.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    async with telemetry(environment) as made:
        for _ in range(5):
            call(made)
    assert _results(made) == {"exported": 0, "failed": 0, "dropped": 0, result: made._queues[0]._given}


async def test_a_page_may_be_asked_for_by_variables() -> None:
    """The standard way to ask for a Prometheus page works beside our own setting."""
    environment = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    async with telemetry(environment) as made:
        assert made.page.startswith("localhost:")
    async with telemetry({}, page="127.0.0.1:0") as made:
        assert made.page.startswith("127.0.0.1:")
    async with telemetry({}, page="127.0.0.1:0", metrics=False) as made:
        assert made.page == ""
        assert not made.calls.measures


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}, "OTEL_EXPORTER_OTLP_COMPRESSION: 'deflate'.*gzip"),
        ({"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "x"}, "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: 'x'"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "1e4"}, "OTEL_BSP_MAX_QUEUE_SIZE: '1e4' is no whole number"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE: '0'"),
        (
            {"OTEL_BSP_MAX_QUEUE_SIZE": "256", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "257"},
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: 257 .*OTEL_BSP_MAX_QUEUE_SIZE is 256",
        ),
        ({"OTEL_BSP_SCHEDULE_DELAY": "soon"}, "OTEL_BSP_SCHEDULE_DELAY: 'soon'"),
        ({"OTEL_SPAN_LINK_COUNT_LIMIT": "few"}, "OTEL_SPAN_LINK_COUNT_LIMIT"),
        (
            {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "http"},
            "OTEL_EXPORTER_PROMETHEUS_PORT: 'http'",
        ),
    ],
)
def test_no_start_with_a_wrong_variable(
    environment: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found where exporters are made ends the start with its name, too."""
    for name, value in {**OTLP, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=named):
        Telemetry(Wishes("1"), random=Random(1))


async def test_an_empty_variable_is_one_that_is_not_set() -> None:
    """As the specification has it: compose files leave many of them empty."""
    names = ("EXPORTER_OTLP_COMPRESSION", "EXPORTER_OTLP_TIMEOUT", "BSP_MAX_QUEUE_SIZE", "SPAN_EVENT_COUNT_LIMIT")
    async with telemetry({**OTLP, **{f"OTEL_{name}": " " for name in names}}) as made:
        assert len(made._queues) == 1


async def test_good_values_are_taken() -> None:
    """A queue that is shorter than the usual batch is no mistake, nor is compression that is switched off."""
    async with telemetry({**OTLP, "OTEL_BSP_MAX_QUEUE_SIZE": "256", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}) as made:
        assert repr(made._queues[0]).endswith("0 of 256 wait)")
    async with telemetry({**OTLP, **HTTP, "OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}) as made:
        assert len(made._queues) == 1


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ({}, logging.CRITICAL),
        ({"OTEL_LOG_LEVEL": "Info"}, logging.INFO),
        ({"OTEL_LOG_LEVEL": "NONE"}, logging.CRITICAL),
        ({"OTEL_LOG_LEVEL": "off"}, logging.CRITICAL),
    ],
)
async def test_the_sdk_says_nothing_unasked(said: dict[str, str], level: int) -> None:
    """Its own loggers are heard from the level on that the variable says."""
    async with telemetry(said):
        assert logging.getLogger("opentelemetry").level == level


@contextmanager
def http_collector(
    rejects: int = 0, status: int = 200, body: bytes | None = None
) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Run a collector that is spoken to over HTTP; yields its endpoint, and what paths and bodies came.

    ``body``: what it answers instead of what it should.
    """
    bodies: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            traces, metrics = ExportTraceServiceResponse(), ExportMetricsServiceResponse()
            traces.partial_success.rejected_spans = rejects
            metrics.partial_success.rejected_data_points = rejects
            answer = traces if self.path == "/v1/traces" else metrics
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(answer.SerializeToString() if body is None else body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


async def test_http_is_spoken_too() -> None:
    """Where the variable says http/protobuf, spans go there by POST, as the SDK makes them."""
    with http_collector() as (endpoint, bodies):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **HTTP, "OTEL_METRICS_EXPORTER": "none"}
        async with telemetry(environment) as made:
            call(made)
    ((path, body),) = bodies
    assert path == "/v1/traces"
    (of,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert of.scope_spans[0].spans[0].name == "service/Method"
    assert _results(made) == {"exported": made._queues[0]._given, "failed": 0, "dropped": 0}


@pytest.mark.parametrize("protocol", [{}, HTTP])
async def test_what_a_collector_rejects_is_lost(
    protocol: dict[str, str], received: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers that all is well, and how much it did not take: that counts as failed, and is told once."""
    received.rejects = 2
    with http_collector(rejects=2) as (endpoint, _):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint if protocol else received.endpoint, **protocol}
        async with telemetry({**environment, "OTEL_BSP_SCHEDULE_DELAY": "60000"}) as made:
            for _ in range(5):
                call(made)
    assert _results(made) == {"exported": made._queues[0]._given - 2, "failed": 2, "dropped": 0}
    assert caplog.text.count(" rejects spans, they are lost") == 1
    assert caplog.text.count(" rejects 2 points") == 1


def _results(of: Telemetry) -> dict[str, object]:
    """Return what became of spans."""
    return {labels[0]: value for labels, value in of.metrics[m.SPANS].points()}


@pytest.mark.parametrize(
    ("propagators", "kept"),
    [
        ("tracecontext,baggage", (True, True)),
        ("tracecontext", (True, False)),
        ("baggage", (False, True)),
        ("none", (False, False)),
    ],
)
async def test_propagators_say_which_headers_count(propagators: str, kept: tuple[bool, bool]) -> None:
    """What is not named is not read."""
    async with telemetry({"OTEL_TRACES_EXPORTER": "console", "OTEL_PROPAGATORS": propagators}) as made:
        assert made.tracing is not None
        found = made.tracing.carrier([("traceparent", "t"), ("baggage", "b")])
        made.tracing.sampling.takes(None, 0)
    assert (found.traceparent is not None, found.baggage is not None) == kept
