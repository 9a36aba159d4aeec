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
    """At a pass rate of ``rate`` or more, lists with ``share`` of all survivors are probed, nearest first.

    ``far``: the share where what passes lies farther from the query than what does not. All are in (0, 1].
    """

    rate: float
    share: float
    far: float


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans searches of one index.

    * ``gather_at_most``: up to so many survivors, scoring them one by one is cheaper than probing, and exact.
    * ``depth``: the ``k`` that the shares were fitted for; a deeper search probes in proportion.
    * ``steps``: by falling rate, the first at 1.
    """

    gather_at_most: int
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
        if self.gather_at_most < 0 or self.depth < 1:
            return "gather_at_most must be at least 0 and depth at least 1"
        return None

    def gathers(self, passing: int) -> bool:
        """Whether to score so many survivors one by one."""
        return passing <= self.gather_at_most

    def step(self, passing: int, count: int, k: int) -> Step:
        """Return what has to be looked at of ``passing`` survivors among ``count``, for the best ``k`` of them.

        Between two fitted rates the one below counts; below the last nothing is known, so all are looked at. It is
        never fewer than twice what is wanted: an answer that comes back short costs an exact search.
        """
        rate = passing / count
        fitted = next((step for step in self.steps if step.rate <= rate), Step(rate, 1.0, 1.0))
        deeper, least = max(1.0, k / self.depth), _SPARE * k / passing
        return Step(rate, min(1.0, max(least, fitted.share * deeper)), min(1.0, max(least, fitted.far * deeper)))
