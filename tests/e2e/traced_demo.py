"""The demo with its traces in a real Jaeger: a Redis that can be stopped, and calls whose traces are read back."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import redis
from google.protobuf.message import Message

from recsvc.pb import serving_pb2 as pb
from tests.parts.jaeger import Jaeger
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import RunningRedis, free_port, running_redis, wait_for_redis
from tests.parts.spans import Seen, Tree
from tests.parts.waiting import wait_until

SERVICE: Final = "recsvc.v1.ServingService"
METHODS: Final[Mapping[type[Message], str]] = {
    pb.GetFeaturesRequest: "GetFeatures",
    pb.GetFeaturesBatchRequest: "GetFeaturesBatch",
    pb.RecommendRequest: "Recommend",
}
PATIENCE_S: Final = 30.0
BACKGROUND: Final = ("hello", "client|", "ping", "info", "xrange", "xrevrange")
"""New connections, health, metrics of Redis itself, and the change feed that catalogues follow."""
_ADDRESS: Final = re.compile(r" on (127\.0\.0\.1:\d+)$", re.MULTILINE)
_PAGE: Final = re.compile(r"^metrics are at (http://\S+)$", re.MULTILINE)
_HTTP: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Context:
    """The span of a caller."""

    trace: str = field(default_factory=lambda: secrets.token_hex(16))
    span: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True)
class TracedDemo:
    """A running demo: who is called, where its traces are, and its Redis."""

    address: str
    channel: grpc.Channel
    page: str
    jaeger: Jaeger
    store: RunningRedis
    admin: redis.Redis
    threads: ThreadPoolExecutor

    def start(self, request: Message, context: Context) -> Future[bytes]:
        """Begin a call with the trace of its caller."""
        name = f"/{SERVICE}/{METHODS[type(request)]}"
        method: Any = self.channel.unary_unary(name)
        metadata = [("traceparent", f"00-{context.trace}-{context.span}-01")]
        return self.threads.submit(method, request.SerializeToString(), timeout=PATIENCE_S, metadata=metadata)

    def tree(self, request: Message, context: Context) -> Tree:
        """Return the trace of a call that has ended, as Jaeger has it, once it is whole, and check its structure."""
        method = f"{SERVICE}/{METHODS[type(request)]}"
        wait_until(lambda: any(span.kind == "SERVER" for span in self.spans(context)), PATIENCE_S)
        # All spans of a call leave together; a command that somebody else's call shares may come apart.
        found = Tree.of(self.spans(context), method)
        assert found.root.parent == context.span
        found.check()
        return found

    def call(self, request: Message) -> Tree:
        """Call, and return the trace."""
        context = Context()
        self.start(request, context).result()
        return self.tree(request, context)

    def spans(self, context: Context) -> list[Seen]:
        """Return the spans of a trace as far as they are known."""
        return [_seen(span) for span in self.jaeger.trace(context.trace) or []]

    def metric(self, line: str) -> float:
        """Return the value of a metric: the first line of the page that begins so."""
        with _HTTP.open(self.page, timeout=PATIENCE_S) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(found.rpartition(" ")[2]) for found in lines if found.startswith(line))

    def commands(self) -> Counter[str]:
        """Return how many commands Redis has counted that calls can have sent: all but those that nobody calls for."""
        counted = {name.removeprefix("cmdstat_"): of["calls"] for name, of in self.admin.info("commandstats").items()}
        return Counter({name: count for name, count in counted.items() if not name.startswith(BACKGROUND)})


def _seen(span: Mapping[str, Any]) -> Seen:
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    parents = [r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"]
    return Seen(
        name=span["operationName"],
        trace=span["traceID"].rjust(32, "0"),
        id=span["spanID"].rjust(16, "0"),
        parent=parents[0].rjust(16, "0") if parents else "",
        kind=str(tags.get("span.kind", "internal")).upper(),
        start=span["startTime"] * 1_000,
        end=(span["startTime"] + span["duration"]) * 1_000,
        attributes=tags,
        events=[_event(log) for log in span["logs"]],
        links=[r["spanID"].rjust(16, "0") for r in span["references"] if r["refType"] == "FOLLOWS_FROM"],
        error=tags.get("otel.status_code") == "ERROR",
    )


def _event(log: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    fields = {entry["key"]: entry["value"] for entry in log["fields"]}
    return fields.pop("event"), fields


@contextmanager
def traced_demo() -> Iterator[TracedDemo]:
    """Run Jaeger, Redis and the demo, and end them."""
    port = free_port()
    options = {"port": port, "bind": "127.0.0.1"}
    with (
        Jaeger.running() as jaeger,
        running_redis(redis_server(REDIS_8_2), options) as store,
        redis.Redis(port=port, socket_timeout=PATIENCE_S) as admin,
        ThreadPoolExecutor(8) as threads,
    ):
        wait_for_redis(store, admin)
        with _demo(jaeger, port) as (address, page), grpc.insecure_channel(address) as channel:
            yield TracedDemo(address, channel, page, jaeger, store, admin, threads)


@contextmanager
def _demo(jaeger: Jaeger, redis_port: int) -> Iterator[tuple[str, str]]:
    """Run the demo, and end it as a user would; its Redis may take a second, so that one can be stopped."""
    settings = {
        "--listen": "127.0.0.1:0",
        "--metrics-listen": "127.0.0.1:0",
        "--redis": f"redis://127.0.0.1:{redis_port}",
        "--redis-timeout-ms": "2000",
        "--breaker-slow-ms": "60000",
        "--breaker-min-calls": "1",
        "--recommend-target-ms": "60000",
        "--refuse-s": "0",
    }
    command = [sys.executable, "-m", "recsvc", "demo", *(text for pair in settings.items() for text in pair)]
    others = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment = {
        **others,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{jaeger.otlp_grpc}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield _announced(process)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def _announced(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Read what the demo prints until it has shown its calls; return where it serves, and where its metrics are."""
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            text = "".join(lines)
            address, page = _ADDRESS.search(text), _PAGE.search(text)
            assert address is not None, text
            assert page is not None, text
            return address[1], page[1]
    raise AssertionError(f"the demo ended early:\n{''.join(lines)}")
