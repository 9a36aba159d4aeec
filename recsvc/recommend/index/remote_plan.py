"""Decides what another server is asked for a filtered search: all that may come, the nearest of them, or of all.

The costs are CPU of redis-server and of this process together, in µs, for 100,000 vectors of 64 components
(``python -m tests.bench.vectors``). Only their proportions count; a plan that is wrong by a factor costs time, no hits.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

FETCH: Final = 4.5
"""To fetch one vector and score it here."""
NAME: Final = 1.2
"""To name one vector that may come, and have it compared there."""
HIT: Final = 3.0
"""To find one more of the nearest of all, with a graph or without."""
SCAN: Final = 0.05
"""To compare one vector where there is no graph: the whole set in its order."""
CALL: Final = 300.0
"""To ask at all."""
SPARE: Final = 1.3
"""So many times what should be enough is asked for, since filters and distance are not independent."""
GROWTH: Final = 4
"""So many times more is asked for after that, at the most."""


class Way(Enum):
    """How candidates are had: ALL that pass, the nearest AMONG those, the NEAREST of all with those that pass kept."""

    ALL = auto()
    AMONG = auto()
    NEAREST = auto()


def way(enough: int, passing: int, count: int, k: int, *, graph: bool) -> Way:
    """Return the cheapest way to ``enough`` candidates of ``passing`` among ``count``, if ``k`` nearest have them.

    ``k`` above ``count``: those were asked for, and there were too few.
    """
    among = CALL + NAME * passing + FETCH * enough
    nearest = CALL + HIT * k + (0.0 if graph else SCAN * count) + FETCH * enough
    if enough == passing or FETCH * passing <= min(among, nearest):
        return Way.ALL
    return Way.NEAREST if k <= count and nearest <= among else Way.AMONG


def first_k(enough: int, passing: int, count: int) -> int:
    """Return of how many nearest enough will pass; no more than are sure to have them, if those are few."""
    if passing == count:
        return enough
    return min(count, int(SPARE * enough * count / passing) + 1, enough + count - passing)


def more_k(k: int, found: int, enough: int, count: int) -> int:
    """Return how many to ask for after ``k`` with only ``found`` that pass; more than ``count`` after all of them."""
    if k >= count:
        return count + 1
    return min(count, max(2 * k, min(GROWTH * k, int(SPARE * k * enough / max(found, 1)))))
