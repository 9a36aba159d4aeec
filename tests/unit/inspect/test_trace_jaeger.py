"""Jaeger's JSON to spans: what is read, and what is refused with a clear line."""

from __future__ import annotations

from typing import Any

import pytest

from recsvc.errors import ConfigError, TraceError
from recsvc.inspect.trace_jaeger import trace_id_of, trace_of
from recsvc.inspect.trace_spans import Event, Link
from tests.unit.inspect.trace_samples import BEGAN, TRACE_ID, failed_batch, jaeger_document, jaeger_span, tag


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (TRACE_ID, TRACE_ID),
        (TRACE_ID.upper(), TRACE_ID),
        ("A3CE929D0E0E4736", "0000000000000000a3ce929d0e0e4736"),
        ("1", "0" * 31 + "1"),
    ],
)
def test_ids_are_taken_as_jaeger_takes_them(text: str, right: str) -> None:
    """Upper case is the same, and a shorter id has zeros before it."""
    assert trace_id_of(text) == right


@pytest.mark.parametrize(
    "text", ["", "0", "0" * 32, "0" * 31 + "g", "a" * 33, f"0x{'a' * 30}", " a", "a\n", "٣", "../a"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    """Anything else is named in the error."""
    with pytest.raises(ConfigError, match="is no trace id") as caught:
        trace_id_of(text)
    assert repr(text) in str(caught.value)


def test_a_span_is_read_with_all_that_is_shown() -> None:
    """Names, times, parent, kind, service, attributes, events, links and errors are those of the document."""
    spans = {span.name: span for span in trace_of(failed_batch(), TRACE_ID).spans}
    call = spans["recsvc.v1.ServingService/GetFeaturesBatch"]
    assert (call.service, call.kind, call.parent, call.error) == ("recsvc", "server", "a000000000000001", "")
    assert (call.start, call.duration) == (BEGAN + 1000, 10_000)
    assert call.attributes["recsvc.rows"] == 500
    assert call.events == (Event("recsvc.defaults", BEGAN + 9000, {"recsvc.view": "film@v1", "recsvc.count": 450}),)
    assert spans["GET /home"].service == "web"
    assert spans["GET /home"].parent is None
    assert spans["recsvc.encode"].kind == "internal"
    assert (spans["MGET"].kind, spans["MGET"].error) == ("client", "TimeoutError")
    waits = spans["recsvc.fetch.wait"]
    assert waits.parent == call.id
    assert waits.links == (Link(TRACE_ID, "d000000000000004"), Link("cd" * 16, "12" * 8))


@pytest.mark.parametrize(
    ("tags", "error"),
    [
        ({}, ""),
        ({"error": False, "error.type": "x"}, ""),
        ({"otel.status_code": "OK"}, ""),
        ({"error": True}, "ERROR"),
        ({"error": "true"}, "ERROR"),
        ({"otel.status_code": "ERROR", "otel.status_description": "no room"}, "no room"),
        ({"error": True, "error.type": "Timeout", "otel.status_description": "late"}, "Timeout: late"),
    ],
)
def test_errors_are_told_by_jaegers_tags(tags: dict[str, str | bool], error: str) -> None:
    """A span failed where its tags say so, and says why as well as it can."""
    document = jaeger_document(jaeger_span("a1", "x", 0, 1, tags=tags))
    assert trace_of(document, TRACE_ID).spans[0].error == error


def test_ids_of_different_length_are_the_same() -> None:
    """An id without its leading zeros, or in upper case, is found as a parent all the same."""
    document = jaeger_document(jaeger_span("00000000000000A1", "x", 0, 1), jaeger_span("b1", "y", 0, 1, "a1"))
    outer, inner = trace_of(document, TRACE_ID).spans
    assert inner.parent == outer.id == "00000000000000a1"


def test_a_link_is_the_parent_where_there_is_no_other() -> None:
    """As in Jaeger, a span that only follows from one of its trace stands below that; of another trace, it does not."""
    document = jaeger_document(
        jaeger_span("a1", "x", 0, 1),
        jaeger_span("b1", "follows", 0, 1, links=[(TRACE_ID, "a1")]),
        jaeger_span("c1", "elsewhere", 0, 1, links=[("cd" * 16, "a1")]),
    )
    parents = {span.name: span.parent for span in trace_of(document, TRACE_ID).spans}
    assert parents == {"x": None, "follows": "a1".zfill(16), "elsewhere": None}


def test_a_span_that_was_sent_twice_is_there_once() -> None:
    """Exporters repeat what was not acknowledged; another span of the same id is still one more."""
    document = jaeger_document(*[jaeger_span("a1", "x", 0, 1)] * 2, jaeger_span("a1", "y", 0, 1))
    assert [span.name for span in trace_of(document, TRACE_ID).spans] == ["x", "y"]


def test_what_does_not_print_is_taken_out() -> None:
    """No name, value or event can command a terminal or break XML."""
    bad = "a\x1b[31m\ud800\u202e\nb\x00"
    fields = [tag("event", bad), tag(bad, bad)]
    document = jaeger_document(
        jaeger_span("a1", bad, 0, 1, tags={bad: bad}, logs=[{"timestamp": BEGAN, "fields": fields}])
    )
    span = trace_of(document, TRACE_ID).spans[0]
    texts = [span.name, *span.attributes, *span.attributes.values(), span.events[0].name]
    assert all(str(text).isprintable() for text in texts)
    assert span.name == "a [31m   b "


def test_numbers_that_are_none_are_texts() -> None:
    """A value that is past 64 bits, infinite, a list or nothing does no harm."""
    tags = [{"key": str(n), "value": value} for n, value in enumerate([1 << 80, float("inf"), float("nan"), [1], None])]
    document = jaeger_document(jaeger_span("a1", "x", 0, 1) | {"tags": tags})
    assert all(isinstance(value, str) for value in trace_of(document, TRACE_ID).spans[0].attributes.values())


def test_lists_may_be_missing_or_null() -> None:
    """Tags, logs, references and processes that are not there are empty."""
    raw = jaeger_span("a1", "x", 0, 1) | {"tags": None, "logs": None, "references": None}
    document: dict[str, Any] = {"data": [{"spans": [raw]}]}
    assert trace_of(document, TRACE_ID).spans[0].service == "?"
    for key in ("tags", "logs", "references", "processID"):
        del raw[key]
    assert trace_of(document, TRACE_ID).spans[0].attributes == {}


@pytest.mark.parametrize("document", [{"data": []}, {"data": [{"spans": []}]}])
def test_an_empty_trace_is_told(document: object) -> None:
    """A trace without spans is an error that names it."""
    with pytest.raises(TraceError, match=f"trace {TRACE_ID} has no spans"):
        trace_of(document, TRACE_ID)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("spanID", [None, 3, {}, [1]]),
        ("operationName", [None, 3, {}, [1]]),
        ("startTime", [None, "x", True, 1.5, -1, 1 << 70]),
        ("duration", [None, "x", True, 1.5, -1, 1 << 70]),
        ("tags", ["x", True, 3, {}, [1], [{}], [{"key": 1}]]),
        ("logs", ["x", True, 3, {}, [1], [{}], [{"timestamp": "x"}], [{"timestamp": 1, "fields": 3}]]),
        ("references", ["x", True, 3, {}, [1], [{}], [{"spanID": 3}]]),
    ],
)
def test_a_span_that_is_not_as_it_should_be_is_named(key: str, values: list[object]) -> None:
    """Whatever stands in the place of a value, the error says which span it is, and what is wrong with it."""
    document: Any = failed_batch()
    for value in values:
        document["data"][0]["spans"][2][key] = value
        with pytest.raises(TraceError, match=rf"not Jaeger's JSON of a trace: spans\[2\].*{key[:3]}"):
            trace_of(document, TRACE_ID)


@pytest.mark.parametrize(
    "document", [None, [], 3, {}, {"data": {}}, {"data": [3]}, {"data": [{}]}, {"data": [{"spans": [3]}]}]
)
def test_a_document_of_another_form_is_refused(document: object) -> None:
    """What is no answer of Jaeger is said to be none."""
    with pytest.raises(TraceError, match="not Jaeger's JSON of a trace"):
        trace_of(document, TRACE_ID)
