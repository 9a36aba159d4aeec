"""What a caller of Recommend asks, checked, and what it is told; the seam to rpc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from recsvc.online.answer import Column, Degraded, ServedView
from recsvc.recommend.experiments import Assignment
from recsvc.recommend.merge import Origin
from recsvc.recommend.slate_rules import Rule
from recsvc.registry.conditions import Condition
from recsvc.registry.placement import Placement


class Explain(IntEnum):
    """How much a slate says about itself."""

    NONE = 1
    REASONS = 2
    DIAGNOSTICS = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. ``user`` None: anonymous. ``features``: references, as asked for, to return of the items.

    ``filters`` are checked and normal. ``context`` has one value per field. ``page_token`` empty: the first page.
    """

    placement: Placement
    limit: int
    user: str | None = None
    filters: tuple[Condition, ...] = ()
    exclude: Sequence[str] = ()
    seeds: Sequence[str] = ()
    features: tuple[str, ...] = ()
    context: Mapping[str, Column] = field(default_factory=dict)
    explain: Explain = Explain.NONE
    unit: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    page_token: str = ""
    max_staleness_s: float | None = None


class ReasonCode(IntEnum):
    """Why an item is in a slate. The numbers are those of the contract."""

    SIMILAR_TO_TASTE = 1
    SIMILAR_TO_SEED = 2
    SIMILAR_TO_RECENT = 3
    POPULAR = 4
    NEW = 5
    PINNED = 6
    FILLED = 7
    BOOSTED = 8


class Reason(NamedTuple):
    """A reason with what it speaks of."""

    code: ReasonCode
    item: str = ""
    category: str = ""


class RankedBy(IntEnum):
    """What ordered a slate. The numbers are those of the contract."""

    MODEL = 1
    RETRIEVAL_ORDER = 2
    POPULARITY = 3


class Flaw(IntEnum):
    """What did not work, beside what reads of features tell. The numbers are those of the contract."""

    METADATA_STALE = 6
    SOURCE_FAILED = 7
    SOURCE_TIMED_OUT = 8
    INDEX_MISSING = 9
    RANKER_FAILED = 10
    CANDIDATES_REDUCED = 11


class Degradation(NamedTuple):
    """One thing that did not work: ``view`` or ``source`` (a part of the placement) is the one concerned."""

    reason: Degraded | Flaw
    view: str = ""
    source: str = ""
    age_micros: int = 0
    factor: float = 0.0


class SlateItem(NamedTuple):
    """An item. ``rank`` counts from 1 over all pages; ``score`` is NaN where it was not ranked."""

    id: str
    rank: int
    score: float
    origins: Sequence[Origin] = ()
    reasons: Sequence[Reason] = ()
    merged_score: float = 0.0
    contributions: Sequence[tuple[str, float]] = ()
    title: str = ""


@dataclass(slots=True)
class Diagnostics:
    """How a slate came about."""

    drops: list[tuple[str, int]] = field(default_factory=list)
    passed: int = 0
    candidates: dict[str, int] = field(default_factory=dict)
    no_contributions: str = ""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A slate, and how it was made. ``columns``: what was asked of the items, a value for each, or one for all.

    ``ranked_columns``: what ranked them, likewise, where somebody keeps impressions.
    """

    id: UUID
    session: UUID
    items: Sequence[SlateItem]
    columns: Sequence[tuple[str, Column]]
    assignments: Sequence[Assignment]
    model_version: str
    ranked_by: RankedBy
    registry_fingerprint: str
    index_versions: Mapping[str, str]
    degraded: Sequence[Degradation]
    relaxed: frozenset[Rule]
    next_page_token: str
    diagnostics: Diagnostics
    views: Sequence[ServedView]
    ranked_columns: Sequence[tuple[str, Column]] = ()
