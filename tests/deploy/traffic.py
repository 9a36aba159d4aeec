"""Calls as recsvc sees them, some of which go wrong, exported as a server does: for a collector to choose among."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final
from unittest.mock import patch

from recsvc.telemetry import hop, names
from recsvc.telemetry.calls import Calls
from recsvc.telemetry.setup import Telemetry, Wishes
from recsvc.telemetry.span_queue import SpanQueue

SERVICE: Final = "recsvc"
METHOD: Final = "recsvc.v1.ServingService/GetFeatures"
SPANS: Final = 3
"""Of each call that is sampled: the server's, and two hops."""
SLOW_S: Final = 0.15
BETWEEN_FLUSHES: Final = 500
TICK_S: Final = 30e-6
"""More than what is too short for a span."""


class Fate(Enum):
    """What becomes of a call."""

    FINE = "fine"
    FAILED = "failed"
    DEGRADED = "degraded"
    SLOW = "slow"


class _Clock:
    """Goes on by a tick at each look at it, so that no hop is too short for a span."""

    def __init__(self) -> None:
        self._now = time.monotonic()

    def __call__(self) -> float:
        self._now += TICK_S
        return self._now


@dataclass
class Traffic:
    """Makes calls; ``sent`` has the ids of their traces by what became of them. ``exporting`` makes one."""

    calls: Calls
    queue: SpanQueue
    clock: _Clock
    sent: dict[Fate, list[str]] = field(default_factory=lambda: {fate: [] for fate in Fate})

    def call(self, fate: Fate) -> str:
        """Make a call, and return the id of its trace."""
        began = self.clock() - (SLOW_S if fate is Fate.SLOW else 0.0)
        call = self.calls.begin(METHOD, began, lambda: None)
        assert call is not None
        call.lap(names.PARSE)
        if fate is Fate.DEGRADED:
            hop.degraded("STORE_UNAVAILABLE", "profile@v1")
        self.clock()
        call.lap(names.PLAN)
        self.calls.end(call, "UNAVAILABLE" if fate is Fate.FAILED else "OK")
        trace_id = f"{call.trace_id:032x}"
        self.sent[fate].append(trace_id)
        if sum(map(len, self.sent.values())) % BETWEEN_FLUSHES == 0:
            self.queue.flush()
        return trace_id


@contextmanager
def exporting(collector: str, *, seed: int, ratio: float = 1.0) -> Iterator[Traffic]:
    """Yield what makes calls whose spans go to ``collector``, HOST:PORT; ``ratio`` of them are sampled.

    Ids of traces are drawn from ``seed``, so that whoever chooses by them always chooses the same.
    """
    telemetry = _telemetry(collector, seed, ratio)
    clock, (queue,) = _Clock(), telemetry._queues
    try:
        yield Traffic(Calls(telemetry.metrics, telemetry.tracing, clock=clock), queue, clock)
    finally:
        queue.flush()
        queue.shutdown()
        hop.CURRENT.set(None)


def _telemetry(collector: str, seed: int, ratio: float) -> Telemetry:
    """Return what a server measures and exports with, told by OpenTelemetry's variables."""
    variables = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{collector}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(ratio),
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    with patch.dict(os.environ, {**others, **variables}, clear=True):
        wishes = Wishes(version="test", late_s=SLOW_S / 2, late_per_s=1_000_000)
        return Telemetry(wishes, random=Random(seed))
