"""What is seen of each call: its duration and sizes, its spans, and one late span where it went wrong unsampled."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Final, NamedTuple, Protocol

from recsvc.telemetry import metrics as m
from recsvc.telemetry import names
from recsvc.telemetry.hop import COMMANDS, CURRENT, SHORT_S, CallHop, Hop, Kind, Place
from recsvc.telemetry.series import Example, Histogram
from recsvc.telemetry.trace_context import PROPAGATORS, Carrier, Sampling, carrier_of, parent_of

log = logging.getLogger(__name__)

OK: Final = "OK"
ERRORS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that are an error of the server: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/."""
Metadata = Iterable[tuple[str, str | bytes]] | None


class Spans(Protocol):
    """Takes what is to become spans."""

    def call(self, call: CallHop) -> None:
        """Take a call that has ended, with its hops."""
        ...

    def command(self, hop: Hop) -> None:
        """Take a command that has ended."""
        ...


class Tracing:
    """Which calls are traced, and where their spans go.

    ``late_s``: an unsampled call that takes longer leaves one late span, as does one that failed or was degraded, at
    most ``late_per_s`` of them a second.
    """

    def __init__(  # noqa: PLR0913  # each is a setting
        self,
        sampling: Sampling,
        spans: Spans,
        *,
        late_s: float,
        late_per_s: int,
        random: Random,
        propagates: frozenset[str] = PROPAGATORS,
    ) -> None:
        """Trace calls; ``propagates``: in which headers a caller's trace comes."""
        self.sampling = sampling
        self.spans = spans
        self.late_s = late_s
        self.address: Mapping[str, str | int] = {}
        self.random = random
        self._propagates_all = propagates == PROPAGATORS
        self._propagates = propagates
        self._per_s = late_per_s
        self._second = -1
        self._left = 0

    def __repr__(self) -> str:
        return f"Tracing({self.sampling!r}, late after {self.late_s * 1e3:g} ms, {self._per_s}/s)"

    def carrier(self, metadata: Metadata) -> Carrier:
        """Return the headers that a trace is carried in."""
        found = carrier_of(metadata)
        if self._propagates_all:
            return found
        if "tracecontext" not in self._propagates:
            found = found._replace(traceparent=None, tracestate=None)
        return found if "baggage" in self._propagates else found._replace(baggage=None)

    def wants_late(self, call: CallHop, code: str, seconds: float) -> bool:
        """Say whether an unsampled call is to leave a late span; calls of no method would use up those of others."""
        if not self.sampling.late or call.method == names.OTHER_METHOD:
            return False
        return code in ERRORS or bool(call.degraded) or seconds >= self.late_s

    def may_be_late(self, now: float) -> bool:
        """Say whether one more late span fits this second."""
        if int(now) != self._second:
            self._second, self._left = int(now), self._per_s
        self._left -= 1
        return self._left >= 0


