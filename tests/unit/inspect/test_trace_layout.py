"""Rows, bars and axis of a timeline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.inspect.trace_layout import bars_of, rows_of, tick_text, ticks_of, time_text
from recsvc.inspect.trace_spans import Span, Trace
from recsvc.inspect.trace_tree import tree_of
from tests.unit.inspect.test_trace_tree import traces
from tests.unit.inspect.trace_samples import BEGAN, span, trace


def fans(count: int) -> Trace:
    """Return a call with a wait before each of so many commands; every tenth command failed."""
    spans = [span("call", 0, 1000)]
    for n in range(count):
        spans.append(Span(f"w{n}", "wait", "recsvc", BEGAN + 10 * n, 6, "call"))
        error = "TimeoutError" if n % 10 == 9 else ""
        spans.append(Span(f"m{n}", "MGET", "recsvc", BEGAN + 10 * n + 1, 4, f"w{n}", kind="client", error=error))
    return trace(*spans)


def test_a_short_trace_has_a_row_for_each_span() -> None:
    """Up to 60 spans nothing is put together."""
    rows, left_out = rows_of(tree_of(fans(29)))
    assert len(rows) == 59
    assert {len(row.spans) for row in rows} == {1}
    assert left_out == 0


def test_a_long_trace_has_a_row_for_all_siblings_of_a_name() -> None:
    """Of more spans those of one name below one row are one row, and so are their children."""
    rows, left_out = rows_of(tree_of(fans(40)))
    assert [(row.depth, row.first.name, len(row.spans), row.duration) for row in rows] == [
        (0, "call", 1, 1000),
        (1, "wait", 40, 240),
        (2, "MGET", 40, 160),
    ]
    assert left_out == 0


def test_rows_have_a_bound() -> None:
    """Rows past the bound are left out, and their spans are counted."""
    spans = [span(f"s{n}", n, 1, "a") for n in range(300)]
    rows, left_out = rows_of(tree_of(trace(span("a", 0, 500), *spans)), most=100)
    assert (len(rows), left_out) == (100, 201)


def test_bars_that_touch_are_one() -> None:
    """Bars nearer than the gap are drawn as one, which failed where one of them did."""
    tree = tree_of(fans(40))
    row = rows_of(tree).rows[2]
    assert len(bars_of(row, tree.duration, gap=0.001)) == 40
    assert sum(bar.failed for bar in bars_of(row, tree.duration, gap=0.001)) == 4
    assert bars_of(row, tree.duration, gap=0.01) == [(0.001, 0.395, True)]


@given(traces(), st.integers(0, 20), st.floats(0, 1))
def test_every_bar_lies_within_the_picture(found: Trace, long: int, gap: float) -> None:
    """Whatever the clocks say, no bar leaves the axis, and every span is in one row."""
    tree = tree_of(found)
    rows, left_out = rows_of(tree, long=long)
    assert left_out == 0
    assert sorted(placed.span.id for row in rows for placed in row.spans) == sorted(s.id for s in found.spans)
    for row in rows:
        for bar in bars_of(row, tree.duration, gap=gap):
            assert 0 <= bar.start <= bar.end <= 1


@pytest.mark.parametrize(
    ("duration", "ticks"),
    [
        (0, [0]),
        (3, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6]),
        (17_319, [0, 5000, 10_000, 15_000]),
        (60_000_000, [0, 10_000_000, 20_000_000, 30_000_000, 40_000_000, 50_000_000, 60_000_000]),
    ],
)
def test_ticks_are_round(duration: int, ticks: list[int]) -> None:
    """Ticks are 1, 2 or 5 times a power of ten apart."""
    assert list(ticks_of(duration)) == ticks


@given(st.integers(0, 1 << 50), st.integers(3, 12))
def test_ticks_are_few_and_within_the_time(duration: int, most: int) -> None:
    """There are as many as asked for at most, and the 0; where there is time enough, there are others than the 0."""
    ticks = list(ticks_of(duration, most=most))
    assert len(ticks) <= most + 1
    assert ticks[-1] <= duration
    assert len(ticks) > 1 or duration == 0


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 µs"),
        (87, "87 µs"),
        (999.4, "999 µs"),
        (999.6, "1.00 ms"),
        (4170, "4.17 ms"),
        (9996, "10.0 ms"),
        (25_150, "25.1 ms"),
        (99_960, "100 ms"),
        (312_400, "312 ms"),
        (999_600, "1.00 s"),
        (1_530_000, "1.53 s"),
        (4e9, "4,000 s"),
    ],
)
def test_times_are_short(micros: float, text: str) -> None:
    """A time has three digits and the unit that suits it."""
    assert time_text(micros) == text


@pytest.mark.parametrize(("micros", "text"), [(0, "0"), (500, "500 µs"), (2000, "2 ms"), (50_000_000, "50 s")])
def test_ticks_are_named_as_they_are(micros: int, text: str) -> None:
    """A round time has no digits that say nothing."""
    assert tick_text(micros) == text
