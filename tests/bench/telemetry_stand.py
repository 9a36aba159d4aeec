"""The servers of the telemetry benchmarks: the same one with nothing measured, with metrics, and with traces.

*untraced* has metrics and no traces. Traces go to a sink that takes all of them; their queue has room for all that a
burst makes, and a burst is over when they are exported: what is measured is what they cost, not what was dropped.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.read_generator import Pressure
from tests.bench.read_process import Server
from tests.bench.read_stand import Calls, Stand
from tests.parts.waiting import wait_until

SINK: Final = Path(__file__).with_name("telemetry_sink_program.py")
SPAN: Final = Path(__file__).with_name("telemetry_span_program.py")
OFF, UNTRACED, SOME, ALL = "metrics off", "untraced", "1 % traced", "all traced"
PATIENCE_S: Final = 120.0
DELAY_MS: Final = 100
"""How long spans gather."""
QUIET_S: Final = 0.5
BUSY_S: Final = 0.003
"""CPU in that time that says that there is something to export; timers use a third of it."""
_PAGE: Final = re.compile(r"^metrics are at (http://\S+)$", re.MULTILINE)
_HTTP: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Run a collector that keeps nothing; yields its endpoint."""
    with subprocess.Popen([sys.executable, SINK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield "http://" + process.stdout.readline().strip().removeprefix("on ")
        finally:
            process.stdin.close()


def bare_span_us(endpoint: str, count: int) -> float:
    """Return what a bare span of the SDK costs, in µs of CPU."""
    command = [sys.executable, str(SPAN), endpoint, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    return 1e6 * float(done.stdout)


def variables(mode: str, endpoint: str) -> Mapping[str, str]:
    """Return the environment of a server in this mode."""
    if mode in {OFF, UNTRACED}:
        return {}
    traced = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint, "OTEL_BSP_MAX_QUEUE_SIZE": "1000000"}
    traced["OTEL_BSP_SCHEDULE_DELAY"] = str(DELAY_MS)
    if mode == SOME:
        traced |= {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
    return traced


def settings(mode: str) -> dict[str, Any]:
    """Return the settings of a server in this mode: no call is late, for that is another thing to measure."""
    usual: dict[str, Any] = {"late_ms": 600_000, "late_per_s": 0}
    return {"metrics": "off"} if mode == OFF else {"metrics_listen": "127.0.0.1:0", **usual}


def page(server: Server) -> str:
    """Return the page of a server's metrics."""
    address = _PAGE.search(server.log.read_text())
    assert address is not None, server.log.read_text()
    with _HTTP.open(address[1], timeout=PATIENCE_S) as answer:
        text: str = answer.read().decode()
        return text


def metric(text: str, line: str) -> float:
    """Return the value of a metric on a page: of the first line that begins so, 0 where there is none."""
    found = (one.rpartition(" ")[2] for one in text.splitlines() if one.startswith(line))
    return float(next(found, "0"))


def exported(server: Server) -> float:
    """Return how many spans a server has exported."""
    text = page(server)
    assert metric(text, 'recsvc_telemetry_spans_total{recsvc_result="dropped"}') == 0
    assert metric(text, 'recsvc_telemetry_spans_total{recsvc_result="failed"}') == 0
    return metric(text, 'recsvc_telemetry_spans_total{recsvc_result="exported"}')


def settle(server: Server) -> None:
    """Wait until a server has exported its spans: it uses no CPU to speak of. To ask it would cost it some."""
    seconds, since = server.cpu_seconds(), time.monotonic()

    def is_quiet() -> bool:
        nonlocal seconds, since
        if server.cpu_seconds() > seconds + BUSY_S:
            seconds, since = server.cpu_seconds(), time.monotonic()
        return time.monotonic() - since > QUIET_S

    wait_until(is_quiet, PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Cost:
    """What calls cost a server: µs of CPU for each, with the export of their spans, and how many those are."""

    cpu_us: float
    spans: float
    p50: float
    p99: float


def cost(stand: Stand, server: Server, mode: str, calls: Calls, pressure: Pressure) -> Cost:
    """Run a burst; what is left to export before it does not count, what it leaves does."""
    if calls.primer:
        stand.generator.grpc(server.address, calls.path, calls.primer, Pressure(calls=calls.primer.count))
    traced = mode in {SOME, ALL}
    if traced:
        settle(server)
    spans = exported(server) if traced else 0.0
    before = server.cpu_seconds()
    burst = stand.generator.grpc(server.address, calls.path, calls.bodies, pressure, calls.next)
    if traced:
        settle(server)
    seconds = server.cpu_seconds() - before  # before it is asked how many spans it has exported
    calls.next = burst.next
    made = (exported(server) - spans) / burst.calls if traced else 0.0
    return Cost(1e6 * seconds / burst.calls, made, burst.latency.p50, burst.latency.p99)