class Calls:
    """Begins and ends what is measured of calls; ``tracing`` None: there are no spans."""

    def __init__(
        self, metrics: m.Metrics, tracing: Tracing | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.metrics = metrics
        self.clock = clock
        self._tracing = tracing
        self._late = {result: metrics[m.LATE_SPANS].count(result) for result in ("made", "dropped")}
        self._hops: dict[str, Histogram] = {}
        self._durations: dict[tuple[str, str], Histogram] = {}

    def __repr__(self) -> str:
        return f"Calls({self.metrics!r}, {self._tracing!r})"

    @property
    def measures(self) -> bool:
        """Whether anything is measured at all."""
        return self.metrics.enabled or self._tracing is not None

    def begin(self, method: str, began: float, metadata: Callable[[], Metadata]) -> CallHop | None:
        """Begin a call whose bytes came at ``began``; ``metadata`` is asked for only where there are traces."""
        tracing = self._tracing
        if tracing is None:
            if not self.metrics.enabled:
                return None
            call = CallHop(method, began, self.clock, sampled=False)
        else:
            carrier = tracing.carrier(metadata())
            parent = parent_of(carrier.traceparent)
            trace_id = tracing.random.getrandbits(128) if parent is None else parent.trace_id
            takes = tracing.sampling.takes(parent, trace_id)
            call = CallHop(
                method, began, self.clock, sampled=takes, trace_id=trace_id, came_from=parent, carrier=carrier
            )
        CURRENT.set(call)
        return call

    def end(self, call: CallHop, code: str) -> None:
        """End a call that was answered with this status code; the last that it did, if it did all, was to encode."""
        call.lap(names.ENCODE if code == OK else names.UNFINISHED)
        call.ended = call.mark
        seconds = call.mark - call.began
        duration = self._durations.get((call.method, code)) or self._duration(call.method, code)
        duration.record(seconds)
        for name, took in call.laps:
            if took >= SHORT_S:
                (self._hops.get(name) or self._hop(name)).record(took)
        if call.degraded:
            for reason in {reason for reason, _ in call.degraded}:
                self.metrics[m.DEGRADED].count(reason).add()
        if self._tracing is not None:
            try:
                self._trace(call, code, duration, self._tracing)
            except Exception:  # what is to be seen of a call must not cost its caller the answer
                log.exception("a call could not be traced")

    def _trace(self, call: CallHop, code: str, duration: Histogram, tracing: Tracing) -> None:
        """Make spans of a call that has ended, as far as there are to be any."""
        seconds = call.mark - call.began
        if call.sampled:
            call.condense()
            _describe(call, code, tracing)
            tracing.spans.call(call)
            call.hops = []  # they have the call, so it lets go of them
            duration.exemplify(Example(seconds, time.time_ns(), call.trace_id, call.id))
        elif tracing.wants_late(call, code, seconds):
            self._end_late(call, code, tracing)

    def command(self, hop: Hop) -> None:
        """Take a command to the store that has ended."""
        if self._tracing is not None:
            self._tracing.spans.command(hop)

    def _end_late(self, call: CallHop, code: str, tracing: Tracing) -> None:
        fits = tracing.may_be_late(call.mark)
        self._late["made" if fits else "dropped"].add()
        if not fits:
            return
        call.name, call.kind, call.hops = names.LATE, Kind.INTERNAL, []
        _describe(call, code, tracing)
        for name, took in call.laps:
            call.tell(name, took)
        tracing.spans.call(call)

    def _duration(self, method: str, code: str) -> Histogram:
        labels = ("grpc", method, code, code if code in ERRORS else "")
        made = self._durations[method, code] = self.metrics[m.CALL_DURATION].histogram(*labels)
        return made

    def _hop(self, name: str) -> Histogram:
        made = self._hops[name] = self.metrics[m.HOP_DURATION].histogram(name)
        return made


def _describe(call: CallHop, code: str, tracing: Tracing) -> None:
    attributes = call.attributes
    attributes[names.RPC_SYSTEM] = "grpc"
    attributes[names.RPC_METHOD] = call.method
    attributes[names.RPC_STATUS] = code
    attributes.update(tracing.address)
    if call.dropped:
        attributes[names.DROPPED_HOPS] = call.dropped
    if call.degraded:
        attributes[names.DEGRADED] = tuple(map(" ".join, call.degraded))
    if code in ERRORS:
        attributes[names.ERROR_TYPE] = call.error = code


class StorePlace(NamedTuple):
    """A server of the store: host and port; path and nothing, or a service name and nothing."""

    host: str
    port: str


class Command:
    """One command, or several in one write, while it is under way: its duration is counted, and it may be a span.

    It is a span where the hop that it is sent for is sampled; those who wait for a fetch link to it by COMMANDS.
    """

    __slots__ = ("_began", "_calls", "_hop", "_labels")

    def __init__(self, calls: Calls, place: StorePlace, operation: str, count: int = 1, waited_s: float = 0.0) -> None:
        """Begin it: ``count`` commands to ``place``, which waited so long for a connection."""
        self._calls = calls
        host, port = place
        self._labels = ("redis", operation, host, port)
        outer = CURRENT.get()
        self._began = calls.clock()
        self._hop: Hop | None = None
        if outer is not None and outer.call.sampled:
            made = self._hop = Hop(outer.call, operation, self._began, outer.id, Kind.CLIENT)
            made.attributes = {names.DB_SYSTEM: "redis", names.DB_OPERATION: operation, names.SERVER_ADDRESS: host}
            if port:
                made.attributes[names.SERVER_PORT] = int(port)
            if count > 1:
                made.attributes[names.DB_BATCH] = count
            if waited_s >= SHORT_S:
                made.attributes[names.POOL_WAIT] = round(waited_s * 1e6, 1)
            if (noted := COMMANDS.get()) is not None:
                noted.append(Place(outer.call.trace_id, made.id))

    def __repr__(self) -> str:
        return f"Command({self._labels})"

    def end(self, error: str = "") -> None:
        """End it; ``error``: what went wrong, a code of Redis or a type."""
        now = self._calls.clock()
        self._calls.metrics[m.DB_DURATION].histogram(*self._labels, error).record(now - self._began)
        hop = self._hop
        if hop is not None:
            hop.ended = now
            if error:
                hop.attributes[names.ERROR_TYPE] = hop.error = error
                if error.isupper():
                    hop.attributes[names.DB_STATUS] = error
            self._calls.command(hop)
