"""A tree of spans as rows and bars of a timeline, for the terminal and for a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from recsvc.inspect.trace_spans import Span
from recsvc.inspect.trace_time import covered
from recsvc.inspect.trace_tree import Placed, Tree

LONG: Final = 60
"""Spans: a trace of more has one row for all siblings of a name."""
MOST_ROWS: Final = 200
_UNITS: Final = ((1_000_000, "s"), (1_000, "ms"))
_DIGITS: Final = ((10, 2), (100, 1))
"""Digits behind the point of numbers below these."""
_ROUNDS_UP: Final = 0.9995
"""999.5 µs are 1 ms, and 9.995 ms are 10.0 ms."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a span, or several siblings of one name in a long trace."""

    depth: int
    spans: tuple[Placed, ...]

    @property
    def first(self) -> Span:
        """The span that began first."""
        return self.spans[0].span

    @property
    def duration(self) -> int:
        """How long any of them ran, in microseconds."""
        return covered((placed.start, placed.end) for placed in self.spans)


class Rows(NamedTuple):
    """The rows of a timeline, from above; ``left_out``: how many spans had no room."""

    rows: tuple[Row, ...]
    left_out: int


class Bar(NamedTuple):
    """From where to where something ran, as parts of the whole; ``failed``: whether it was an error."""

    start: float
    end: float
    failed: bool


def rows_of(tree: Tree, *, long: int = LONG, most: int = MOST_ROWS) -> Rows:
    """Return the rows: one for each span, and of more than ``long`` spans one for each name among siblings."""
    merges = len(tree.spans) > long
    numbers: dict[tuple[int | None, object], int] = {}
    members: list[list[Placed]] = []
    children: dict[int | None, list[int]] = {}
    rows: list[int] = []
    for index, placed in enumerate(tree.spans):
        outer = None if placed.parent is None else rows[placed.parent]
        same = (placed.span.service, placed.span.name, placed.span.kind) if merges else index
        number = numbers.setdefault((outer, same), len(members))
        if number == len(members):
            members.append([])
            children.setdefault(outer, []).append(number)
        members[number].append(placed)
        rows.append(number)
    made = [Row(members[n][0].depth, tuple(members[n])) for n in _in_order(children)]
    return Rows(tuple(made[:most]), sum(len(row.spans) for row in made[most:]))


def _in_order(children: dict[int | None, list[int]]) -> list[int]:
    order: list[int] = []
    left = children.get(None, [])[::-1]
    while left:
        number = left.pop()
        order.append(number)
        left += children.get(number, [])[::-1]
    return order


def bars_of(row: Row, duration: int, *, gap: float) -> list[Bar]:
    """Return the bars of a row, in parts of ``duration``; those with less than ``gap`` between them are one."""
    whole = max(duration, 1)
    made: list[Bar] = []
    for placed in sorted(row.spans, key=lambda p: p.start):
        bar = Bar(placed.start / whole, placed.end / whole, bool(placed.span.error))
        if made and bar.start - made[-1].end < gap:
            last = made.pop()
            bar = Bar(last.start, max(last.end, bar.end), last.failed or bar.failed)
        made.append(bar)
    return made


def ticks_of(duration: int, *, most: int = 6) -> Sequence[int]:
    """Return round times in microseconds, from 0 to at most ``duration``, at most ``most`` (from 3) and the 0."""
    step = 10 ** max(math.floor(math.log10(max(duration, 1) / most)), 0)
    step *= next(factor for factor in (1, 2, 5, 10) if step * factor * most >= duration)
    return range(0, duration + 1, step)


def time_text(micros: float) -> str:
    """Return a time for the eye, of three digits: 87 µs, 4.17 ms, 25.2 ms, 1.53 s."""
    for unit, name in _UNITS:
        if micros >= unit * _ROUNDS_UP:
            number = micros / unit
            digits = next((digits for least, digits in _DIGITS if number < least * _ROUNDS_UP), 0)
            return f"{number:,.{digits}f} {name}"
    return f"{micros:.0f} µs"


def tick_text(micros: int) -> str:
    """Return a round time, as short as it is: 0, 500 µs, 5 ms."""
    unit, name = next(((unit, name) for unit, name in _UNITS if micros >= unit), (1, "µs"))
    return f"{micros / unit:g} {name}" if micros else "0"
