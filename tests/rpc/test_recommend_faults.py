"""Parts of the pipeline that fail, hang, or answer rubbish in a call: a full slate of what may come, which says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import pytest
import pytest_asyncio

from recsvc.app import running
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend import asking
from recsvc.recommend.candidates import Found, Query, find
from recsvc.recommend.item_reader import ItemReader
from recsvc.recommend.quality_factor import QualityFactor
from recsvc.recommend.run import Run
from recsvc.recommend.turns import Turns
from recsvc.recommend.user_facts import UserFacts
from recsvc.registry.placement import CandidateSource
from tests.fault import slates_faults as kinds
from tests.fault.slates_faults import Faults, FaultyIndex, FaultyRanker, Now, faulty_find
from tests.parts.topologies import Endpoint
from tests.rpc.calling import Caller
from tests.rpc.rows import Rows
from tests.rpc.serving import settings
from tests.rpc.shop import (
    AVAILABLE,
    METHOD,
    POPULARITY,
    USERS,
    Shop,
    fill,
    flaws,
    names,
    who_may_come,
)
from tests.rpc.shop_hasty import SOURCES

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC: Final = str(Path(__file__).with_name("shop_hasty.py"))
SEED: Final = "i20"
ALL: Final[dict[str, Any]] = {"user_id": "1", "limit": 500, "seed_item_ids": [SEED]}
"""A request for all that there is, in which each source has something to go by."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(redis_8: Endpoint, rows: Rows, shop_directories: dict[str, Any]) -> AsyncIterator[Shop]:
    """A server of the shop, whose index and ranker break when they are told; ``broken`` tells them."""
    fill(rows)
    chosen = settings(redis_8.url, **shop_directories)
    async with running(chosen, SPEC) as app, Caller(app.address) as caller:
        yield Shop(app, caller, rows)


