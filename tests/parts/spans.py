"""Spans as tests see them, wherever they were read from, and what must be true of every trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ROUNDING_NS = 1_000
"""Jaeger keeps microseconds."""


@dataclass(frozen=True)
class Seen:
    """A span. Ids are hex; times are ns since 1970; ``links`` are span ids."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    start: int
    end: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    links: Sequence[str] = ()
    error: bool = False

    @property
    def took_us(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1_000


@dataclass(frozen=True)
class Tree:
    """The spans of one trace that are one server's: ``root`` is its SERVER span."""

    spans: Sequence[Seen]
    root: Seen

    @classmethod
    def of(cls, spans: Iterable[Seen], method: str) -> Tree:
        """Return the tree of the one call of ``method`` among the spans of a trace."""
        found = list(spans)
        (root,) = [span for span in found if span.kind == "SERVER" and span.name.endswith(method)]
        return cls(found, root)

    def under(self, span: Seen) -> list[Seen]:
        """Return the children of a span, in the order in which they began."""
        return sorted((s for s in self.spans if s.parent == span.id), key=lambda s: (s.start, s.end))

    def names(self, span: Seen | None = None) -> list[str]:
        """Return the names of the children of a span, or of the root."""
        return [child.name for child in self.under(span or self.root)]

    def all(self, name: str) -> list[Seen]:
        """Return all spans of a name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Seen:
        """Return the one span of a name."""
        (found,) = self.all(name)
        return found

    def check(self) -> None:
        """Fail unless every span hangs on the root, ends after it began, and lies within its parent."""
        by_id = {span.id: span for span in self.spans}
        assert len(by_id) == len(self.spans)
        for span in self.spans:
            assert span.trace == self.root.trace
            assert span.start <= span.end, span
            if span is self.root or span.parent == self.root.parent:
                continue
            parent = by_id[span.parent]
            assert parent.start - ROUNDING_NS <= span.start, (parent, span)
            assert span.end <= parent.end + ROUNDING_NS, (parent, span)

    def coverage(self) -> tuple[float, float]:
        """Return which share of the root its children cover, and the longest gap in µs."""
        at, covered, gap = self.root.start, 0, 0
        for child in self.under(self.root):
            gap = max(gap, child.start - at)
            covered += max(0, child.end - max(at, child.start))
            at = max(at, child.end)
        gap = max(gap, self.root.end - at)
        return covered / max(1, self.root.end - self.root.start), gap / 1_000
