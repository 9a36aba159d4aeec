"""A trace as a picture: one self-contained SVG with a row for each span, the same for the same trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from xml.sax.saxutils import escape

from recsvc.inspect.trace_layout import Row, bars_of, rows_of, tick_text, ticks_of, time_text
from recsvc.inspect.trace_spans import Span
from recsvc.inspect.trace_tree import Tree

WIDTH: Final = 1000
_ROW: Final = 22
_BAR: Final = 12
_EDGE: Final = 16
_HEAD: Final = 96
"""Height above the first row: title, facts, colours and the axis."""
_LEFT: Final = 360
"""Where the time axis begins: names stand before it."""
_RIGHT: Final = WIDTH - 84
"""Where it ends: the text of a bar that ends here stands behind it."""
_FONT: Final = 12
_CHARACTER: Final = 7.25
"""Width of a monospaced character of this size; generous, because fonts differ."""
_INDENT: Final = 12
_DEEPEST: Final = 12
_LEAST: Final = 1.5
"""Width of a bar that can be seen."""
_EVENTS: Final = 50
_COLOURS: Final = ("#0969da", "#1a7f37", "#bc4c00", "#8250df", "#bf8700", "#bf3989", "#0a7ea4", "#57606a")
_ERROR: Final = "#cf222e"
_TEXT: Final = "#1f2328"
_FAINT: Final = "#59636e"
_LINE: Final = "#d1d9e0"
_ERROR_LINE: Final = f'stroke="{_ERROR}" stroke-width="2"'
_SQUARE: Final = 'width="10" height="10" rx="2"'
_DOT: Final = f'r="3" fill="#ffffff" stroke="{_TEXT}"'


def svg_of(tree: Tree, *, title_of: Callable[[Span], str] = lambda span: span.name) -> str:
    """Return the picture, WIDTH wide and as high as it has rows; ``title_of`` names a row."""
    rows, left_out = rows_of(tree)
    kinds = _kinds(tree, rows)
    colours = {kind: _COLOURS[number % len(_COLOURS)] for number, kind in enumerate(dict.fromkeys(kinds))}
    height = _HEAD + _ROW * (len(rows) + bool(left_out)) + _EDGE
    parts = [*_frame(tree, height), *_head(tree, colours, title_of), *_axis(tree, height)]
    for number, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        parts += _row(row, _HEAD + _ROW * number, tree.duration, colours[kind], title_of)
    if left_out:
        parts.append(_text(_EDGE, _HEAD + _ROW * len(rows) + 15, f"… and {left_out:,} more spans", _FAINT))
    return "\n".join([*parts, "</svg>", ""])


def _frame(tree: Tree, height: int) -> Iterator[str]:
    """Yield the beginning, with a background of its own: pages may be white or dark."""
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' font-family="ui-monospace, monospace" font-size="{_FONT}" role="img">'
    )
    yield f"<title>{escape(f'trace {tree.trace_id}')}</title>"
    yield (
        f'<rect class="background" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6" fill="#ffffff"'
        f' stroke="{_LINE}"/>'
    )


def _head(tree: Tree, colours: Mapping[str, str], title_of: Callable[[Span], str]) -> Iterator[str]:
    began = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=tree.began)
    facts = [
        f"trace {tree.trace_id}",
        began.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC",
        time_text(tree.duration),
        f"{len(tree.spans):,} spans",
        ", ".join(tree.services),
    ]
    title = _cut_end(title_of(tree.spans[0].span), WIDTH - 2 * _EDGE)
    yield _text(_EDGE, 26, title, _TEXT, more=' font-weight="bold"')
    yield _text(_EDGE, 45, _cut_end(" · ".join(facts), WIDTH - 2 * _EDGE), _FAINT)
    yield from _legend(tree, colours)


def _legend(tree: Tree, colours: Mapping[str, str]) -> Iterator[str]:
    marks = {name: f'<rect class="legend" x="{{:.1f}}" y="54" {_SQUARE} fill="{c}"/>' for name, c in colours.items()}
    if any(placed.span.error for placed in tree.spans):
        marks["error"] = f'<rect class="legend" x="{{:.1f}}" y="54" {_SQUARE} fill="none" {_ERROR_LINE}/>'
    if any(placed.span.events for placed in tree.spans):
        marks["event"] = f'<g transform="translate({{:.1f}} 0)"><circle class="legend" cx="5" cy="59" {_DOT}/></g>'
    x = float(_EDGE)
    for name, mark in marks.items():
        end = x + 16 + _CHARACTER * len(name)
        if end > WIDTH - _EDGE:
            break
        yield mark.format(x)
        yield _text(x + 16, 63, name, _FAINT)
        x = end + 18


def _axis(tree: Tree, height: int) -> Iterator[str]:
    for tick in ticks_of(tree.duration):
        x = _x(tick / max(tree.duration, 1))
        yield (
            f'<line class="tick" x1="{x:.1f}" y1="{_HEAD - 6}" x2="{x:.1f}" y2="{height - _EDGE}" stroke="{_LINE}"/>'
        )
        yield _text(x, _HEAD - 10, tick_text(tick), _FAINT, more=' text-anchor="middle"')


def _row(row: Row, y: int, duration: int, colour: str, title_of: Callable[[Span], str]) -> Iterator[str]:
    several = f" ×{len(row.spans)}" if len(row.spans) > 1 else ""
    name = f"{row.first.name if several else title_of(row.first)}{several}"
    x = _EDGE + _INDENT * min(row.depth, _DEEPEST)
    yield '<g class="span">'
    yield f"<title>{escape(f'{name} · {row.first.service} · {row.first.kind} · {time_text(row.duration)}')}</title>"
    yield _text(x, y + 15, _cut_start(name, _LEFT - 10 - x), _TEXT)
    until = 0.0
    for bar in bars_of(row, duration, gap=1 / (_RIGHT - _LEFT)):
        width = max(_x(bar.end) - _x(bar.start), _LEAST)
        look = f" {_ERROR_LINE}" if bar.failed else ""
        start = min(_x(bar.start), _RIGHT - width)
        until = start + width
        yield (
            f'<rect class="bar" x="{start:.1f}" y="{y + 5}" width="{width:.1f}" height="{_BAR}" rx="1.5"'
            f' fill="{colour}"{look}/>'
        )
    for x_event in _events(row, duration):
        yield f'<circle class="event" cx="{x_event:.1f}" cy="{y + 5 + _BAR / 2:g}" {_DOT}/>'
    yield _text(until + 6, y + 15, time_text(row.duration), _ERROR if _failed(row) else _FAINT)
    yield "</g>"


def _events(row: Row, duration: int) -> list[float]:
    """Return where the events of a row are; those on one point are one."""
    found = {
        round(_x((placed.start + event.at - placed.span.start) / max(duration, 1)), 1)
        for placed in row.spans
        for event in placed.span.events
    }
    return sorted(min(max(x, _LEFT), _RIGHT) for x in found)[:_EVENTS]


def _failed(row: Row) -> bool:
    return any(placed.span.error for placed in row.spans)


def _kinds(tree: Tree, rows: Sequence[Row]) -> list[str]:
    """Return what the colour of each row stands for: its kind, and where there are several services, which one too."""
    if len(tree.services) == 1:
        return [row.first.kind for row in rows]
    return [f"{row.first.service} {row.first.kind}" for row in rows]


def _x(part: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * part


def _text(x: float, y: float, text: str, colour: str, *, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}"{more}>{escape(text)}</text>'


def _cut_start(text: str, width: float) -> str:
    """Shorten a name to a width: its end says more than its beginning."""
    room = int(width / _CHARACTER)
    return text if len(text) <= room else f"…{text[len(text) - room + 1 :]}"


def _cut_end(text: str, width: float) -> str:
    room = int(width / _CHARACTER)
    return text if len(text) <= room else f"{text[: room - 1]}…"
