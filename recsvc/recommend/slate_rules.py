"""What a slate is made by: pins, a cap per category, quotas of sources, variety; and what came of it. Plain data.

Order of force: the mask, filling to the limit, pins, cap, quotas, variety. Where two cannot both be kept the weaker
gives way, and `Slate.relaxed` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rule(StrEnum):
    """A rule of a placement that can give way, strongest first."""

    PINS = "PINS"
    """A pin does not stand where it should: it may not be shown, its place is taken, or the slate ends before."""
    CAPS = "CAPS"
    """A category has more items than the cap allows: by pins, or because nothing else was left to fill with."""
    QUOTAS = "QUOTAS"
    """A source has fewer items than its quota."""
    DIVERSITY = "DIVERSITY"
    """An item other than a pin stands where marginal relevance was not asked, or was overruled by a quota."""


class Standing(IntEnum):
    """How an item came to its position."""

    RANKED = 0
    PINNED = 1
    FILLED = 2


class Ranked(NamedTuple):
    """Candidates after ranking, best first: places int64[m], scores float[m]."""

    places: NDArray[np.int64]
    scores: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class CategoryCap:
    """At most ``most`` items of each category.

    ``codes`` int[n]: the category of every item by place, from 0 to below ``categories``, -1 for none (never capped).
    """

    codes: NDArray[np.integer]
    categories: int
    most: int


@dataclass(frozen=True, slots=True)
class SourceQuota:
    """At least ``least`` items from ``source``; ``given`` bool[m] tells which of the ranked ones it gave."""

    source: str
    least: int
    given: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Variety:
    """Maximal marginal relevance: ``weight`` 0 is relevance alone, 1 difference alone.

    ``vectors`` float32[m, d]: the embeddings of the ranked items; a row of zeros or with a NaN means none.
    """

    weight: float
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one page. ``pins``: place → position from 1, for the first page only; of two at one the first."""

    pins: Mapping[int, int] = field(default_factory=dict)
    cap: CategoryCap | None = None
    quotas: Sequence[SourceQuota] = ()
    variety: Variety | None = None


@dataclass(frozen=True, slots=True)
class Slate:
    """Items in the order of their positions, k = the limit or all that may be shown.

    ``places`` int64[k]; ``scores`` float64[k], NaN where an item was not ranked; ``rows`` int64[k]: rows of the ranked
    candidates, -1 where an item is none of them; ``standings`` int8[k], of `Standing`.
    """

    places: NDArray[np.int64]
    scores: NDArray[np.float64]
    rows: NDArray[np.int64]
    standings: NDArray[np.int8]
    relaxed: frozenset[Rule]
