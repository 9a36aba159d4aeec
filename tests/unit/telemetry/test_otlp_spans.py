"""What goes over the wire for a call is what the SDK would send of the same spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from recsvc.telemetry.hop import CallHop, Event, Hop, Kind, Place
from recsvc.telemetry.otlp_spans import PAIRS_KEPT, SpanEncoder
from recsvc.telemetry.spans import Readable, SpanRecord, of_call
from recsvc.telemetry.trace_context import Carrier, Parent
from tests.unit.online.strategies import MANY

READABLE = Readable(Resource({"service.name": "x", "n": 1}), InstrumentationScope("recsvc", "1.2", "https://x/1"))
LIMITS = SpanLimits()
IDS = st.integers(1, 2**64 - 1)
VALUES = st.one_of(
    st.text(max_size=5),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=3), max_size=3).map(tuple),
)
ATTRIBUTES = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES)


@st.composite
def calls(draw: st.DrawFn) -> CallHop:
    """Draw a call with hops of all kinds, which hang on it or on each other."""
    parent = draw(st.none() | st.builds(Parent, st.integers(1, 2**128 - 1), IDS, st.just(value=True)))
    trace = draw(st.integers(1, 2**128 - 1)) if parent is None else parent.trace_id
    state = draw(st.sampled_from([None, "vendor=1", "a=1,b=2"]))
    call = CallHop(
        "s/M",
        draw(st.floats(0, 1e6)),
        sampled=True,
        trace_id=trace,
        came_from=parent,
        carrier=Carrier(None, state, None),
    )
    call.ended = call.began + draw(st.floats(0, 1))
    places = [call]
    for _ in range(draw(st.integers(0, 4))):
        hop = Hop(call, draw(st.sampled_from(["x", "y"])), call.began, draw(st.sampled_from(places)).id)
        hop.kind = draw(st.sampled_from(list(Kind)))
        call.keep(hop, draw(st.floats(call.began, call.began + 1)))
        places.append(hop)  # type: ignore[arg-type]  # a hop is where others may hang
    for hop in places:
        hop.attributes = draw(ATTRIBUTES)
        hop.error = draw(st.sampled_from(["", "INTERNAL"]))
        hop.links = draw(st.lists(st.builds(Place, st.integers(1, 2**128 - 1), IDS), max_size=2))
        events = draw(st.lists(ATTRIBUTES, max_size=2))
        hop.events = [Event("e", call.began, attributes) for attributes in events]
    return call


@given(st.lists(calls(), min_size=1, max_size=3))
@MANY
def test_encodes_as_the_sdk_does(made: list[CallHop]) -> None:
    """Whatever the spans are, and whatever was encoded before, the message equals that of the SDK's own encoder."""
    encoder = SpanEncoder(READABLE)
    for call in made:
        records: list[SpanRecord] = of_call(call, frozenset(), LIMITS)
        assert encoder.request(records) == encode_spans(READABLE.spans(records))


@pytest.mark.parametrize(
    ("parent", "state", "kept"),
    [(Parent(1, 2, True), "a=1", "a=1"), (Parent(1, 2, True), "a=" + 600 * "x", ""), (None, "a=1", "")],  # noqa: FBT003
)
def test_state_of_a_trace_needs_its_parent(parent: Parent | None, state: str, kept: str) -> None:
    """A tracestate is used with a valid traceparent only, and as long as it has to be taken."""
    call = CallHop("s/M", 0.0, sampled=True, trace_id=1, came_from=parent, carrier=Carrier(None, state, None))
    (record,) = of_call(call, frozenset(), LIMITS)
    assert record.trace_state == kept


def test_pairs_that_are_kept_are_bounded() -> None:
    """Values that never come again (ids of recommendations) do not pile up."""
    encoder = SpanEncoder(READABLE)
    call = CallHop("s/M", 0.0, sampled=True, trace_id=1)
    for number in range(PAIRS_KEPT + 100):
        call.attributes = {"id": f"value {number}"}
        encoder.request(of_call(call, frozenset(), LIMITS))
    assert len(encoder._pairs) <= PAIRS_KEPT


def test_spans_are_within_the_limits() -> None:
    """What is more than a span may have is cut: attributes, the length of texts, events and links."""
    call = CallHop("s/M", 0.0, sampled=True, trace_id=1)
    call.attributes = {"a": "long text", "b": 1, "c": 2}
    call.events = [Event("e", 0.0, {})] * 5
    call.links = [Place(1, number) for number in range(1, 6)]
    limits = SpanLimits(max_events=2, max_links=3, max_span_attributes=2, max_span_attribute_length=4)
    (record,) = of_call(call, frozenset(), limits)
    assert record.hop.attributes == {"a": "long", "b": 1}
    assert (len(record.hop.events), len(record.hop.links)) == (2, 3)
