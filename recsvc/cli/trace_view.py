"""A trace in the terminal: where the time went, and below it each span with its bar on the time axis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from recsvc.cli.trace_facts import degraded_of, event_text, facts_of, kind_of, links_of, title_of
from recsvc.inspect.trace_layout import Row, bars_of, rows_of, tick_text, ticks_of, time_text
from recsvc.inspect.trace_time import shares
from recsvc.inspect.trace_tree import Placed, Tree
from recsvc.telemetry import names

MOST_SHARES: Final = 6
LEAST_SHARE: Final = 0.01
MOST_NOTES: Final = 5
"""Events and links of one row, and errors at the top."""
_TIME: Final = 8
"""Width of a duration."""
_NAMES: Final = 0.62
"""The most that names take of the width."""
_NARROWEST: Final = 60
_DEEPEST: Final = 8
_TICK: Final = 9
"""Width of a time on the axis."""
_THICK: Final = 0.75
"""Of a character: what is less is a thin line."""
_COLOURS: Final = {"server": "blue", "client": "yellow"}
_OTHER_COLOUR: Final = "green"
_FAILED: Final = "bold red"


class _Line(NamedTuple):
    """A line, and what stands before it; where it goes on below, nothing does."""

    text: Text
    before: str = ""


def print_trace(console: Console, tree: Tree) -> None:
    """Print a trace over the width of the console, with colours where that has them."""
    width = max(console.width, _NARROWEST)
    for text, before in [*_head(tree), *_where(tree), *_timeline(tree, width)]:
        for number, part in enumerate(text.wrap(console, width - len(before)) or [text]):
            part.rstrip()
            line = Text(" " * len(before) if number else before) + part
            console.print(line, soft_wrap=True, highlight=False)


def _head(tree: Tree) -> Iterator[_Line]:
    began = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=tree.began)
    facts = (
        time_text(tree.duration),
        f"{len(tree.spans):,} span{'s' if len(tree.spans) > 1 else ''}",
        f"{len(tree.services)} service{'s' if len(tree.services) > 1 else ''} ({', '.join(tree.services)})",
        f"{began:%Y-%m-%d %H:%M:%S.%f} UTC",
    )
    yield _Line(Text(f"trace {tree.trace_id}", "bold"))
    yield _Line(Text(" · ".join(facts)))
    failed = [placed.span for placed in tree.spans if placed.span.error]
    if failed:
        said = _few(f"{title_of(span)}: {span.error}" for span in failed)
        yield _Line(Text(f"{len(failed):,} error{'s' if len(failed) > 1 else ''}: {said}", _FAILED))
    degraded = [reason for placed in tree.spans for reason in degraded_of(placed.span)]
    if degraded:
        yield _Line(Text(f"degraded: {_few(degraded)}", "yellow"))
    for service, shift in tree.shifted.items():
        yield _Line(Text(f"the clock of {service} is slow: its spans are moved by {time_text(shift)}", "dim"))


def _few(texts: Iterable[str]) -> str:
    """Join different texts, the first few of them."""
    found = list(dict.fromkeys(texts))
    more = [f"{len(found) - MOST_NOTES:,} more"] if len(found) > MOST_NOTES else []
    return "; ".join([*found[:MOST_NOTES], *more])


def _where(tree: Tree) -> Iterator[_Line]:
    found = shares(tree)
    whole = max(tree.duration, 1)
    words = names.meanings()
    yield _Line(Text())
    yield _Line(Text("where the time went (what ran side by side shares it)", "bold"))
    for share in [s for s in found if s.micros / whole >= LEAST_SHARE][:MOST_SHARES] or found[:1]:
        several = f" ×{share.count:,}" if share.count > 1 else ""
        line = Text(f"{share.span.name}{several}")
        said = [share.span.service] if len(tree.services) > 1 else []
        said += ["itself, outside of what is below it"] if share.parts else []
        said += [words.get(share.span.name, "") or kind_of(share.span)]
        line.append(f"  {': '.join(filter(None, said))}", "dim")
        yield _Line(line, _share(share.micros, whole))
    untold = tree.duration - sum(share.micros for share in found)
    if untold / whole >= LEAST_SHARE:
        yield _Line(Text("in no span at all"), _share(untold, whole))


def _share(micros: float, whole: int) -> str:
    return f"{micros / whole:>5.0%}{time_text(micros):>{_TIME + 1}}  "


def _timeline(tree: Tree, width: int) -> Iterator[_Line]:
    rows, left_out = rows_of(tree)
    names = min(max(cell_len(_name(row)) for row in rows), int(width * _NAMES) - _TIME)
    cells = width - names - _TIME - 3
    yield _Line(Text())
    yield _Line(Text(f"{'span':<{names}} {'took':>{_TIME}}  {_axis(tree.duration, cells)}".rstrip(), "bold"))
    found = {placed.span.id: placed for placed in tree.spans}
    for row in rows:
        style = _FAILED if _failed(row) else _COLOURS.get(row.first.kind, _OTHER_COLOUR)
        line = Text(_fit(_name(row), names), _FAILED if _failed(row) else "")
        line.append(f" {time_text(row.duration):>{_TIME}}  ")
        line.append(_bars(row, tree.duration, cells), style)
        yield _Line(line)
        yield from _notes(row, tree, found)
    if left_out:
        yield _Line(Text(f"… and {left_out:,} more spans", "dim"))


def _name(row: Row) -> str:
    name = f"{row.first.name} ×{len(row.spans)}" if len(row.spans) > 1 else title_of(row.first)
    return "  " * min(row.depth, _DEEPEST) + name


def _failed(row: Row) -> bool:
    return any(placed.span.error for placed in row.spans)


def _notes(row: Row, tree: Tree, found: Mapping[str, Placed]) -> Iterator[_Line]:
    """Yield what is said below a span: what it is, then its events and links."""
    before = "  " * (min(row.depth, _DEEPEST) + 1)
    facts = Text(" · ").join(Text(text, style) for text, style in _facts(row, tree) if text)
    if facts:
        yield _Line(facts, before)
    notes = [("→ ", text) for placed in row.spans for text in links_of(placed, tree, found)]
    events = [(p.start + event.at - p.span.start, event) for p in row.spans for event in p.span.events]
    for at, event in sorted(events, key=lambda e: e[0]):
        notes.append(("• ", f"+{time_text(max(at, 0))} {event_text(event)}"))
    if len(notes) > MOST_NOTES:
        notes[MOST_NOTES:] = [("… ", f"and {len(notes) - MOST_NOTES:,} more events and links")]
    for sign, note in notes:
        yield _Line(Text(note, "cyan"), before + sign)


def _facts(row: Row, tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield what is said of a row, and how that looks."""
    failed = [placed.span.error for placed in row.spans if placed.span.error]
    if failed:
        which = f" ({len(failed)} of {len(row.spans)})" if len(row.spans) > 1 else ""
        yield f"ERROR {_few(failed)}{which}", _FAILED
    outer = row.spans[0].parent
    if outer is None or tree.spans[outer].span.service != row.first.service:
        yield row.first.service, "dim"
    if outer is None and row.first.parent is not None:
        yield "part of a span that is not here", "dim"
    if len(row.spans) > 1:
        yield f"the longest {time_text(max(placed.span.duration for placed in row.spans))}", "dim"
        return
    yield from ((fact, "dim") for fact in facts_of(row.first) if fact not in failed)
    yield from ((f"degraded: {reason}", "yellow") for reason in degraded_of(row.first))


def _bars(row: Row, duration: int, cells: int) -> str:
    drawn = [" "] * cells
    for bar in bars_of(row, duration, gap=0):
        start, end = bar.start * cells, bar.end * cells
        if end - start < _THICK:
            drawn[min(int(start), cells - 1)] = "▏"
        else:
            first = min(round(start), cells - 1)
            last = max(round(end), first + 1)
            drawn[first:last] = "█" * (last - first)
    return "".join(drawn).rstrip()


def _axis(duration: int, cells: int) -> str:
    """Return the times above the bars, as many as there is room for."""
    line = ""
    for tick in ticks_of(duration, most=max(cells // _TICK, 3)):
        at, text = int(tick / max(duration, 1) * cells), tick_text(tick)
        if (not line or at > len(line)) and at + len(text) <= cells:
            line = f"{line:<{at}}{text}"
    return line


def _fit(text: str, width: int) -> str:
    """Bring a name to a width: its end says more than its beginning."""
    indent = len(text) - len(text.lstrip())
    while cell_len(text) > width:
        text = f"{text[:indent]}…{text[indent:].removeprefix('…')[1:]}"
    return text + " " * (width - cell_len(text))
