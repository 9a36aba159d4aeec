"""Orders candidates: by the model where there is one and it can, else as they were found; then by the boosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from recsvc.recommend.asked import Degradation, Flaw, RankedBy
from recsvc.recommend.asking import in_time
from recsvc.recommend.boosts import boosted
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.item_rows import ItemRows
from recsvc.recommend.merge import Merged
from recsvc.recommend.ranking.card import Floats
from recsvc.recommend.ranking.guard import GuardedRanker, Ranking
from recsvc.recommend.ranking.matrix import matrix
from recsvc.recommend.ranking.ranker import best_first
from recsvc.recommend.slate_rules import Ranked
from recsvc.recommend.surroundings import Surroundings
from recsvc.registry.placement import Boost, Placement

QUICK_CELLS: Final = 50_000
"""Of a matrix that a quick ranker gets on the event loop: of 1,000 candidates with 50 features, say."""
NO_ROWS = np.zeros(0, np.bool_)


class Ordered(NamedTuple):
    """Candidates in order.

    ``ranked`` has for each the score of its position, by which the slate is composed; ``scores`` its own. ``rows`` are
    those of ``merged``, ``boosted`` says which a boost moved; both in that order.
    """

    ranked: Ranked
    scores: npt.NDArray[np.floating]
    merged: Merged
    rows: npt.NDArray[np.intp]
    boosted: npt.NDArray[np.bool_]
    by: RankedBy


class Ordering:
    """Orders by the placement's model. ``service``: its features in order; ``flaw`` is told what fails."""

    def __init__(
        self,
        placement: Placement,
        ranker: GuardedRanker | None,
        service: Sequence[str],
        around: Surroundings,
        flaw: Callable[[Degradation], None],
    ) -> None:
        self._placement = placement
        self._name = placement.ranker
        self._ranker = ranker
        self._service = tuple(service)
        self._around = around
        self._flaw = flaw
        self._given: Floats | None = None

    def __repr__(self) -> str:
        return f"Ordering({self._name!r}, {len(self._service)} features)"

    @property
    def model_version(self) -> str:
        """NAME@VERSION of the model; empty where there is none."""
        return "" if self._ranker is None else f"{self._ranker.inner.name}@{self._ranker.inner.version}"

    async def order(self, merged: Merged, rows: ItemRows, until: float, *, unknown: bool) -> Ordered:
        """Order candidates whose features ``rows`` has. ``unknown``: nobody knows the user, so many a model cannot."""
        found = np.arange(len(merged.places))
        by = RankedBy.RETRIEVAL_ORDER if len(found) else RankedBy.POPULARITY
        as_found = Ordered(Ranked(merged.places, merged.scores), merged.scores, merged, found, NO_ROWS, by)
        if self._name is None or not len(found):
            return as_found
        if self._ranker is None or not self._service:
            if self._ranker is None or not unknown:
                self._flaw(Degradation(Flaw.RANKER_FAILED, source=self._name))
            return as_found
        given = matrix([column for _, column in rows.columns(self._service, merged.places)], len(found))
        scores = await self._scores(self._ranker, given, until)
        if scores is None:
            self._flaw(Degradation(Flaw.RANKER_FAILED, source=self._name))
            return as_found
        self._given = given
        order = best_first(scores)
        ranked = Ranked(merged.places[order], scores[order])
        return Ordered(ranked, ranked.scores, merged, order, NO_ROWS, RankedBy.MODEL)

    async def _scores(self, ranker: GuardedRanker, given: Floats, until: float) -> Floats | None:
        """Ask the model, in a thread unless it is quick; None where it fails, or is not done in its time."""
        around, name = self._around, ranker.inner.name
        rank = partial(ranker.rank, given, self._service)
        found: Ranking | Flaw
        if ranker.inner.is_quick and given.size <= QUICK_CELLS:
            found = rank()
        else:
            left_s = min(self._placement.ranker_timeout.total_seconds(), until - around.clock())
            found = await in_time(around.executors.models, left_s, around.counters, name, rank)
        if found is Flaw.SOURCE_TIMED_OUT:
            found = Ranking(None, detail="no scores in its time")
        if isinstance(found, Flaw):  # which in_time has told
            return None
        if found.scores is None:
            around.counters.ranker_failed(name, found.detail)
        return found.scores

    def contributions(self) -> tuple[Floats | None, str]:
        """Return what each feature added to each candidate's score, by row as merged; or None, and why nobody knows."""
        if self._given is None or self._ranker is None:
            return None, ""
        name = self._ranker.inner.name
        found, detail = self._ranker.contributions(self._given, self._service)
        if detail:
            self._around.counters.ranker_failed(name, detail)
            return None, f"{name} failed to say"
        if found is None or found.values.shape[1] != len(self._service):
            return None, f"{name} has none that are exact"
        return found.values, ""


def boost(ordered: Ordered, boosts: Sequence[Boost], holds: Sequence[Mask]) -> Ordered:
    """Move candidates as the boosts say; ``holds`` bool[places of the catalogue]: which items each is for."""
    places = ordered.ranked.places
    by = np.zeros(len(places), np.int64)
    for of, items in zip(boosts, holds, strict=True):
        by += of.positions * items[places]
    if not by.any():
        return ordered
    order = boosted(by)
    # A position keeps its score, so that the rules of the slate see the boosted order as they see any other.
    ranked = Ranked(places[order], ordered.ranked.scores)
    moved = by[order] > 0
    return Ordered(ranked, ordered.scores[order], ordered.merged, ordered.rows[order], moved, ordered.by)
