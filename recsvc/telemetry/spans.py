"""Hops to spans: records that wait in a queue, and what exporters make of them.

A record is a hop with what its span needs beside it; making one takes next to nothing, and all else is done by the
thread that exports. A span that is started and ended by the SDK's tracer takes 30 µs before it is even encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.baggage import get_all
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from recsvc.telemetry import names
from recsvc.telemetry.hop import Attribute, CallHop, Hop, Kind

_KINDS: Final = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.INTERNAL: SpanKind.INTERNAL}
STATE_MOST: Final = 512
"""Characters of a ``tracestate``: what has to be propagated, by section 3.3.1.5 of the W3C's text."""
BAGGAGE_VALUE: Final = 128
"""Characters of an entry of the caller's baggage that become an attribute."""
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_UNSET: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)
_ANY: Final = SpanContext(1, 1, is_remote=False, trace_flags=_SAMPLED)


class SpanRecord:
    """A span to be. ``offset``: ns to be added to monotonic times, one for all spans of a call, so none leaves another.

    ``context`` is all that the SDK's queue looks at: that it is sampled.
    """

    __slots__ = ("hop", "offset", "parent", "remote")
    context = _ANY

    def __init__(self, hop: Hop, parent: int, *, remote: bool = False) -> None:
        self.hop = hop
        self.offset = hop.call.offset
        self.parent = parent
        self.remote = remote

    def __repr__(self) -> str:
        return f"SpanRecord({self.hop!r})"

    @property
    def trace_state(self) -> str:
        """The caller's ``tracestate``; empty where there is none, or too much, or no parent that it could be of."""
        call = self.hop.call
        state = call.carrier.tracestate or ""
        return state if call.came_from is not None and len(state) <= STATE_MOST else ""

    @property
    def start(self) -> int:
        """When it began, in ns since 1970."""
        return int(self.hop.began * 1e9) + self.offset

    @property
    def end(self) -> int:
        """When it ended, in ns since 1970."""
        hop = self.hop
        return int((hop.began if hop.ended is None else hop.ended) * 1e9) + self.offset


def of_call(call: CallHop, baggage: frozenset[str], limits: SpanLimits) -> list[SpanRecord]:
    """Return the records of a call that has ended: the server's first, then those of its hops.

    ``baggage``: which entries of the caller's become attributes. ``limits``: how much a span may have.
    """
    if call.sampled and call.carrier.baggage and baggage:
        call.attributes.update(_baggage(call.carrier.baggage, baggage))
    for hop in (call, *call.hops):
        _bound(hop, limits)
    own = SpanRecord(call, call.parent, remote=call.came_from is not None)
    return [own, *(SpanRecord(hop, hop.parent) for hop in call.hops)]


def of_command(hop: Hop, limits: SpanLimits) -> SpanRecord:
    """Return the record of a command, which is in no call's list: it may outlive its caller."""
    _bound(hop, limits)
    return SpanRecord(hop, hop.parent)


def _bound(hop: Hop, limits: SpanLimits) -> None:
    """Cut what is more than a span may have: the first ones stay."""
    most, length = limits.max_span_attributes, limits.max_span_attribute_length
    if length is not None or (most is not None and len(hop.attributes) > most):
        hop.attributes = _within(hop.attributes, most, length)
    if hop.events:
        most, length = limits.max_event_attributes, limits.max_attribute_length
        kept = hop.events[: limits.max_events]
        hop.events = [event._replace(attributes=_within(event.attributes, most, length)) for event in kept]
    if limits.max_links is not None and len(hop.links) > limits.max_links:
        del hop.links[limits.max_links :]


def _within(attributes: Mapping[str, Attribute], most: int | None, length: int | None) -> dict[str, Attribute]:
    return {name: _cut(value, length) for name, value in list(attributes.items())[:most]}


def _cut(value: Attribute, length: int | None) -> Attribute:
    if isinstance(value, tuple):
        return tuple(text[:length] for text in value)
    return value[:length] if isinstance(value, str) else value


class Readable:
    """Makes the SDK's spans of records, for exporters that take no others."""

    def __init__(self, resource: Resource, scope: InstrumentationScope) -> None:
        self._resource = resource
        self._scope = scope

    def __repr__(self) -> str:
        return f"Readable({self._scope.name!r})"

    def spans(self, records: Iterable[SpanRecord]) -> list[ReadableSpan]:
        """Return one span for each record."""
        return [self._span(record) for record in records]

    def _span(self, record: SpanRecord) -> ReadableSpan:
        hop, trace = record.hop, record.hop.call.trace_id
        state = TraceState.from_header([record.trace_state]) if record.trace_state else TraceState()
        parent = None
        if record.parent:
            parent = SpanContext(trace, record.parent, is_remote=record.remote, trace_flags=_SAMPLED)
        return ReadableSpan(
            name=hop.name,
            context=SpanContext(trace, hop.id, is_remote=False, trace_flags=_SAMPLED, trace_state=state),
            parent=parent,
            resource=self._resource,
            attributes=hop.attributes,
            events=[Event(e.name, e.attributes, int(e.at * 1e9) + record.offset) for e in hop.events],
            links=[
                Link(SpanContext(place.trace_id, place.span_id, is_remote=False, trace_flags=_SAMPLED))
                for place in hop.links
            ],
            kind=_KINDS[hop.kind],
            status=_ERROR if hop.error else _UNSET,
            start_time=record.start,
            end_time=record.end,
            instrumentation_scope=self._scope,
        )


def _baggage(header: str, wanted: frozenset[str]) -> Mapping[str, str]:
    entries = get_all(W3CBaggagePropagator().extract({"baggage": header}))
    # What stands behind a semicolon are properties of an entry, and the SDK leaves them in the value.
    found = {key: str(value).partition(";")[0][:BAGGAGE_VALUE] for key, value in entries.items() if key in wanted}
    return {names.BAGGAGE.replace("*", key): value for key, value in found.items()}
