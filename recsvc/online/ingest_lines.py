"""Which line of a CSV file each row begins on, though quoted cells have line breaks and malformed rows are missing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from recsvc.online.row import Int64Array


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that is in no batch. ``ordinal`` counts rows, the header is 1; ``breaks`` is its number of line breaks."""

    ordinal: int
    breaks: int
    reason: str


class LineCounter:
    """Knows the line that the next row begins on. Malformed rows are told before the batch that follows them."""

    def __init__(self, header_breaks: int = 0) -> None:
        self._ordinal = 2
        self._extra = header_breaks
        self._malformed: deque[Malformed] = deque()

    def __repr__(self) -> str:
        return f"LineCounter(line {self.next_line}, {len(self._malformed)} malformed rows waiting)"

    @property
    def next_line(self) -> int:
        """The line after the last batch."""
        return self._ordinal + self._extra

    def malformed(self, row: Malformed) -> None:
        """Take note of a row that will be in no batch."""
        self._malformed.append(row)

    def batch(self, rows: int, breaks: Int64Array | None) -> tuple[Int64Array, list[tuple[int, str]]]:
        """Return the lines of the next ``rows`` good rows, and (line, reason) of the malformed ones between them.

        ``breaks`` is how many line breaks the cells of each row hold; None: none does.
        """
        ordinals = self._good_ordinals(rows)
        end = int(ordinals[-1]) + 1 if rows else self._ordinal
        between = self._taken_until(end)
        lines = ordinals + self._extra
        bad_ordinals = np.array([m.ordinal for m in between], np.int64)
        bad_lines = bad_ordinals + self._extra
        if breaks is not None or any(m.breaks for m in between):
            own = np.zeros(rows, np.int64) if breaks is None else breaks
            before = _breaks_before(ordinals, own, bad_ordinals, [m.breaks for m in between])
            lines = lines + before[:rows]
            bad_lines = bad_lines + before[rows:]
            self._extra += int(own.sum()) + sum(m.breaks for m in between)
        self._ordinal = end
        return lines, [(int(line), m.reason) for line, m in zip(bad_lines, between, strict=True)]

    def rest(self) -> list[tuple[int, str]]:
        """Return (line, reason) of the malformed rows after the last batch."""
        found = []
        for row in self._malformed:
            found.append((row.ordinal + self._extra, row.reason))
            self._extra += row.breaks
        self._malformed.clear()
        return found

    def _good_ordinals(self, rows: int) -> Int64Array:
        """Count on from the last batch, leaving out the malformed rows."""
        plain = np.arange(self._ordinal, self._ordinal + rows, dtype=np.int64)
        if not self._malformed:
            return plain
        bad = np.array([m.ordinal for m in self._malformed], np.int64)
        # A good row is moved on by every malformed one before it: the k-th of those stands before good row bad[k] - k.
        return plain + np.searchsorted(bad - np.arange(len(bad)), plain, side="right")

    def _taken_until(self, end: int) -> list[Malformed]:
        taken = []
        while self._malformed and self._malformed[0].ordinal < end:
            taken.append(self._malformed.popleft())
        return taken


def _breaks_before(good: Int64Array, own: Int64Array, bad: Int64Array, bad_own: list[int]) -> Int64Array:
    """Return how many line breaks stand in the rows before each good one, then before each malformed one."""
    breaks = np.concatenate([own, np.array(bad_own, np.int64)])
    order = np.argsort(np.concatenate([good, bad]), kind="stable")
    before = np.empty_like(breaks)
    before[order] = np.cumsum(breaks[order]) - breaks[order]
    return before
