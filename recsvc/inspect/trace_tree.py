"""Spans to a tree with times that fit each other: from where each is, in order, and when it ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recsvc.inspect.trace_spans import Span, Trace

SERVER: Final = "server"


@dataclass(frozen=True, slots=True)
class Placed:
    """A span in its tree: ``start`` is microseconds after the trace began, ``parent`` a place in ``Tree.spans``."""

    span: Span
    parent: int | None
    depth: int
    start: int

    @property
    def end(self) -> int:
        """When it ended, in microseconds after the trace began."""
        return self.start + self.span.duration


@dataclass(frozen=True, slots=True)
class Tree:
    """All spans of a trace: parents before their children, siblings by start. ``began`` and ``duration`` are µs.

    ``shifted``: by how much the clock of a service was moved, where it had calls begin before they were made.
    """

    trace_id: str
    began: int
    duration: int
    spans: tuple[Placed, ...]
    shifted: Mapping[str, int]

    @property
    def services(self) -> tuple[str, ...]:
        """Return the services, in order of appearance."""
        return tuple(dict.fromkeys(placed.span.service for placed in self.spans))


def tree_of(trace: Trace) -> Tree:
    """Return the tree of a trace. A span is a root where its parent is not there, or is below it."""
    spans = trace.spans
    parents = _parents(spans)
    children: dict[int | None, list[int]] = {}
    for index, parent in enumerate(parents):
        children.setdefault(parent, []).append(index)
    shifts = _shifts(spans, parents, children)
    began = min(span.start + shift for span, shift in zip(spans, shifts, strict=True))
    placed: list[Placed] = []
    for index, parent, depth in _in_order(spans, children, shifts):
        placed.append(Placed(spans[index], parent, depth, spans[index].start + shifts[index] - began))
    shifted = {spans[i].service: shift for i, shift in sorted(enumerate(shifts), reverse=True) if shift}
    return Tree(trace.id, began, max(p.end for p in placed), tuple(placed), shifted)


def _parents(spans: Sequence[Span]) -> list[int | None]:
    """Return the place of each one's parent; where they go round in a circle, the earliest of it has none."""
    places: dict[str, int] = {}
    for index, span in enumerate(spans):
        places.setdefault(span.id, index)
    parents = [None if span.parent is None else places.get(span.parent) for span in spans]
    checked: set[int] = set()
    for index in range(len(spans)):
        path: dict[int, None] = {}
        at: int | None = index
        while at is not None and at not in checked and at not in path:
            path[at] = None
            at = parents[at]
        if at is not None and at in path:
            way = list(path)
            circle = way[way.index(at) :]
            parents[min(circle, key=lambda i: (spans[i].start, spans[i].id))] = None
        checked.update(path)
    return parents


def _shifts(
    spans: Sequence[Span], parents: Sequence[int | None], children: Mapping[int | None, Sequence[int]]
) -> list[int]:
    """Return what to add to each start, so that no server begins a call before its client of another service does.

    Other differences of clocks do not show for certain: a server may well end after a client that no longer waits.
    """
    shifts = [0] * len(spans)
    left = list(children.get(None, ()))
    while left:
        index = left.pop()
        left += children.get(index, ())
        parent = parents[index]
        if parent is None:
            continue
        span, outer = spans[index], spans[parent]
        if span.service == outer.service:
            shifts[index] = shifts[parent]
        elif span.kind == SERVER:
            early = outer.start + shifts[parent] - span.start
            shifts[index] = early + max(outer.duration - span.duration, 0) // 2 if early > 0 else 0
    return shifts


def _in_order(
    spans: Sequence[Span], children: Mapping[int | None, Sequence[int]], shifts: Sequence[int]
) -> Iterator[tuple[int, int | None, int]]:
    """Yield place, the parent's number among those yielded, and depth."""

    def by_start(index: int) -> tuple[int, int, str, str]:
        span = spans[index]
        return (-span.start - shifts[index], span.duration, span.name, span.id)

    # Sorted backwards, because the last of the stack comes first.
    stack: list[tuple[int, int | None, int]] = [(i, None, 0) for i in sorted(children.get(None, ()), key=by_start)]
    number = 0
    while stack:
        index, parent, depth = stack.pop()
        yield index, parent, depth
        stack += [(child, number, depth + 1) for child in sorted(children.get(index, ()), key=by_start)]
        number += 1
