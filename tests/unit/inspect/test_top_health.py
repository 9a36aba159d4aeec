"""Whether servers are healthy, and why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recsvc.inspect.page_fetch import address_of
from recsvc.inspect.page_rates import Rates
from recsvc.inspect.top_figures import Figures, Method, Node, Process, Slates, Store, View
from recsvc.inspect.top_health import Level, findings
from recsvc.inspect.top_watch import Sight

SIGHT = Sight(Rates(), 10.0, 1, {})
METHOD = Method("GetFeatures", 100.0, 0.001, 0.002, 0.0)
NODE = Node("here:6379", 0.0, 0.0, 50.0, 100.0, 0.0, 0.9)
VIEW = View("film@v1", 100.0, 0.5, 0.5, 0.0, "NOT_FOUND", 0.0, 80_000.0, 86_400.0, 0.1)
SLATES = Slates("home", 10.0, 10.0, 500.0, 0.0, 0.0, 1.0, 0.002)
WELL = Figures(
    calls_per_s=100.0,
    rows_per_s=1_000.0,
    methods=[METHOD],
    nodes=[NODE],
    views=[VIEW],
    slates=[SLATES],
    store=Store(shed_per_s=0.0),
    process=Process(lag_p99_s=0.001),
)


@pytest.mark.parametrize("figures", [WELL, Figures()])
def test_nothing_is_said_of_what_is_well(figures: Figures) -> None:
    """Neither good figures nor missing ones are findings."""
    assert findings(figures, SIGHT) == []


def method(**facts: float) -> Figures:
    """Return good figures with a method that is not."""
    return replace(WELL, methods=[replace(METHOD, **facts)])  # type: ignore[arg-type]  # names of numbers alone


def node(**facts: float) -> Figures:
    """Return good figures with a node that is not well."""
    return replace(WELL, nodes=[replace(NODE, **facts)])  # type: ignore[arg-type]


def view(**facts: float) -> Figures:
    """Return good figures with a view that is not well."""
    return replace(WELL, views=[replace(VIEW, **facts)])  # type: ignore[arg-type]


def slates(**facts: float) -> Figures:
    """Return good figures with slates that are not."""
    return replace(WELL, slates=[replace(SLATES, **facts)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("figures", "level", "text"),
    [
        (node(breaker=1.0), 1, "breaker of here:6379 is half-open"),
        (node(breaker=2.0), 2, "breaker of here:6379 is open"),
        (node(evicted_per_s=0.1), 2, "here:6379 evicts 0.1 keys/s for want of memory"),
        (node(memory=92.0), 1, "here:6379 uses 92 % of its memory"),
        (node(memory=100.0), 2, "here:6379 uses 100 % of its memory"),
        (method(failed=0.002), 1, "0.2 % of GetFeatures fail"),
        (method(failed=0.01), 2, "1 % of GetFeatures fail"),
        (method(p99_s=0.15), 1, "p99 of GetFeatures is 150 ms"),
        (method(p99_s=0.5), 2, "p99 of GetFeatures is 500 ms"),
        (view(unavailable=0.005, defaults=0.9), 1, "0.5 % of film@v1 could not be read"),
        (view(unavailable=0.5), 2, "50 % of film@v1 could not be read"),
        (view(defaults=0.65), 1, "65 % of film@v1 are defaults, usually 50 %: NOT_FOUND"),
        (view(defaults=0.8), 2, "80 % of film@v1 are defaults, usually 50 %: NOT_FOUND"),
        (view(late=0.6), 1, "60 % of rows of film@v1 are over 1.25 times as old as promised"),
        (slates(short=0.15), 1, "15 % of slates of home are short"),
        (slates(short=1.0), 2, "100 % of slates of home are short"),
        (slates(short=1.0, empty=0.002), 1, "0.2 % of slates of home are empty"),
        (slates(quality=0.4), 1, "slates of home look for 40 % of the candidates: too slow for more"),
        (replace(WELL, process=Process(lag_p99_s=0.06)), 1, "p99 of the event loop's lag is 60 ms"),
        (replace(WELL, process=Process(lag_p99_s=0.2)), 2, "p99 of the event loop's lag is 200 ms"),
        (replace(WELL, store=Store(shed_per_s=2.0)), 1, "2.0 rows/s are shed: too much waits for the store"),
        (replace(WELL, store=Store(shed_per_s=10.0)), 2, "10.0 rows/s are shed: too much waits for the store"),
        (replace(WELL, store=Store(shed_per_s=1.0), rows_per_s=0.0), 2, "1.0 rows/s are shed: too much waits"),
        (replace(WELL, degraded={"B": 8.0, "A": 5.0}), 1, "8 % of answers are degraded: B"),
        (replace(WELL, degraded={"A": 25.0}), 2, "25 % of answers are degraded: A"),
    ],
)
def test_each_rule_tells_its_reason(figures: Figures, level: int, text: str) -> None:
    """What is over a threshold is one finding: how bad it is, and which figure says so."""
    [found] = findings(figures, SIGHT)
    assert found.level == level
    assert found.text.startswith(text)


def test_calls_of_unknown_methods_tell_nothing_of_the_server() -> None:
    """Whoever scans ports makes calls that all fail: they are no finding, and hide none."""
    other = Method("_OTHER", 9_900.0, 0.3, 0.6, 1.0)
    scanned = replace(WELL, calls_per_s=10_000.0, methods=[other, METHOD])
    assert findings(scanned, SIGHT) == []
    [found] = findings(replace(scanned, degraded={"A": 10.0}), SIGHT)
    assert found.text == "10 % of answers are degraded: A"


def test_the_worst_comes_first() -> None:
    """Of several findings the one to act on is the first."""
    bad = replace(WELL, methods=[replace(METHOD, p99_s=0.2)], nodes=[replace(NODE, breaker=2.0)])
    assert [(one.level, one.where) for one in findings(bad, SIGHT)] == [
        (Level.UNHEALTHY, "here:6379"),
        (Level.DEGRADED, "GetFeatures"),
    ]


@pytest.mark.parametrize(("answering", "level"), [(0, Level.UNHEALTHY), (2, Level.DEGRADED)])
def test_pages_that_do_not_answer_are_told(answering: int, level: Level) -> None:
    """One of several workers is less than all of them."""
    sight = replace(SIGHT, answering=answering, silent={address_of("a:1"): "nobody listens there"})
    [found] = findings(WELL, sight)
    assert (found.level, found.text) == (level, "page a:1: nobody listens there")
