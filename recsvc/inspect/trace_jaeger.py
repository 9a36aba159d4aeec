"""Jaeger's JSON of a trace to spans, and trace ids as Jaeger takes them.

The document: https://github.com/jaegertracing/jaeger/blob/v1.76.0/internal/uimodel/model.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from recsvc.errors import ConfigError, TraceError
from recsvc.inspect.trace_spans import INTERNAL, Event, Link, Scalar, Span, Trace
from recsvc.telemetry import names

_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{1,32}", re.ASCII)
_SPAN_DIGITS: Final = 16
_TRACE_DIGITS: Final = 32
_CHILD_OF: Final = "CHILD_OF"
_EVENT_NAME: Final = "event"
_FAILED: Final = "ERROR"
_LATEST_US: Final = 253_402_300_799_000_000
"""The end of the year 9999."""
_INT64: Final = 1 << 63
_T = TypeVar("_T")
_Object = Mapping[str, object]


def trace_id_of(text: str) -> str:
    """Return a trace id as 32 hex digits; a shorter one has zeros before it. Raises ConfigError."""
    if not _TRACE_ID.fullmatch(text) or not text.strip("0"):
        raise ConfigError(
            f"{text!r} is no trace id: give up to 32 hex digits, not all 0, as the second part of a traceparent has"
        )
    return text.lower().zfill(_TRACE_DIGITS)


def trace_of(document: object, trace_id: str) -> Trace:
    """Return the trace of a document; a span that was sent twice is there once.

    Raises TraceError, which says what the document lacks, or that the trace has no spans.
    """
    data = _of(list, _object(document, "it"), "data", "it")
    found = _object(data[0], "data[0]") if data else {"spans": []}
    processes = _object(found.get("processes") or {}, "processes")
    spans: dict[str, list[Span]] = {}
    for index, raw in enumerate(_of(list, found, "spans", "data[0]")):
        where = f"spans[{index}]"
        span = _span(_object(raw, where), where, processes, trace_id)
        same = spans.setdefault(span.id, [])
        if span not in same:
            same.append(span)
    if not spans:
        raise TraceError(f"trace {trace_id} has no spans")
    return Trace(trace_id, tuple(span for same in spans.values() for span in same))


def _span(raw: _Object, where: str, processes: _Object, trace_id: str) -> Span:
    tags = _tags(raw.get("tags"), f"{where}.tags")
    own = _digits(_of(str, raw, "spanID", where), _SPAN_DIGITS)
    process = _object(processes.get(str(raw.get("processID"))) or {}, f"the process of {where}")
    parent, links = _references(raw.get("references"), f"{where}.references", trace_id)
    return Span(
        id=own,
        name=_printable(_of(str, raw, "operationName", where)),
        service=_printable(str(process.get("serviceName") or "?")),
        start=_micros(raw, "startTime", where),
        duration=_micros(raw, "duration", where),
        parent=parent,
        kind=str(tags.get("span.kind", INTERNAL)).lower(),
        attributes=tags,
        events=tuple(_events(raw.get("logs"), f"{where}.logs")),
        links=links,
        error=_error(tags),
    )


def _error(tags: Mapping[str, Scalar]) -> str:
    if tags.get("otel.status_code") != _FAILED and str(tags.get("error", "")).lower() != "true":
        return ""
    said = (tags.get(names.ERROR_TYPE), tags.get("otel.status_description"))
    return ": ".join(str(text) for text in said if text) or _FAILED


def _references(raw: object, where: str, trace_id: str) -> tuple[str | None, tuple[Link, ...]]:
    """Return the parent and the links. As in Jaeger, where nothing is a parent the first link of this trace is it."""
    parents: list[str] = []
    links: list[Link] = []
    for reference in _objects(raw, where):
        trace = _digits(str(reference.get("traceID", trace_id)), _TRACE_DIGITS)
        span = _digits(_of(str, reference, "spanID", where), _SPAN_DIGITS)
        if reference.get("refType") == _CHILD_OF and trace == trace_id:
            parents.append(span)
        else:
            links.append(Link(trace, span))
    if not parents:
        parents = [link.span_id for link in links if link.trace_id == trace_id]
    return (parents[0] if parents else None), tuple(links)


def _events(raw: object, where: str) -> Iterator[Event]:
    for log in _objects(raw, where):
        fields = dict(_tags(log.get("fields"), f"{where}.fields"))
        name = str(fields.pop(_EVENT_NAME, "event"))
        yield Event(name, _micros(log, "timestamp", where), fields)


def _tags(raw: object, where: str) -> Mapping[str, Scalar]:
    return {_printable(_of(str, tag, "key", where)): _scalar(tag.get("value")) for tag in _objects(raw, where)}


def _scalar(value: object) -> Scalar:
    if isinstance(value, bool | int | float) and -_INT64 <= value < _INT64:
        return value
    return _printable(str(value))


def _micros(found: _Object, key: str, where: str) -> int:
    value = _of(int, found, key, where)
    if not 0 <= value <= _LATEST_US:
        raise TraceError(f"not Jaeger's JSON of a trace: {where}.{key} is no time in microseconds")
    return value


def _digits(text: str, count: int) -> str:
    return _printable(text).lower().zfill(count)


def _printable(text: str) -> str:
    """Replace what does not print: it could command a terminal, and XML has no place for it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _objects(value: object, where: str) -> Iterator[_Object]:
    """Yield the objects of a list; Jaeger leaves an empty one out, or writes null."""
    if not isinstance(value, list | None):
        raise TraceError(f"not Jaeger's JSON of a trace: {where} is no list")
    yield from (_object(item, where) for item in value or ())


def _object(value: object, where: str) -> _Object:
    if not isinstance(value, dict):
        raise TraceError(f"not Jaeger's JSON of a trace: {where} is no object")
    return value


def _of(kind: type[_T], found: _Object, key: str, where: str) -> _T:
    value = found.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TraceError(f"not Jaeger's JSON of a trace: {where} has no {key} that is of type {kind.__name__}")
    return value
