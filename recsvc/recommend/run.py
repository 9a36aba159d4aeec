"""One request for a slate on its way: mask, candidate sources, merge, features of the candidates, rank, compose."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Request, ServedView
from recsvc.online.features import FeatureReader
from recsvc.recommend.asked import (
    Asked,
    Degradation,
    Diagnostics,
    Explain,
    Flaw,
    RankedBy,
    Reason,
    Recommendation,
    SlateItem,
)
from recsvc.recommend.asking import ask_all
from recsvc.recommend.candidates import Found, Query
from recsvc.recommend.catalogue import UNKNOWN
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.experiments import Assigned
from recsvc.recommend.explaining import Explainer, is_sensitive
from recsvc.recommend.filling import most_popular
from recsvc.recommend.item_hashes import hashes
from recsvc.recommend.item_rows import ItemRows
from recsvc.recommend.masking import Masking
from recsvc.recommend.merge import Merged, Share, fuse
from recsvc.recommend.page_token import Page, PagedRequest, returned_hashes
from recsvc.recommend.quality_factor import TOLD
from recsvc.recommend.ranking.card import Floats
from recsvc.recommend.ranking.guard import GuardedRanker, Ranking
from recsvc.recommend.ranking.matrix import matrix
from recsvc.recommend.ranking.ranker import best_first
from recsvc.recommend.slate import compose
from recsvc.recommend.slate_rules import CategoryCap, Ranked, Rule, Rules, Slate, SourceQuota, Variety
from recsvc.recommend.surroundings import Shared
from recsvc.recommend.user_facts import UserFacts, references
from recsvc.recommend.uuid7 import RANDOM_BITS, uuid7
from recsvc.registry.placement import Nearest, SimilarToRecent, SimilarToSeeds, WhenStale
from recsvc.registry.registry import Registry

FRESH_S: Final = 5.0
"""Metadata of items that is older than this is told to be stale."""
FILL: Final = 500
"""How many items are looked at at once to fill a slate."""
FILL_ROUNDS: Final = 20
CAP_ROUNDS: Final = 2
"""How often more items are looked at before a cap gives way: pins may be over it for good."""


class Call(NamedTuple):
    """What a call asks, which page it wants, and which variants answer it."""

    asked: Asked
    paged: PagedRequest
    page: Page | None
    assigned: Assigned


class _Ordered(NamedTuple):
    """Candidates in order, the rows of ``merged`` in that order, and what ordered them."""

    ranked: Ranked
    merged: Merged
    rows: npt.NDArray[np.intp]
    by: RankedBy


class Run:
    """One request on its way. ``times``: when it came, and by when it must be answered."""

    def __init__(self, of: Shared, call: Call, reader: FeatureReader, times: tuple[float, float]) -> None:
        self._of = of
        self._asked, self._paged, self._page, assigned = call
        self._assigned = assigned
        self._reader = reader
        asked, page = self._asked, self._page
        self._came, self._until = times
        registry = reader.registry
        self._placement = registry.placements[assigned.placement] if assigned.placement else asked.placement
        self._definition = registry.catalogues[self._placement.catalogue]
        self._snapshot = of.snapshot(self._placement.catalogue)
        self._masking = Masking(self._snapshot.catalogue)
        self._seed = of.around.random.getrandbits(64) if page is None else page.seed
        self._now_micros = of.around.now_micros()
        self._degraded: dict[Degradation, None] = {}
        self._rows = ItemRows()
        self._user_views: list[ServedView] = []
        self._diagnostics = Diagnostics()
        self._service: tuple[str, ...] = ()
        self._contributions: Floats | None = None

    def __repr__(self) -> str:
        return f"Run({self._placement.name!r}, {self._masking!r})"

    async def slate(self) -> Recommendation:
        """Make the slate."""
        self._judge_age()
        facts = await self._facts()
        query = await self._mask(facts)
        around = self._of.around
        left_s = self._until - around.clock()
        found, failed = await ask_all(self._placement.sources, query, around.executors, left_s, around.counters)
        self._degraded.update(dict.fromkeys(failed))
        self._diagnostics.candidates = {f.candidates.source: len(f.candidates.places) for f in found}
        merged = self._merge(found)
        pins = self._pins()
        filler = self._filler(merged, pins)
        await self._read(np.concatenate([merged.places, self._passing(pins), filler]))
        ordered = await self._rank(merged)
        slate = self._compose(ordered, pins, filler)
        rounds = 0
        while (len(slate.places) < self._asked.limit) or (Rule.CAPS in slate.relaxed and rounds < CAP_ROUNDS):
            more = self._more_filler(merged, filler)
            if more is None:
                break
            rounds += 1
            await self._read(more)
            filler = np.concatenate([filler, more])
            slate = self._compose(ordered, pins, filler)
        return self._reply(slate, ordered, found)

    def _judge_age(self) -> None:
        age_s, placement = self._snapshot.age_s, self._placement
        if age_s is not None and age_s <= FRESH_S:
            return
        micros = 0 if age_s is None else round(age_s * 1e6)
        self._flaw(Degradation(Flaw.METADATA_STALE, source=placement.catalogue, age_micros=micros))
        too_old = age_s is None or age_s > placement.stale_after.total_seconds()
        if too_old and placement.when_stale is WhenStale.LEAVE_OUT:
            everything = np.arange(len(self._snapshot.catalogue))
            self._masking.exclude("stale", everything)

    def _flaw(self, flaw: Degradation) -> None:
        self._degraded[flaw] = None

    async def _facts(self) -> UserFacts:
        """Read what is known of the user."""
        named, placement = references(self._placement), self._placement
        if not named or placement.user is None or self._asked.user is None:
            return UserFacts(None)
        ids = {placement.user.join_key: [self._asked.user]}
        request = Request(1, ids, {}, self._asked.max_staleness_s)
        answer = await self._reader.read(self._reader.registry.plan(named), request, self._came, self._until)
        for reason, view in answer.degraded:
            self._flaw(Degradation(reason, view=view))
        self._user_views = [ServedView(view.name, view.version, view.event_micros[:0]) for view in answer.views]
        return UserFacts(answer)

    async def _mask(self, facts: UserFacts) -> Query:
        """Say which items may come, and what sources go by."""
        asked, masking, catalogue = self._asked, self._masking, self._snapshot.catalogue
        masking.filter(self._placement.filters, asked.filters, count=asked.explain is Explain.DIAGNOSTICS)
        seeds = catalogue.places(asked.seeds)
        masking.exclude("excluded", catalogue.places(asked.exclude))
        masking.exclude("seeds", seeds)
        if not self._placement.allow_seen:
            masking.exclude("seen", catalogue.places(facts.all_items(self._placement.seen)))
        if self._page is not None:
            masking.exclude("earlier_pages", await self._of.places_of_hashes(self._snapshot, self._page.returned))
        return Query(
            snapshot=self._snapshot,
            mask=masking.mask,
            facts=facts,
            seeds=seeds[seeds != UNKNOWN],
            seed=self._seed,
            now_micros=self._now_micros,
            created_at=self._definition.created_at,
        )

    def _merge(self, found: Sequence[Found]) -> Merged:
        shares = {s.name: Share(s.weight, s.candidates, s.quota) for s in self._placement.sources}
        quality = self._of.quality(self._placement.name)
        most = quality.of(self._placement.candidates, self._asked.limit)
        merged = fuse([f.candidates for f in found], shares, self._masking.mask, most=most)
        if len(merged.places) == most and quality.value < TOLD:
            self._flaw(Degradation(Flaw.CANDIDATES_REDUCED, source=self._placement.name, factor=quality.value))
        return merged

    def _pins(self) -> dict[int, int]:
        """Return positions by place, of pins that this page is to have; an item that is not there has one below 0."""
        if self._page is not None or not self._placement.pins:
            return {}
        places = self._snapshot.catalogue.places([pin.item for pin in self._placement.pins]).tolist()
        return {
            place if place != UNKNOWN else UNKNOWN - index: pin.position
            for index, (place, pin) in enumerate(zip(places, self._placement.pins, strict=True))
        }

    def _passing(self, pins: Mapping[int, int]) -> Places:
        """Return the places of those pins that may come."""
        return np.array([place for place in pins if place >= 0 and self._masking.mask[place]], np.int64)

    def _filler(self, merged: Merged, pins: Mapping[int, int]) -> Places:
        """Return popular items that may be needed to fill the slate, as far as that is known before ranking."""
        lacking = 2 * self._asked.limit - len(merged.places)
        return self._popular(lacking, np.concatenate([merged.places, self._passing(pins)]))

    def _more_filler(self, merged: Merged, filler: Places) -> Places | None:
        """Return more popular items; None where there are none that were not looked at."""
        more = self._popular(FILL, np.concatenate([merged.places, filler]))
        return more if len(more) and len(filler) < FILL * FILL_ROUNDS else None

    def _popular(self, count: int, but: Places) -> Places:
        mask = self._masking.mask.copy()
        mask[but] = False
        return most_popular(self._snapshot.catalogue.by_popularity, mask, max(count, 0))

    async def _read(self, places: Places) -> None:
        """Read what ranks items, what was asked of them, and whether the user has seen them."""
        registry, asked = self._reader.registry, self._asked
        self._service = _outputs(registry, self._placement.service)
        pairs = () if self._placement.allow_seen else tuple(self._placement.seen_pairs)
        named = dict.fromkeys((*self._service, *asked.features, *pairs))
        item = self._definition.item
        user = self._placement.user
        if user is None or asked.user is None:  # nothing can be read of a user whom nobody knows
            named = {name: None for name in named if _of_items(registry, name, item.join_key)}
            self._service = self._service if all(name in named for name in self._service) else ()
            pairs = ()
        if not named or not len(places):
            return
        ids: dict[str, Sequence[str]] = {item.join_key: self._snapshot.catalogue.id_texts(places)}
        if user is not None and asked.user is not None:
            ids[user.join_key] = [asked.user]
        request = Request(len(places), ids, asked.context, asked.max_staleness_s)
        answer = await self._reader.read(registry.plan(tuple(named)), request, self._came, self._until)
        for reason, view in answer.degraded:
            self._flaw(Degradation(reason, view=view))
        self._rows.add(places, answer)
        for name, column, _ in answer.columns:
            if name in pairs:
                seen = np.broadcast_to(column.values & column.has_value(), len(places))
                self._masking.exclude("seen_pairs", places[seen])

    async def _rank(self, merged: Merged) -> _Ordered:
        """Order the candidates by the model; where it cannot, as they were found."""
        in_order = np.arange(len(merged.places))
        by = RankedBy.RETRIEVAL_ORDER if len(in_order) else RankedBy.POPULARITY
        as_found = _Ordered(Ranked(merged.places, merged.scores), merged, in_order, by)
        name = self._placement.ranker
        if name is None or not len(in_order):
            return as_found
        ranker = self._of.rankers.get(name)
        if ranker is None or not self._service:
            if self._asked.user is not None or ranker is None:
                self._flaw(Degradation(Flaw.RANKER_FAILED, source=name))
            return as_found
        columns = [column for _, column in self._rows.columns(self._service, merged.places)]
        given = matrix(columns, len(merged.places))
        ranking = await self._scores(ranker, given)
        if ranking is None or ranking.scores is None:
            self._flaw(Degradation(Flaw.RANKER_FAILED, source=name))
            return as_found
        if self._asked.explain is Explain.DIAGNOSTICS:
            self._contribute(ranker, given)
        order = best_first(ranking.scores)
        ranked = Ranked(merged.places[order], ranking.scores[order])
        return _Ordered(ranked, merged, order, RankedBy.MODEL)

    async def _scores(self, ranker: GuardedRanker, given: Floats) -> Ranking | None:
        """Ask the model, in a thread; None where it is not done by the deadline."""
        around, loop = self._of.around, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._until - around.clock()):
                return await loop.run_in_executor(around.executors.own, ranker.rank, given, self._service)
        except TimeoutError:
            return None

    def _contribute(self, ranker: GuardedRanker, given: Floats) -> None:
        """Find what each feature added, by row of the candidates; else say why there is nothing."""
        found = ranker.contributions(given, self._service)
        if found is None or found.values.shape[1] != len(self._service):
            self._diagnostics.no_contributions = f"{ranker.inner.name} has none that are exact"
        else:
            self._contributions = found.values

    def _contributed(self, row: int) -> list[tuple[str, float]]:
        """Return what features added to a candidate's score; those that are sensitive stay with us."""
        if self._contributions is None or row < 0:
            return []
        values = self._contributions[row].tolist()
        shown = (name not in self._sensitive for name in self._service)
        return [pair for pair, show in zip(zip(self._service, values, strict=True), shown, strict=True) if show]

    @cached_property
    def _sensitive(self) -> frozenset[str]:
        return frozenset(name for name in self._service if is_sensitive(self._reader.registry, name))

    def _compose(self, ordered: _Ordered, pins: Mapping[int, int], filler: Places) -> Slate:
        ranked, merged, rows, _ = ordered
        placement = self._placement
        quotas = [SourceQuota(s.name, s.quota, merged.given_by(s.name)[rows]) for s in placement.sources if s.quota > 0]
        cap = variety = None
        if placement.cap is not None:
            codes = self._snapshot.categories
            cap = CategoryCap(codes, int(codes.max(initial=UNKNOWN)) + 1, placement.cap)
        if placement.diversity is not None and placement.diversity.index in self._snapshot.indexes:
            indexed = self._snapshot.indexes[placement.diversity.index]
            variety = Variety(placement.diversity.weight, indexed.vectors(ranked.places))
        rules = Rules(dict(pins), cap, quotas, variety)
        # Only what was read may fill: of other items nobody knows whether the user has seen them.
        mask = np.zeros_like(self._masking.mask)
        known = np.concatenate([ranked.places, filler, self._passing(pins)])
        mask[known] = self._masking.mask[known]
        return compose(ranked, mask, self._asked.limit, filler=filler, rules=rules)

    def _reply(self, slate: Slate, ordered: _Ordered, found: Sequence[Found]) -> Recommendation:
        asked, around = self._asked, self._of.around
        _, merged, order, by = ordered
        ids = self._snapshot.catalogue.id_texts(slate.places)
        before = 0 if self._page is None else len(self._page.returned)
        explainer = Explainer(self._snapshot.catalogue, self._placement, found)
        rows = np.where(slate.rows >= 0, order[slate.rows] if len(order) else -1, -1)
        items = []
        for index, (item, place, row) in enumerate(zip(ids, slate.places.tolist(), rows.tolist(), strict=True)):
            origins = merged.origins(row) if row >= 0 else ()
            reasons: tuple[Reason, ...] = ()
            if asked.explain >= Explain.REASONS:
                reasons = explainer.reasons(place, origins, slate.standings[index])
            score = float(slate.scores[index])
            fused = float(merged.scores[row]) if row >= 0 else float("nan")
            added = self._contributed(row)
            items.append(SlateItem(item, before + index + 1, score, origins, reasons, fused, added))
        self._diagnostics.drops = self._masking.drops
        self._diagnostics.passed = self._masking.passed
        name = uuid7(around.now_micros() // 1_000, around.random.getrandbits(RANDOM_BITS))
        session = name if self._page is None else self._page.session
        ranker = None if self._placement.ranker is None else self._of.rankers.get(self._placement.ranker)
        return Recommendation(
            id=name,
            session=session,
            items=items,
            columns=self._rows.columns(asked.features, slate.places) if asked.features and items else [],
            assignments=self._assigned.assignments,
            model_version="" if ranker is None else f"{ranker.inner.name}@{ranker.inner.version}",
            ranked_by=by,
            registry_fingerprint=self._reader.registry.fingerprint,
            index_versions={name: self._snapshot.indexes[name].index.version for name in self._searched(found)},
            degraded=list(self._degraded),
            relaxed=slate.relaxed,
            next_page_token=self._next_page(ids, session),
            diagnostics=self._diagnostics,
            views=list({(v.name, v.version): v for v in (*self._user_views, *self._rows.views)}.values()),
            ranked_columns=self._rows.columns(self._service, slate.places) if self._of.impressions and items else [],
        )

    def _searched(self, found: Sequence[Found]) -> set[str]:
        """Return the names of the indexes that candidates were looked for in."""
        asked = {outcome.candidates.source for outcome in found}
        searching = (s for s in self._placement.sources if isinstance(s, Nearest | SimilarToRecent | SimilarToSeeds))
        return {source.index for source in searching if source.name in asked}

    def _next_page(self, ids: Sequence[str], session: UUID) -> str:
        """Return the token of the next page; empty where nothing more passes, or there were too many items."""
        if len(ids) < self._asked.limit or self._masking.passed <= len(ids):
            return ""
        page = Page(session, self._seed, self._assigned.assignments, returned_hashes(self._page, hashes(ids)))
        return self._of.tokens.encode(self._paged, page, now_s=self._now_micros / 1e6) or ""


def _outputs(registry: Registry, service: str | None) -> tuple[str, ...]:
    return () if service is None else tuple(name for name, _ in registry.service_plan(service).outputs)


def _of_items(registry: Registry, reference: str, join_key: str) -> bool:
    """Say whether a feature depends on the item alone."""
    return registry.plan((reference,)).join_keys <= {join_key}
