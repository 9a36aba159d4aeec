"""Makes slates of placements: reads what belongs to a page, assigns variants, and starts a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from recsvc.online.features import FeatureReader
from recsvc.recommend.asked import (
    Asked,
    Recommendation,
)
from recsvc.recommend.experiments import assign
from recsvc.recommend.impressions import Impression, ShownItem
from recsvc.recommend.mirror import CatalogueMirror
from recsvc.recommend.page_token import PagedRequest, PageTokens
from recsvc.recommend.quality_factor import QualityFactor
from recsvc.recommend.ranking.guard import GuardedRanker
from recsvc.recommend.run import Run
from recsvc.recommend.snapshot import Indexes, Snapshot
from recsvc.recommend.surroundings import Call, Surroundings
from recsvc.recommend.turns import Turn, Turns
from recsvc.telemetry import hop, names
from recsvc.telemetry.series import Point

TARGET_S: Final = 0.05
"""How long a slate may take."""
WAITING_SHARE: Final = 0.8
"""Of the time to a call's deadline, what reads, sources and the model may take; the rest is for composing the slate."""
PATIENCE: Final = 0.5
"""Of the time that a slate may take: who waits longer for its turn does not search any more."""


class Recommender:
    """Makes slates of the placements of one registry."""

    def __init__(  # noqa: PLR0913  # what it works with, from outside
        self,
        mirrors: Mapping[str, CatalogueMirror],
        indexes: Indexes,
        rankers: Mapping[str, GuardedRanker],
        tokens: PageTokens,
        around: Surroundings,
        *,
        target_s: float = TARGET_S,
        impressions: Callable[[Impression], object] | None = None,
    ) -> None:
        """Make slates within ``target_s``; ``impressions`` takes what was shown, None: nobody keeps it."""
        self.around = around
        self.tokens = tokens
        self.impressions = impressions
        self.rankers = rankers
        self._mirrors = mirrors
        self._indexes = indexes
        self._quality = defaultdict[str, QualityFactor](partial(QualityFactor, target_s))
        self._turns = defaultdict[str, Turns](partial(Turns, PATIENCE * target_s))

    def factors(self) -> list[Point]:
        """Return the quality factor of each placement, for metrics."""
        return [((name,), quality.value) for name, quality in self._quality.copy().items()]

    def __repr__(self) -> str:
        return f"Recommender({list(self._mirrors.values())}, {self._indexes!r}, {list(self.rankers)})"

    async def recommend(self, asked: Asked, reader: FeatureReader, came: float, until: float) -> Recommendation:
        """Return a slate by ``until``; both are times of the chain's clock. Raises RequestError and LimitError."""
        paged = _paged(asked)
        page = None
        if asked.page_token:
            page = self.tokens.decode(asked.page_token, paged, now_s=self.around.now_micros() / 1e6)
        kept = () if page is None else page.assignments
        unit = asked.user or asked.unit
        assigned = assign(asked.placement.experiments, unit, overrides=asked.overrides, kept=kept)
        waits_until = came + WAITING_SHARE * (until - came)
        name = assigned.placement or asked.placement.name
        turn = Turn(self._turns[name])
        quality, clock = self.quality(name), self.around.clock
        try:
            found = await Run(self, Call(asked, paged, page, assigned), reader, (came, waits_until), turn).slate()
        except BaseException:  # also the end of the call: gRPC cancels what is late for its caller
            quality.gave_up(clock() - came)
            raise
        quality.took(clock() - came)
        if (span := hop.sampled()) is not None:
            span.attributes |= {names.RECOMMENDATION: str(found.id), names.RANKED_BY: found.ranked_by.name}
        return found

    def shown(self, asked: Asked, found: Recommendation) -> None:
        """Keep the impression of a slate, once it is on its way: what failed before nobody has seen."""
        if self.impressions is not None:
            self.impressions(_impression(asked, found, self.around.now_micros()))

    def quality(self, placement: str) -> QualityFactor:
        """Return the part of its candidates that a placement ranks now."""
        return self._quality[placement]

    def snapshot(self, catalogue: str) -> Snapshot:
        """Return what a request sees of a catalogue and its indexes."""
        mirror = self._mirrors[catalogue]
        return self._indexes.snapshot(mirror.snapshot, mirror.age_s())


def _paged(asked: Asked) -> PagedRequest:
    others = {
        "exclude": frozenset(asked.exclude),
        "seeds": frozenset(asked.seeds),
        "overrides": dict(asked.overrides),
    }
    return PagedRequest(asked.placement.name, (asked.user, asked.unit), asked.filters, others)


def _impression(asked: Asked, found: Recommendation, now_micros: int) -> Impression:
    user = asked.placement.user
    return Impression(
        recommendation_id=found.id,
        session_id=found.session,
        time_micros=now_micros,
        placement=asked.placement.name,
        items=[ShownItem(i.id, i.rank, i.score, tuple(o.source for o in i.origins)) for i in found.items],
        user={} if user is None or asked.user is None else {user.join_key: asked.user},
        unit=asked.unit if asked.user is None else "",
        assignments=found.assignments,
        model_version=found.model_version,
        ranked_by=found.ranked_by.name,
        registry_fingerprint=found.registry_fingerprint,
        features=dict(found.ranked_columns),
    )
