"""Decides how a filtered search is done: gather the survivors and score them, or probe lists; and how many lists.

Nothing here is a constant of nature: thresholds and shares are fitted to each index when it is built (see ``fit``), and
kept in its manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SPARE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """At a pass rate of ``rate`` or more, lists with ``share`` of the best are probed.

    It is the share by the estimate of ``lists``, which is fitted so that what is truly found suffices. ``far``: the
    share where what passes lies far from the query, and the estimate is at its worst. All are in (0, 1].
    """

    rate: float
    share: float
    far: float


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans searches of one index.

    * ``gather_at_most``: up to so many survivors, scoring them one by one is cheaper than probing, and exact.
    * ``counted`` and ``depth``: shares were fitted for the best ``counted`` of ``depth`` that are asked for.
    * ``steps``: by falling rate, the first at 1.
    """

    gather_at_most: int
    counted: int
    depth: int
    steps: Sequence[Step]

    def problem(self) -> str | None:
        """Say what is wrong with the numbers, or None."""
        numbers = [number for step in self.steps for number in (step.rate, step.share, step.far)]
        rates = [step.rate for step in self.steps]
        if not all(0.0 < number <= 1.0 for number in numbers):
            return "rates and shares must be more than 0 and at most 1"
        if rates[:1] != [1.0] or sorted(set(rates), reverse=True) != rates:
            return "rates must fall from 1"
        if self.gather_at_most < 0 or not 1 <= self.counted <= self.depth:
            return "gather_at_most must be at least 0, counted at least 1 and at most depth"
        return None

    def gathers(self, passing: int) -> bool:
        """Whether to score so many survivors one by one."""
        return passing <= self.gather_at_most

    def step(self, passing: int, count: int) -> Step:
        """Return the step for ``passing`` survivors of ``count``.

        Between two fitted rates the one below counts; below the last nothing is known, so all are looked at.
        """
        rate = passing / count
        return next((step for step in self.steps if step.rate <= rate), Step(rate, 1.0, 1.0))

    def best(self, k: int) -> float:
        """Return how many are the best of ``k``: all of few, of many the part that shares were fitted for."""
        return float(min(k, max(self.counted, k * self.counted / self.depth)))

    @staticmethod
    def least(k: int) -> int:
        """Return how many survivors lists must hold where ``k`` are asked for: a short answer costs an exact search."""
        return int(_SPARE * k)
