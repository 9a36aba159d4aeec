"""Traces for tests: a few spans by hand, and one call as Jaeger's JSON has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsvc.inspect.trace_spans import Scalar, Span, Trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
BEGAN = 1_763_750_000_000_000
"""2025-11-21 18:33:20 UTC, in microseconds."""
Json = dict[str, object]


def span(  # noqa: PLR0913  # a span has many parts
    name: str,
    start: int,
    duration: int,
    parent: str | None = None,
    *,
    kind: str = "internal",
    service: str = "recsvc",
    error: str = "",
    attributes: Mapping[str, Scalar] | None = None,
) -> Span:
    """Return a span whose id is its name, ``start`` microseconds after BEGAN."""
    return Span(
        name, name, service, BEGAN + start, duration, parent, kind=kind, error=error, attributes=attributes or {}
    )


def trace(*spans: Span) -> Trace:
    """Return a trace of these spans."""
    return Trace(TRACE_ID, spans)


def tag(key: str, value: Scalar) -> Json:
    """Return a tag, or a field of a log."""
    kinds: dict[type, str] = {bool: "bool", int: "int64", float: "float64", str: "string"}
    return {"key": key, "type": kinds[type(value)], "value": value}


def jaeger_span(  # noqa: PLR0913  # as above
    span_id: str,
    name: str,
    start: int,
    duration: int,
    parent: str | None = None,
    *,
    tags: Mapping[str, Scalar] | None = None,
    logs: Sequence[Json] = (),
    links: Sequence[tuple[str, str]] = (),
    process: str = "p1",
) -> Json:
    """Return a span as Jaeger has it; ``links`` are pairs of trace id and span id."""
    references = [{"refType": "CHILD_OF", "traceID": TRACE_ID, "spanID": parent}] if parent else []
    references += [{"refType": "FOLLOWS_FROM", "traceID": found, "spanID": other} for found, other in links]
    return {
        "traceID": TRACE_ID,
        "spanID": span_id,
        "operationName": name,
        "references": references,
        "startTime": BEGAN + start,
        "duration": duration,
        "tags": [tag(key, value) for key, value in (tags or {}).items()],
        "logs": list(logs),
        "processID": process,
        "warnings": None,
    }


def jaeger_document(*spans: Json) -> Json:
    """Return the answer of Jaeger's query API."""
    processes = {"p0": {"serviceName": "web", "tags": []}, "p1": {"serviceName": "recsvc", "tags": []}}
    found = {"traceID": TRACE_ID, "spans": list(spans), "processes": processes, "warnings": None}
    return {"data": [found], "total": 0, "limit": 0, "offset": 0, "errors": None}


def failed_batch() -> Json:
    """Return a GetFeaturesBatch that a web service called, and whose command to Redis failed."""
    redis: Mapping[str, Scalar] = {
        "span.kind": "client",
        "db.system.name": "redis",
        "db.operation.name": "MGET",
        "server.address": "10.0.0.7",
        "server.port": 6379,
        "error.type": "TimeoutError",
        "otel.status_code": "ERROR",
        "error": True,
    }
    server: Mapping[str, Scalar] = {
        "span.kind": "server",
        "rpc.response.status_code": "OK",
        "recsvc.rows": 500,
        "recsvc.cache.hits": 6,
        "recsvc.cache.misses": 1497,
        "recsvc.us.parse": 12.5,
        "recsvc.degraded": '["STORE_UNAVAILABLE film@v1"]',
    }
    fields = [tag("event", "recsvc.defaults"), tag("recsvc.view", "film@v1"), tag("recsvc.count", 450)]
    return jaeger_document(
        jaeger_span("d000000000000004", "MGET", 3200, 4000, "c000000000000003", tags=redis),
        jaeger_span("a000000000000001", "GET /home", 0, 12_000, tags={"span.kind": "server"}, process="p0"),
        jaeger_span(
            "b000000000000002",
            "recsvc.v1.ServingService/GetFeaturesBatch",
            1000,
            10_000,
            "a000000000000001",
            tags=server,
            logs=[{"timestamp": BEGAN + 9000, "fields": fields}],
        ),
        jaeger_span(
            "c000000000000003",
            "recsvc.fetch.wait",
            3000,
            4500,
            "b000000000000002",
            tags={"recsvc.fetch.joined": False, "recsvc.fetch.keys": 1497},
            links=[(TRACE_ID, "d000000000000004"), ("cd" * 16, "12" * 8)],
        ),
        jaeger_span("e000000000000005", "recsvc.encode", 8000, 2900, "b000000000000002"),
    )
