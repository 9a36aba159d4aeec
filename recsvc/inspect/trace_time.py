"""Where the time of a trace went: each moment belongs to the innermost span that ran, or is shared between several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recsvc.inspect.trace_spans import Span
from recsvc.inspect.trace_tree import Tree


@dataclass(frozen=True, slots=True)
class Share:
    """The time of all spans of one name and service: ``micros`` while these ran, and none of their children.

    ``span`` is the first of them; ``parts``: whether one of them has children.
    """

    span: Span
    count: int
    micros: float
    parts: bool


def shares(tree: Tree) -> list[Share]:
    """Return the share of each name, the largest first. Together they are the time in which any span ran."""
    found: dict[tuple[str, str], Share] = {}
    outer = {placed.parent for placed in tree.spans}
    for index, (placed, micros) in enumerate(zip(tree.spans, own_times(tree), strict=True)):
        key = (placed.span.service, placed.span.name)
        before = found.get(key) or Share(placed.span, 0, 0.0, parts=False)
        parts = before.parts or index in outer
        found[key] = Share(before.span, before.count + 1, before.micros + micros, parts)
    return sorted(found.values(), key=lambda share: (-share.micros, share.span.service, share.span.name))


def own_times(tree: Tree) -> list[float]:
    """Return for each span in how many microseconds it ran and no child of it did; side by side: shared evenly."""
    sweep = _Sweep(tree)
    moments = [(at, index) for index, p in enumerate(tree.spans) if p.span.duration for at in (p.start, p.end)]
    for at, index in sorted(moments):
        sweep.turn(at, index)
    return sweep.own


class _Sweep:
    """Goes through a trace by time. ``credit`` is what one span had if it had run innermost since the beginning."""

    def __init__(self, tree: Tree) -> None:
        self._parents = [placed.parent for placed in tree.spans]
        self._runs = [False] * len(tree.spans)
        self._children = [0] * len(tree.spans)
        self._since = [0.0] * len(tree.spans)
        self._innermost = 0
        self._credit = 0.0
        self._at = 0
        self.own = [0.0] * len(tree.spans)

    def __repr__(self) -> str:
        return f"_Sweep(at {self._at} us, {self._innermost} innermost)"

    def turn(self, at: int, index: int) -> None:
        """Begin a span, or end one that runs."""
        if self._innermost:
            self._credit += (at - self._at) / self._innermost
        self._at = at
        begins = not self._runs[index]
        parent = self._parents[index]
        if begins:
            self._runs[index] = True
            if not self._children[index]:
                self._enter(index)
        else:
            if not self._children[index]:
                self._leave(index)
            self._runs[index] = False
        if parent is not None:
            self._count(parent, 1 if begins else -1)

    def _count(self, parent: int, change: int) -> None:
        was, now = self._children[parent], self._children[parent] + change
        self._children[parent] = now
        if self._runs[parent] and not was:
            self._leave(parent)
        elif self._runs[parent] and not now:
            self._enter(parent)

    def _enter(self, index: int) -> None:
        self._since[index] = self._credit
        self._innermost += 1

    def _leave(self, index: int) -> None:
        self.own[index] += self._credit - self._since[index]
        self._innermost -= 1


def covered(intervals: Iterable[tuple[int, int]]) -> int:
    """Return how long at least one of these (start, end) was."""
    total, until = 0, None
    for start, end in sorted(intervals):
        total += max(end - (start if until is None else max(start, until)), 0)
        until = end if until is None else max(until, end)
    return total