@pytest_asyncio.fixture(loop_scope="module")
async def broken(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Now:
    """What is wrong with the parts of the server, for a test to change."""
    now, recommending = Now(), shop.app._recommending
    recommender, indexes = recommending.recommender, recommending._indexes
    index = indexes.served["looks"]
    inner = index._inner if isinstance(index, FaultyIndex) else index
    await indexes.swap("looks", FaultyIndex(inner, now), recommending._catalogues)
    guarded = recommender.rankers["linear"]
    monkeypatch.setattr(guarded, "inner", FaultyRanker(guarded.inner, now))
    monkeypatch.setattr(asking, "find", faulty_find(now))
    return now


def all_that_may_come() -> set[str]:
    """Return what a slate for ALL has to have."""
    return who_may_come("1", (), (), [SEED])


class TestSources:
    """Each candidate source on its own."""

    @pytest.mark.parametrize("source", [s.name for s in SOURCES])
    async def test_one_that_raises_is_told(self, shop: Shop, broken: Now, source: str) -> None:
        """The slate is full without it, names it, and no item says that it came from there."""
        broken.faults = Faults(sources={source: kinds.RAISES})
        reply = await shop.slate(**ALL)
        assert set(names(reply)) == all_that_may_come()
        assert flaws(reply) == {("SOURCE_FAILED", source)}
        assert source not in {s.source for item in reply.items for s in item.sources}

    @pytest.mark.parametrize("source", [s.name for s in SOURCES])
    async def test_one_that_is_slow_is_told(self, shop: Shop, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The slate does not wait for it longer than it may take, and names it."""
        with stuck(monkeypatch, source):
            reply = await shop.slate(f"hasty_{source}", **ALL)
        assert set(names(reply)) == all_that_may_come()
        assert flaws(reply) == {("SOURCE_TIMED_OUT", source)}

    @pytest.mark.parametrize("source", [s.name for s in SOURCES])
    async def test_rubbish_of_one_does_not_come(self, shop: Shop, broken: Now, source: str) -> None:
        """Places that no item has, items that may not come, repeats and scores that are no numbers change nothing."""
        broken.faults = Faults(sources={source: kinds.RUBBISH})
        reply = await shop.slate(**ALL, explain=pb.EXPLAIN_LEVEL_DIAGNOSTICS)
        found = names(reply)
        assert (len(found), set(found)) == (len(set(found)), all_that_may_come())
        assert flaws(reply) == set()

    async def test_without_any_source_there_are_popular_items(self, shop: Shop, broken: Now) -> None:
        """Where all fail, the most popular items that may come fill the slate, in their order."""
        broken.faults = Faults(sources=dict.fromkeys((s.name for s in SOURCES), kinds.RAISES))
        reply = await shop.slate(user_id="1", limit=9, seed_item_ids=[SEED])
        assert names(reply) == sorted(all_that_may_come(), key=lambda name: -POPULARITY[name])[:9]
        assert reply.ranked_by == pb.RANKED_BY_POPULARITY
        assert flaws(reply) == {("SOURCE_FAILED", s.name) for s in SOURCES}


class TestIndex:
    """A vector index that is there, and fails."""

    async def test_one_that_raises_costs_its_sources(self, shop: Shop, broken: Now) -> None:
        """All sources over it are told, and the others make the slate."""
        broken.faults = Faults(index=kinds.RAISES)
        reply = await shop.slate(**ALL)
        assert set(names(reply)) == all_that_may_come()
        assert flaws(reply) == {("SOURCE_FAILED", name) for name in ("near", "seeds", "recent")}

    async def test_rubbish_of_an_index_does_not_come(self, shop: Shop, broken: Now) -> None:
        """Whatever it answers, only items that may come do, each once; what cannot be read at all is told."""
        broken.faults = Faults(index=kinds.RUBBISH)
        for _ in range(12):
            reply = await shop.slate(**ALL)
            found = names(reply)
            assert (len(found), set(found)) == (len(set(found)), all_that_may_come())
            assert {reason for reason, _ in flaws(reply)} <= {"SOURCE_FAILED"}

    @pytest.mark.parametrize("fault", [kinds.VECTORS_RAISE, kinds.VECTORS_RUBBISH])
    async def test_without_vectors_a_slate_is_not_diverse_and_says_so(
        self, shop: Shop, broken: Now, fault: str
    ) -> None:
        """Diversity gives way where the vectors of candidates cannot be had, or are none."""
        broken.faults = Faults(index=fault)
        for _ in range(8):
            reply = await shop.slate("various", user_id="1", limit=500)
            assert set(names(reply)) == AVAILABLE
            assert pb.SLATE_RULE_DIVERSITY in reply.relaxed
            assert flaws(reply) <= {("SOURCE_FAILED", "looks")}
            assert flaws(reply) or fault == kinds.VECTORS_RUBBISH

    async def test_without_its_index_a_slate_is_not_diverse_and_says_so(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An index that is only wanted for diversity is told where it is missing, as one that is searched."""
        monkeypatch.setattr(shop.app._recommending._indexes, "_known", {})
        reply = await shop.slate("various", user_id="1", limit=10)
        assert (len(reply.items), flaws(reply)) == (10, {("INDEX_MISSING", "looks")})
        assert pb.SLATE_RULE_DIVERSITY in reply.relaxed


class TestRanker:
    """A model that is there, and fails."""

    @pytest.mark.parametrize("fault", [kinds.RAISES, kinds.NAN, kinds.SHAPE])
    async def test_a_failing_one_costs_its_order(self, shop: Shop, broken: Now, fault: str) -> None:
        """The slate comes in retrieval order, and names the model."""
        broken.faults = Faults(ranker=fault)
        reply = await shop.slate(**ALL)
        assert set(names(reply)) == all_that_may_come()
        assert (reply.ranked_by, flaws(reply)) == (pb.RANKED_BY_RETRIEVAL_ORDER, {("RANKER_FAILED", "linear")})

    async def test_a_hanging_one_does_not_cost_the_slate(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        """A caller with a deadline gets a full slate before it, whatever the model does meanwhile."""
        released = threading.Event()
        inner = shop.app._recommending.recommender.rankers["linear"].inner

        def hang(matrix: np.ndarray, _: object) -> np.ndarray:
            released.wait(60)
            return np.zeros(len(matrix))

        monkeypatch.setattr(inner, "rank", hang)
        monkeypatch.setattr(inner, "is_quick", False)  # as of any model that is not arithmetic of our own
        failures = shop.app._readers.counters.source_failures
        before = failures["linear"]
        try:
            data = pb.RecommendRequest(placement="home", **ALL).SerializeToString()
            reply = pb.RecommendResponse.FromString(await shop.caller.raw(METHOD, data, 3.0))
        finally:
            released.set()
        assert set(names(reply)) == all_that_may_come()
        assert (reply.ranked_by, flaws(reply)) == (pb.RANKED_BY_RETRIEVAL_ORDER, {("RANKER_FAILED", "linear")})
        assert failures["linear"] == before + 1


class TestQuality:
    """Slates that take too long."""

    async def test_late_slates_rank_fewer_candidates_and_say_so(self, shop: Shop) -> None:
        """After many late slates a tenth of the candidates is ranked, the factor is told; after quick ones all are."""
        quality = shop.app._recommending.recommender.quality("few")
        for _ in range(60):
            quality.took(3_600.0)
        reply = await shop.slate("few", limit=10)
        (told,) = reply.degraded
        assert (told.reason, told.source) == (pb.DEGRADATION_REASON_CANDIDATES_REDUCED, "few")
        assert told.factor == pytest.approx(0.1, abs=0.02)
        assert len(names(reply)) == 10
        assert sum(bool(item.sources) for item in (await shop.slate("few", limit=20)).items) == 20
        assert sum(bool(item.sources) for item in (await shop.slate("few", limit=4)).items) == 4
        for _ in range(1_000):
            quality.took(0.0)
        assert not flaws(await shop.slate("few", limit=10))

    @pytest.mark.parametrize(("target_s", "counts"), [(0.001, True), (60.0, False)])
    async def test_slates_that_are_late_for_their_callers_count(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch, target_s: float, *, counts: bool
    ) -> None:
        """A slate that its caller waits for no longer is late after the target time, and tells nothing before it."""
        quality, ended = QualityFactor(target_s), asyncio.Event()
        monkeypatch.setitem(shop.app._recommending.recommender._quality, "few", quality)

        async def hang(_: Run) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        monkeypatch.setattr(Run, "slate", hang)
        data = pb.RecommendRequest(placement="few").SerializeToString()
        with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            await shop.caller.raw(METHOD, data, 0.2)
        await ended.wait()
        assert (quality.value < 1.0) == counts

    async def test_who_waits_too_long_for_a_turn_gets_a_slate_without_searches(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The slate is full, names each index source as late, and has what memory knows; the next is whole again."""
        turns = shop.app._recommending.recommender._turns
        monkeypatch.setitem(turns, "home", Turns(0.0, at_once=0))
        reply = await shop.slate(**ALL)
        assert set(names(reply)) == all_that_may_come()
        assert flaws(reply) == {("SOURCE_TIMED_OUT", name) for name in ("near", "seeds", "recent")}
        assert {source.source for item in reply.items for source in item.sources} == {"popular", "newest"}
        assert reply.ranked_by == pb.RANKED_BY_MODEL
        monkeypatch.setitem(turns, "modelled", Turns(0.0, at_once=0))
        alone = await shop.slate("modelled", user_id="1", limit=500)
        assert set(names(alone)) == AVAILABLE - {item for item, seen in USERS["1"].pairs.items() if seen}
        assert alone.ranked_by == pb.RANKED_BY_POPULARITY
        monkeypatch.setitem(turns, "home", Turns(60.0, at_once=1))
        slates = await asyncio.gather(*(shop.slate(**ALL) for _ in range(20)))
        assert not any(flaws(slate) for slate in slates)

    async def test_who_waits_for_the_store_keeps_nobody_from_a_turn(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While what is known of one user does not come, the slate of another is made, with all that is searched."""
        begun, go_on, facts = asyncio.Event(), asyncio.Event(), ItemReader.facts

        async def hang(reader: ItemReader) -> UserFacts:
            if reader._asked.user == "2":
                begun.set()
                await go_on.wait()
            return await facts(reader)

        monkeypatch.setattr(ItemReader, "facts", hang)
        monkeypatch.setitem(shop.app._recommending.recommender._turns, "home", Turns(60.0, at_once=1))
        waiting = asyncio.create_task(shop.slate(user_id="2"))
        await begun.wait()
        assert not flaws(await shop.slate(**ALL))
        assert not waiting.done()
        go_on.set()
        assert not flaws(await waiting)


class TestColdUsers:
    """Users of whom little is known, or nothing."""

    @pytest.mark.parametrize("user", ["404", "", "2", "3"])
    async def test_there_is_a_slate_for_everybody(self, shop: Shop, user: str) -> None:
        """Unknown, anonymous, with a vector alone, with all but a few seen: all that may come, and nothing failed."""
        reply = await shop.slate(user_id=user, limit=500)
        assert set(names(reply)) == who_may_come(user)
        assert flaws(reply) == set()
        assert reply.ranked_by == (pb.RANKED_BY_MODEL if user else pb.RANKED_BY_RETRIEVAL_ORDER)

    async def test_the_unknown_get_what_is_popular_and_new(self, shop: Shop) -> None:
        """No source that goes by the user finds anything for somebody unknown."""
        reply = await shop.slate(user_id="404", limit=500)
        assert {s.source for item in reply.items for s in item.sources} == {"popular", "newest"}


@contextmanager
def stuck(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Let a source hang until the end."""
    released = threading.Event()

    def finding(source: CandidateSource, query: Query, left_s: Callable[[], float]) -> Found | None:
        if source.name == name:
            released.wait(60)
        return find(source, query, left_s)

    monkeypatch.setattr(asking, "find", finding)
    try:
        yield
    finally:
        released.set()
