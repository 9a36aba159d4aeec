"""What all requests for slates share, and what each of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from recsvc.recommend.asked import Asked
from recsvc.recommend.asking import Executors
from recsvc.recommend.experiments import Assigned
from recsvc.recommend.impressions import Impression
from recsvc.recommend.page_token import Page, PagedRequest, PageTokens
from recsvc.recommend.quality_factor import QualityFactor
from recsvc.recommend.ranking.guard import GuardedRanker
from recsvc.recommend.snapshot import Snapshot
from recsvc.telemetry.counters import Counters


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the pipeline gets from outside: two clocks, randomness, threads for searches and models, counters."""

    now_micros: Callable[[], int]
    clock: Callable[[], float]
    random: Random
    executors: Executors
    counters: Counters


class Call(NamedTuple):
    """What a call asks, which page it wants, and which variants answer it."""

    asked: Asked
    paged: PagedRequest
    page: Page | None
    assigned: Assigned


class Shared(Protocol):
    """What all requests share; Recommender is one."""

    around: Surroundings
    tokens: PageTokens
    rankers: Mapping[str, GuardedRanker]
    impressions: Callable[[Impression], object] | None

    def quality(self, placement: str) -> QualityFactor:
        """Return the part of its candidates that a placement ranks now."""
        ...

    def snapshot(self, catalogue: str) -> Snapshot:
        """Return what a request sees of a catalogue and its indexes."""
        ...
