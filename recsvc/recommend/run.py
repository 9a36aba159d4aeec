"""One request for a slate on its way: mask, candidate sources, merge, features of the candidates, rank, compose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Final, TypeVar

import numpy as np

from recsvc.errors import DeadlineError
from recsvc.online.features import FeatureReader
from recsvc.recommend.asked import Degradation, Explain, Flaw, Recommendation
from recsvc.recommend.asking import Vectors, ask_all, ask_vectors, is_elsewhere, is_of_memory
from recsvc.recommend.candidates import Found, Query
from recsvc.recommend.catalogue import UNKNOWN
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.filling import first_of
from recsvc.recommend.filters import mask
from recsvc.recommend.item_reader import ItemReader, Times
from recsvc.recommend.masking import Masking
from recsvc.recommend.merge import Merged, Share, fuse
from recsvc.recommend.ordering import Ordered, Ordering, boost
from recsvc.recommend.page_token import Page
from recsvc.recommend.replying import Made, Replying
from recsvc.recommend.slate import compose_among
from recsvc.recommend.slate_rules import CategoryCap, Rule, Rules, Slate, SourceQuota, Variety
from recsvc.recommend.surroundings import Call, Shared
from recsvc.recommend.turns import Turn
from recsvc.recommend.user_facts import UserFacts
from recsvc.registry.placement import WhenStale
from recsvc.telemetry import hop, names
from recsvc.telemetry import metrics as m

FRESH_S: Final = 5.0
"""Metadata of items that is older than this is told to be stale."""
FILL: Final = 500
"""How many items are looked at at once to fill a slate, at least: twice as many each time, up to FILL_MOST."""
FILL_MOST: Final = 5_000
ON_THE_LOOP: Final = 16_384
"""A filter of so many items takes less than handing it to a thread."""
CAP_ROUNDS: Final = 2
"""How often more items are looked at before a cap gives way: pins may be over it for good."""
Answer = TypeVar("Answer")


class Run:
    """One request on its way. ``times``: when it came, and by when it must be answered."""

    def __init__(self, of: Shared, call: Call, reader: FeatureReader, times: tuple[float, float], turn: Turn) -> None:
        self._of = of
        self._turn = turn
        self._asked, _, page, assigned = call
        self._page = page
        asks = Times(*times)
        self._until = asks.until
        registry = reader.registry
        self._placement = registry.placements[assigned.placement] if assigned.placement else self._asked.placement
        self._definition = registry.catalogues[self._placement.catalogue]
        self._snapshot = of.snapshot(self._placement.catalogue)
        self._masking = Masking(self._snapshot.catalogue)
        self._seed = of.around.random.getrandbits(64) if page is None else page.seed
        self._now_micros = of.around.now_micros()
        self._narrowing = of.quality(self._placement.name).narrowing(self._asked.limit)
        self._degraded: dict[Degradation, None] = {}
        self._reader = ItemReader(reader, self._placement, self._asked, asks, self._flaw)
        ranker = None if self._placement.ranker is None else of.rankers.get(self._placement.ranker)
        self._ordering = Ordering(self._placement, ranker, self._reader.service, of.around, self._flaw)
        self._replying = Replying(of, call, self._placement, self._reader, self._ordering)

    def __repr__(self) -> str:
        return f"Run({self._placement.name!r}, {self._masking!r})"

    async def slate(self) -> Recommendation:
        """Make the slate; once."""
        self._judge_age()
        try:
            # Before its turn, which is for work here: the store may take long to answer.
            with hop.stage(names.QUERY):
                facts = await self._reader.facts()
            async with self._turn.taken() as in_time:
                hop.lap(names.TURN)
                return await self._made(facts, in_time=in_time)
        finally:
            # A search that is late may still look at the mask: nobody looks at what it finds.
            self._masking.release()

    async def _made(self, facts: UserFacts, *, in_time: bool) -> Recommendation:
        """Make the slate; where there was no turn ``in_time``, without asking indexes."""
        around, sources = self._of.around, self._placement.sources
        late = [] if in_time else [source for source in sources if not is_of_memory(source)]
        for source in late:
            self._flaw(Degradation(Flaw.SOURCE_TIMED_OUT, source=source.name))
        asked = [source for source in sources if source not in late] if late else sources
        query = await self._mask(facts)
        hop.lap(names.MASK)
        left_s = self._until - around.clock()
        found, failed = await ask_all(asked, query, around.executors, left_s, around.counters, self._turn.aside)
        hop.resume()
        for flaw in failed:
            self._flaw(flaw)
        merged = self._merge(found)
        if not len(merged.places):
            self._reader.rank_nothing()
        pins = self._pins()
        filler = self._filler(merged, pins)
        hop.lap(names.MERGE)
        await self._read(np.concatenate([merged.places, self._passing(pins), filler]))
        ranking_at = around.clock()
        ordered = await self._order(merged)
        self._ranked_in(around.clock() - ranking_at, ordered)
        hop.lap(names.RANK)
        variety = await self._variety(ordered)
        slate = self._compose(ordered, pins, filler, variety)
        rounds = 0
        while (len(slate.places) < self._asked.limit) or (Rule.CAPS in slate.relaxed and rounds < CAP_ROUNDS):
            more = self._more_filler(merged, filler)
            if more is None:
                break
            rounds += 1
            hop.lap(names.RERANK)
            await self._read(more)
            filler = np.concatenate([filler, more])
            slate = self._compose(ordered, pins, filler, variety)
        hop.lap(names.RERANK)
        self._measure(found, merged, slate)
        made = Made(slate, ordered, found, self._masking, self._snapshot, list(self._degraded), self._seed)
        return self._replying.reply(made, around.now_micros())

    def _judge_age(self) -> None:
        age_s, placement = self._snapshot.age_s, self._placement
        if age_s is not None and age_s <= FRESH_S:
            return
        micros = 0 if age_s is None else round(age_s * 1e6)
        self._flaw(Degradation(Flaw.METADATA_STALE, source=placement.catalogue, age_micros=micros))
        too_old = age_s is None or age_s > placement.stale_after.total_seconds()
        if too_old and placement.when_stale is WhenStale.LEAVE_OUT:
            self._masking.exclude_all("stale")

    def _flaw(self, flaw: Degradation) -> None:
        self._degraded[flaw] = None
        hop.degraded(flaw.reason.name, flaw.source or flaw.view)

    def _ranked_in(self, seconds: float, ordered: Ordered) -> None:
        metrics, name = self._of.around.counters.metrics, self._placement.name
        metrics[m.RANK_DURATION].histogram(name, ordered.by.name).record(seconds)

    def _measure(self, found: Sequence[Found], merged: Merged, slate: Slate) -> None:
        """Tell metrics, and the span of a sampled call, how much there was of what."""
        metrics, name = self._of.around.counters.metrics, self._placement.name
        for one in found:
            source = one.candidates.source
            metrics[m.CANDIDATES].histogram(name, source).record(len(one.candidates.places))
        size = len(self._snapshot.catalogue)
        metrics[m.PASS_SHARE].histogram(name).record(self._masking.passed / size if size else 0.0)
        metrics[m.SLATE_ITEMS].histogram(name).record(len(slate.places))
        if len(slate.places) < self._asked.limit:
            metrics[m.SLATE_SHORT].count(name).add()
        if (span := hop.sampled()) is not None:
            span.attributes |= {
                names.PLACEMENT: name,
                names.CANDIDATES: len(merged.places),
                names.PASSED: self._masking.passed,
                names.CATALOGUE_SIZE: size,
                names.SLATE_ITEMS: len(slate.places),
                names.FINGERPRINT: self._reader.registry.fingerprint,
            }
            if self._ordering.model_version:
                span.attributes[names.MODEL] = self._ordering.model_version
            if self._narrowing.is_less:
                span.attributes[names.FACTOR] = round(self._narrowing.factor, 3)

    async def _mask(self, facts: UserFacts) -> Query:
        """Say which items may come, and what sources go by."""
        asked, masking, catalogue = self._asked, self._masking, self._snapshot.catalogue
        own, count = self._placement.filters, asked.explain is Explain.DIAGNOSTICS
        narrow = partial(masking.filter, own, asked.filters, count=count)
        await self._in_thread(narrow, ready=not count and catalogue.masks.has(own, asked.filters))
        seeds = catalogue.places(asked.seeds)
        masking.exclude("excluded", catalogue.places(asked.exclude))
        masking.exclude("seeds", seeds)
        if not self._placement.allow_seen:
            masking.exclude("seen", catalogue.places(facts.all_items(self._placement.seen)))
        if self._page is not None:
            masking.exclude("earlier_pages", await self._returned(self._page))
        return Query(
            snapshot=self._snapshot,
            allowed=masking.allowed,
            facts=facts,
            seeds=seeds[seeds != UNKNOWN],
            seed=self._seed,
            now_micros=self._now_micros,
            created_at=self._definition.created_at,
            narrowing=self._narrowing,
        )

    async def _returned(self, page: Page) -> Places:
        """Return what the pages before had. Raises DeadlineError where it cannot be known in time."""
        catalogue, left_s = self._snapshot.catalogue, self._until - self._of.around.clock()
        try:
            async with nullcontext() if catalogue.has_hashes else self._turn.aside(), asyncio.timeout(left_s):
                return await catalogue.places_of_hashes(page.returned)
        except TimeoutError:
            raise DeadlineError("the ids of a large catalogue are still looked at, for the first page token") from None

    def _merge(self, found: Sequence[Found]) -> Merged:
        shares = {s.name: Share(s.weight, s.candidates, s.quota) for s in self._placement.sources}
        narrowing = self._narrowing
        most = narrowing.of(self._placement.candidates)
        merged = fuse([f.candidates for f in found], shares, self._masking.mask, most=most)
        if narrowing.is_less and (len(merged.places) == most or any(f.narrowed for f in found)):
            self._flaw(Degradation(Flaw.CANDIDATES_REDUCED, source=self._placement.name, factor=narrowing.factor))
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
        more = self._popular(min(max(FILL, len(filler)), FILL_MOST), np.concatenate([merged.places, filler]))
        return more if len(more) else None

    def _popular(self, count: int, but: Places) -> Places:
        if count <= 0:
            return but[:0]
        found = first_of(self._snapshot.catalogue.ranked, self._masking.mask, count + len(but))
        return found[~np.isin(found, but)][:count]

    async def _read(self, places: Places) -> None:
        """Read what ranks items, what was asked of them, and whether the user has seen them."""
        async with self._turn.aside():
            with hop.stage(names.FEATURES):
                seen = await self._reader.read(self._snapshot.catalogue, places)
        self._masking.exclude("seen_pairs", seen)

    async def _order(self, merged: Merged) -> Ordered:
        placement, catalogue = self._placement, self._snapshot.catalogue
        unknown = self._asked.user is None
        ordered = await self._ordering.order(merged, self._reader.rows, self._until, unknown=unknown)
        make, masks = partial(mask, catalogue), catalogue.masks
        conditions = [[b.when] for b in placement.boosts]
        holds = [await self._in_thread(partial(masks.of, when, make), ready=masks.has(when, ())) for when in conditions]
        return boost(ordered, placement.boosts, [items.mask for items in holds])

    async def _in_thread(self, work: Callable[[], Answer], *, ready: bool) -> Answer:
        """Return what work gives that looks at every item: in a thread, unless these are few, or it is ``ready``."""
        if ready or len(self._snapshot.catalogue) <= ON_THE_LOOP:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._of.around.executors.own, work)

    async def _variety(self, ordered: Ordered) -> Variety | None:
        """Return what variety is judged by; vectors that cannot be had are unknown, which `relaxed` tells."""
        wanted, places, around = self._placement.diversity, ordered.ranked.places, self._of.around
        if wanted is None or not len(places):
            return None
        found: Vectors | Flaw = Flaw.INDEX_MISSING
        indexed = self._snapshot.indexes.get(wanted.index)
        if indexed is not None:
            left_s = min(wanted.timeout.total_seconds(), self._until - around.clock())
            async with self._turn.aside() if is_elsewhere(indexed) else nullcontext():
                found = await ask_vectors(indexed, places, around.executors, left_s, around.counters)
        if isinstance(found, Flaw):
            self._flaw(Degradation(found, source=wanted.index))
            found = np.full((len(places), 1), np.nan, np.float32)
        return Variety(wanted.weight, found)

    def _compose(self, ordered: Ordered, pins: Mapping[int, int], filler: Places, variety: Variety | None) -> Slate:
        ranked, merged, rows = ordered.ranked, ordered.merged, ordered.rows
        placement = self._placement
        quotas = [SourceQuota(s.name, s.quota, merged.given_by(s.name)[rows]) for s in placement.sources if s.quota > 0]
        codes = self._snapshot.catalogue.category_codes
        cap = None if placement.cap is None else CategoryCap(codes, len(codes), placement.cap)
        rules = Rules(dict(pins), cap, quotas, variety)
        # Only what was read may fill: of other items nobody knows whether the user has seen them.
        read = np.concatenate([ranked.places, filler, self._passing(pins)])
        return compose_among(read, ranked, self._masking.mask, self._asked.limit, filler=filler, rules=rules)
