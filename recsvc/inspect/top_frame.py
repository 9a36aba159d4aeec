"""One frame of the live view, for 80 columns: is it healthy, where is the time, what is degraded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from recsvc.inspect import top_tables as tables
from recsvc.inspect.top_figures import Figures
from recsvc.inspect.top_health import Finding, Level, findings
from recsvc.inspect.top_measure import figures_of
from recsvc.inspect.top_numbers import number, percent
from recsvc.inspect.top_tables import line, table
from recsvc.inspect.top_watch import Sight

MAX_REASONS: Final = 3
MAX_METHODS: Final = 4
MAX_HOPS: Final = 6
MAX_NODES: Final = 3
MAX_VIEWS: Final = 4
MAX_PLACEMENTS: Final = 2
"""All of them, with their heads and the other lines, are 35 lines."""
COLOURS: Final = {Level.HEALTHY: "green", Level.DEGRADED: "yellow", Level.UNHEALTHY: "red"}
DIM: Final = "dim"

Colours = Mapping[str, str]


def frame(sight: Sight) -> RenderableType:
    """Return what one look has seen."""
    figures = figures_of(sight.rates)
    found = findings(figures, sight)
    colours = {finding.where: COLOURS[finding.level] for finding in reversed(found)}
    return Group(*_health(sight, figures, found), *_time(figures, colours), *_degraded(figures, colours))


def _health(sight: Sight, figures: Figures, found: Sequence[Finding]) -> Iterator[Text]:
    if found:
        yield _text(f"● {found[0].level.name}: {found[0].text}", f"bold {COLOURS[found[0].level]}")
    elif sight.rates.per_s and not figures.calls_per_s:
        yield _text("○ IDLE: no calls in this time, so there is no traffic to judge by", "bold")
    elif sight.rates.per_s:
        yield _text(f"● {Level.HEALTHY.name}: nothing is over its threshold", f"bold {COLOURS[Level.HEALTHY]}")
    else:
        yield _text("○ LOOKING: one reading so far, and rates take two", "bold")
    for finding in found[1:MAX_REASONS]:
        yield _text(f"  {finding.text}", COLOURS[finding.level])
    yield _facts(sight, figures, len(found) - MAX_REASONS)


def _facts(sight: Sight, figures: Figures, more: int) -> Text:
    pages = sight.answering + len(sight.silent)
    facts = (
        *([f"{more} more findings"] if more > 0 else []),
        f"{sight.answering} of {pages} {'page' if pages == 1 else 'pages'}",
        *([f"last {sight.seconds:.1f} s"] if sight.rates.per_s else []),
        f"{number(figures.calls_per_s)} calls/s",
        f"{number(figures.rows_per_s)} rows/s",
    )
    return _text(f"  {' · '.join(facts)}", DIM)


def _time(figures: Figures, colours: Colours) -> Iterator[RenderableType]:
    yield table("CALLS", tables.METHODS, {one.name: one for one in figures.methods[:MAX_METHODS]}, colours)
    if figures.statuses:
        shares = ", ".join(f"{status} {percent(share)}" for status, share in figures.statuses.items())
        yield _text(f"not OK, % of calls: {shares}", DIM)
    hops = islice((hop for hop in figures.hops if hop.busy), MAX_HOPS)
    yield table("HOPS", tables.HOPS, {hop.name: hop for hop in hops}, colours)
    yield line("STORE", tables.STORE, figures.store)
    yield line("CACHE", tables.CACHE, figures.cache)
    yield line("PROCESS", tables.PROCESS, figures.process)


def _degraded(figures: Figures, colours: Colours) -> Iterator[RenderableType]:
    yield table("REDIS", tables.NODES, {node.name: node for node in figures.nodes[:MAX_NODES]}, colours)
    if figures.degraded:
        reasons = ", ".join(f"{reason} {number(per_s)}" for reason, per_s in figures.degraded.items())
        yield _text(f"degraded answers/s: {reasons}", DIM)
    yield table("VIEWS", tables.VIEWS, {view.name: view for view in figures.views[:MAX_VIEWS]}, colours)
    if figures.slates:
        slates = figures.slates[:MAX_PLACEMENTS]
        yield table("SLATES", tables.SLATES, {one.name: one for one in slates}, colours)


def _text(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
