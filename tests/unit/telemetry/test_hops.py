"""What is kept of a call: by which name its time goes, and which unsampled ones leave a late span."""

from __future__ import annotations

from random import Random

import pytest
from opentelemetry.sdk.trace import SpanLimits

from recsvc.telemetry import names
from recsvc.telemetry.calls import Calls, Tracing
from recsvc.telemetry.hop import HOPS_KEPT, CallHop, Event, Hop
from recsvc.telemetry.metrics import HOP_DURATION, LATE_SPANS, Metrics
from recsvc.telemetry.series import Distribution
from recsvc.telemetry.spans import of_call
from recsvc.telemetry.trace_context import Sampling, sampling_of

METHOD = "service/Method"
US = 1e-6


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Kept:
    """Keeps what is to become spans."""

    def __init__(self) -> None:
        self.calls: list[CallHop] = []
        self.hops: list[list[Hop]] = []

    def call(self, call: CallHop) -> None:
        """See Spans."""
        self.calls.append(call)
        self.hops.append(list(call.hops))

    def command(self, hop: Hop) -> None:
        """See Spans."""


class Rig:
    """Calls on a clock of the test; ``kept`` is what became of them."""

    def __init__(self, sampling: Sampling, *, late_per_s: int = 10) -> None:
        self.clock, self.kept, self.metrics = Clock(), Kept(), Metrics()
        tracing = Tracing(sampling, self.kept, late_s=0.1, late_per_s=late_per_s, random=Random(1))
        self.calls = Calls(self.metrics, tracing, clock=self.clock)

    def call(self, *laps: tuple[str, float], code: str = "OK", method: str = METHOD, last_us: float = 1.0) -> None:
        """Make a call that does ``laps``, of so many µs, and something for ``last_us``."""
        call = self.calls.begin(method, self.clock(), list)
        assert call is not None
        for name, took_us in laps:
            self.clock.now += took_us * US
            call.lap(name)
        self.clock.now += last_us * US
        self.calls.end(call, code)

    def spans(self) -> list[tuple[str, float]]:
        """Return the names of the last call's hops, and their µs."""
        return [(hop.name, round(((hop.ended or 0.0) - hop.began) / US, 1)) for hop in self.kept.hops[-1]]

    def told(self) -> dict[str, object]:
        """Return what attributes of the last call say of hops, in µs."""
        of = self.kept.calls[-1].attributes
        return {key.removeprefix("recsvc.us."): value for key, value in of.items() if key.startswith("recsvc.us.")}


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "CANCELLED", "INVALID_ARGUMENT"])
def test_only_an_answer_is_encoded(code: str) -> None:
    """What a call was at when it ended without an answer has a name of its own, in spans and in metrics."""
    rig = Rig(Sampling())
    rig.call((names.PLAN, 30), code=code, last_us=50_000)
    assert rig.spans() == [(names.PLAN, 30), (names.UNFINISHED, 50_000)]
    points = dict(rig.metrics[HOP_DURATION].points())
    assert (names.ENCODE,) not in points
    unfinished = points[names.UNFINISHED,]
    assert isinstance(unfinished, Distribution)
    assert unfinished.sum == pytest.approx(0.05)
    late = Rig(Sampling(0.0))
    late.call((names.PLAN, 30), code="INTERNAL", last_us=50_000)
    assert late.told() == {"plan": 30, "unfinished": 50_000}


@pytest.mark.parametrize(
    ("laps", "spans", "told"),
    [
        ([(names.PARSE, 19), (names.PLAN, 2)], [(names.PARSE, 21)], {"plan": 2, "encode": 1}),
        ([(names.PARSE, 2), (names.PLAN, 19)], [(names.PLAN, 21)], {"parse": 2, "encode": 1}),
        (
            [(names.PARSE, 5), (names.PLAN, 6), (names.PARSE, 10)],
            [(names.PARSE, 21)],
            {"parse": 5, "plan": 6, "encode": 1},
        ),
        (
            [(names.PARSE, 19), (names.PLAN, 60), (names.MASK, 8)],
            [(names.PLAN, 79)],
            {"parse": 19, "recommend.mask": 8, "encode": 1},
        ),
    ],
)
def test_short_hops_in_a_row_are_named_after_the_longest(
    laps: list[tuple[str, float]], spans: list[tuple[str, float]], told: dict[str, float]
) -> None:
    """Together they are one span, and what each of the others took is an attribute."""
    rig = Rig(Sampling())
    rig.call(*laps)
    assert rig.spans() == spans
    assert rig.told() == told


def test_hops_beyond_the_bound_are_counted() -> None:
    """The server's span says how many of its hops are no spans."""
    rig = Rig(Sampling())
    rig.call(*[(names.RERANK, 1_000.0)] * (HOPS_KEPT + 100))
    assert rig.kept.calls[-1].attributes[names.DROPPED_HOPS] == 100
    rig.call((names.PLAN, 30))
    assert names.DROPPED_HOPS not in rig.kept.calls[-1].attributes


def test_unknown_methods_leave_no_late_spans() -> None:
    """Anybody can call them as often as he likes, and the ration is for calls that went wrong."""
    rig = Rig(Sampling(0.0), late_per_s=1)
    for _ in range(50):
        rig.call(code="UNIMPLEMENTED", method=names.OTHER_METHOD)
    rig.call(code="INTERNAL")
    assert [call.method for call in rig.kept.calls] == [METHOD]
    assert dict(rig.metrics[LATE_SPANS].points()) == {("made",): 1, ("dropped",): 0}


@pytest.mark.parametrize(("sampler", "late"), [("always_off", 0), ("parentbased_always_off", 1)])
def test_always_off_is_off(sampler: str, late: int) -> None:
    """Where nobody asked for spans there are none, also not late ones."""
    rig = Rig(sampling_of({"OTEL_TRACES_SAMPLER": sampler}))
    rig.call(code="INTERNAL")
    assert len(rig.kept.calls) == late


@pytest.mark.parametrize("sampled", [True, False])
def test_baggage_is_read_of_sampled_calls_only(*, sampled: bool) -> None:
    """A late span is of a call that was not sampled, so nothing of its baggage is parsed."""
    call = CallHop(METHOD, 0.0, sampled=sampled, trace_id=1)
    call.carrier = call.carrier._replace(baggage="team=ranking")
    (record,) = of_call(call, frozenset({"team"}), SpanLimits())
    assert ("recsvc.baggage.team" in record.hop.attributes) == sampled


def test_events_are_within_the_limits() -> None:
    """The limits for attributes of events, and that for the length of any attribute, hold for events too."""
    call = CallHop(METHOD, 0.0, sampled=True, trace_id=1)
    call.events = [Event("e", 1.0, {"a": "long text", "b": "more"})]
    limits = SpanLimits(max_event_attributes=1, max_attribute_length=4)
    (record,) = of_call(call, frozenset(), limits)
    assert record.hop.events == [Event("e", 1.0, {"a": "long"})]
