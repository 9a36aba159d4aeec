"""What happens again and again, thousands of times a second in the worst case, and is to be a few log lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

THINGS_KEPT: Final = 1_000
"""From so many on, those that were told longer ago are forgotten: servers of a cluster get new addresses for ever."""


class Repeats:
    """Says when something is to be logged: when it happens first, and then at most once in ``interval_s``."""

    def __init__(self, monotonic: Callable[[], float], interval_s: float) -> None:
        self._monotonic = monotonic
        self._interval_s = interval_s
        self._counts: dict[tuple[str, ...], int] = {}
        self._told: dict[tuple[str, ...], float] = {}

    def __repr__(self) -> str:
        return f"Repeats({len(self._counts)} things, each at most every {self._interval_s:g} s)"

    def due(self, *thing: str) -> int:
        """Count that ``thing`` happened; returns how often so far where it is to be logged now, else 0."""
        now = self._monotonic()
        if len(self._counts) >= THINGS_KEPT and thing not in self._counts:
            self._told = {one: at for one, at in self._told.items() if now - at < self._interval_s}
            self._counts = {one: self._counts[one] for one in self._told}
        count = self._counts[thing] = self._counts.get(thing, 0) + 1
        if thing in self._told and now - self._told[thing] < self._interval_s:
            return 0
        self._told[thing] = now
        return count
