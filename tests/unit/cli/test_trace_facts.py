"""What is said of a span in a few words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from recsvc.cli.trace_facts import degraded_of, event_text, facts_of, kind_of, title_of
from recsvc.inspect.trace_spans import Event, Scalar
from recsvc.telemetry import names
from tests.unit.inspect.trace_samples import span


@pytest.mark.parametrize(
    ("attributes", "facts"),
    [
        ({}, []),
        ({"thread.id": 7, "otel.scope.name": "recsvc"}, []),
        ({"http.request.method": "GET", "url.path": "/a", "http.response.status_code": 500}, ["GET", "/a", "HTTP 500"]),
        ({names.RPC_STATUS: "OK", names.ROWS: 1, names.FEATURES_COUNT: 23}, ["OK", "1 row", "23 features"]),
        ({names.HITS: 1, names.MISSES: 1, names.STALE: 1}, ["1 hit", "1 miss", "1 stale row"]),
        ({names.HITS: 0, names.MISSES: 1497, names.STALE: 0}, ["0 hits", "1,497 misses"]),
        ({names.KEYS: 3, names.CALLERS: 1, names.JOINED: False, names.AGE_AT_JOIN: 5}, ["3 rows waited for"]),
        (
            {names.KEYS: 3, names.CALLERS: 4, names.JOINED: True, names.AGE_AT_JOIN: 830},
            ["3 rows waited for", "joined a fetch that was under way for 830 µs", "4 calls waited for it"],
        ),
        ({names.JOINED: True}, ["joined a fetch"]),
        (
            {names.DB_SYSTEM: "redis", names.SERVER_ADDRESS: "10.0.0.7", names.SERVER_PORT: 6379, names.DB_BATCH: 3},
            ["redis at 10.0.0.7:6379", "3 commands"],
        ),
        ({names.DB_SYSTEM: "redis", names.SERVER_ADDRESS: "/run/redis.sock"}, ["redis at /run/redis.sock"]),
        ({names.DB_SYSTEM: "redis", names.POOL_WAIT: 1500.0}, ["redis", "after 1.50 ms for a connection"]),
        (
            {names.PLACEMENT: "home", names.CANDIDATES: 442, names.PASSED: 1450, names.CATALOGUE_SIZE: 1500},
            ["placement home", "442 candidates", "1,450 of 1,500 items may come"],
        ),
        (
            {names.SLATE_ITEMS: 10, names.RANKED_BY: "MODEL", names.MODEL: "v3", names.FACTOR: 0.25},
            ["10 items in the slate", "ordered by MODEL", "model v3", "quality 25%"],
        ),
        ({names.MODEL: "", names.FACTOR: 1.0}, []),
        ({"recsvc.entity.user_id": "9f3c"}, ["user_id #9f3c"]),
        ({"recsvc.us.plan": 9.0, "recsvc.us.encode": 17.4}, ["short parts: encode 17 µs, plan 9 µs"]),
        ({names.ROWS: "many", names.POOL_WAIT: "x", names.FACTOR: "x", names.JOINED: "", "recsvc.us.plan": "x"}, []),
        ({"url.path": "/" * 200}, ["/" * 79 + "…"]),
    ],
)
def test_facts_are_few_and_in_words(attributes: Mapping[str, Scalar], facts: list[str]) -> None:
    """Each attribute that helps is a few words; what says nothing, or is not of its type, is left out."""
    assert facts_of(span("x", 0, 1, attributes=attributes)) == facts


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('["TIMEOUT film@v1", "STALE user@v1"]', ["TIMEOUT film@v1", "STALE user@v1"]),
        ("TIMEOUT film@v1", ["TIMEOUT film@v1"]),
        ("[not JSON", ["[not JSON"]),
        ("[" * 100_000, ["[" * 79 + "…"]),
        ("", []),
    ],
)
def test_what_is_degraded_is_a_list_as_jaeger_keeps_it(value: str, found: list[str]) -> None:
    """Jaeger keeps lists as JSON; another value is shown as it is."""
    assert degraded_of(span("x", 0, 1, attributes={names.DEGRADED: value})) == found


def test_a_source_is_named_by_what_tells_it_apart() -> None:
    """The spans of candidate sources all have one name, so the source is said with it."""
    assert title_of(span(names.SOURCE, 0, 1, attributes={names.SOURCE_NAME: "als"})) == "recsvc.recommend.source als"
    assert title_of(span("MGET", 0, 1)) == "MGET"


def test_a_command_is_said_to_be_one() -> None:
    """Who does not know MGET reads whose command it is."""
    assert kind_of(span("MGET", 0, 1, attributes={names.DB_SYSTEM: "redis"})) == "a command to redis"
    assert kind_of(span("GET /home", 0, 1)) == ""


def test_events_are_a_line() -> None:
    """An event has its name, and its attributes by the end of theirs."""
    event = Event(names.DEFAULTS, 1, {names.VIEW: "film@v1", names.COUNT: 450})
    assert event_text(event) == "recsvc.defaults view=film@v1 count=450"
    assert event_text(Event("retry", 1)) == "retry"


def test_every_name_of_ours_has_a_meaning() -> None:
    """Spans are explained in the words of the table of names."""
    found = names.meanings()
    assert found[names.ENCODE] == "answer to bytes"
    assert {names.PARSE, names.WAIT, names.SOURCE, names.LATE} <= found.keys()
