"""The tables of the live view: which figure is in which column. Heads have the units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from rich.table import Table
from rich.text import Text

from recsvc.inspect.top_figures import Cache, HopTime, Method, Node, Number, Process, Slates, Store, View
from recsvc.inspect.top_numbers import NONE, age, megabytes, milliseconds, number, percent, span, whole

_T = TypeVar("_T")
Columns = Mapping[str, Callable[[_T], str]]
PATH: Final = 22
"""Characters of the path of a socket: of a longer one the end tells more."""
NUMBER: Final = 7
WORD: Final = 11
"""Columns of a cell, at most: of a status, whose beginning tells which it is."""
BREAKER: Final = ("closed", "half-open", "open")


def breaker(state: Number) -> str:
    """Return the state of a circuit breaker as a word."""
    return NONE if state is None else BREAKER[min(int(state), len(BREAKER) - 1)]


METHODS: Final[Columns[Method]] = {
    "per s": lambda one: number(one.per_s),
    "p50 ms": lambda one: milliseconds(one.p50_s),
    "p99 ms": lambda one: milliseconds(one.p99_s),
    "fail %": lambda one: percent(one.failed),
}
HOPS: Final[Columns[HopTime]] = {
    "per s": lambda hop: number(hop.per_s),
    "p50 ms": lambda hop: milliseconds(hop.p50_s),
    "p99 ms": lambda hop: milliseconds(hop.p99_s),
    "ms per s": lambda hop: number(hop.busy * 1e3),
    "% of calls": lambda hop: percent(hop.share),
}
STORE: Final[Columns[Store]] = {
    "cmds/s": lambda store: number(store.per_s),
    "p50 ms": lambda store: milliseconds(store.p50_s),
    "p99 ms": lambda store: milliseconds(store.p99_s),
    "fail %": lambda store: percent(store.failed),
    "keys/fetch": lambda store: number(store.keys),
    "callers": lambda store: number(store.callers),
    "waiting": lambda store: whole(store.waiting),
    "shed/s": lambda store: number(store.shed_per_s),
}
CACHE: Final[Columns[Cache]] = {
    "rows/s": lambda cache: number(cache.per_s),
    "hit %": lambda cache: percent(cache.hit),
    "stale %": lambda cache: percent(cache.stale),
    "rows kept": lambda cache: whole(cache.rows),
    "MB kept": lambda cache: megabytes(cache.bytes),
    "dropped/s": lambda cache: number(cache.dropped_per_s),
}
PROCESS: Final[Columns[Process]] = {
    "active": lambda process: whole(process.active),
    "lag p99 ms": lambda process: milliseconds(process.lag_p99_s),
    "conns used": lambda process: whole(process.used),
    "idle": lambda process: whole(process.idle),
    "spans/s": lambda process: number(process.spans_per_s),
    "dropped/s": lambda process: number(process.spans_dropped_per_s),
    "failed/s": lambda process: number(process.spans_failed_per_s),
}
NODES: Final[Columns[Node]] = {
    "breaker": lambda node: breaker(node.breaker),
    "changes": lambda node: whole(node.changes),
    "MB used": lambda node: megabytes(node.memory),
    "limit": lambda node: megabytes(node.limit),
    "evicted/s": lambda node: number(node.evicted_per_s),
    "hit %": lambda node: percent(node.hit),
}
VIEWS: Final[Columns[View]] = {
    "rows/s": lambda view: number(view.per_s),
    "deflt %": lambda view: percent(view.defaults),
    "usual %": lambda view: percent(view.usual),
    "why": lambda view: view.why.lower() or NONE,
    "stale %": lambda view: percent(view.stale),
    "age p50": lambda view: age(view.age_s),
    "promised": lambda view: span(view.freshness_s),
}
SLATES: Final[Columns[Slates]] = {
    "per s": lambda one: number(one.per_s),
    "items": lambda one: number(one.items),
    "candidates": lambda one: number(one.candidates),
    "short %": lambda one: percent(one.short),
    "empty %": lambda one: percent(one.empty),
    "quality": lambda one: number(one.quality),
    "rank p99 ms": lambda one: milliseconds(one.rank_p99_s),
}


def line(title: str, columns: Columns[_T], one: _T) -> Table:
    """Return a table of one thing, which the title names."""
    return _rows(title, columns, [("", "", one)])


def table(title: str, columns: Columns[_T], named: Mapping[str, _T], colours: Mapping[str, str]) -> Table:
    """Return a table of things by their names; those that ``colours`` has are in their colour."""
    return _rows(title, columns, [(name, colours.get(name, ""), one) for name, one in named.items()])


def _rows(title: str, columns: Columns[_T], rows: Sequence[tuple[str, str, _T]]) -> Table:
    made = Table(box=None, pad_edge=False, expand=True, header_style="bold cyan")
    made.add_column(title, no_wrap=True, overflow="ellipsis", ratio=1)
    for head in columns:
        made.add_column(head, justify="right", no_wrap=True, min_width=NUMBER, max_width=WORD)
    for name, colour, one in rows:
        shown = f"…{name[1 - PATH :]}" if name.startswith("/") and len(name) > PATH else name
        made.add_row(Text(shown), *(Text(cell(one)) for cell in columns.values()), style=colour)
    if not rows:
        made.add_row(*[NONE] * (1 + len(columns)))
    return made
