"""The stages together: what a caller gets while the store answers, while it does not, and afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.online.answer import UNREAD, Degraded, Row, Source, Unread
from recsvc.online.breaker import BreakerSettings, Change, Mode
from recsvc.online.by_node import Router
from recsvc.online.chain import SLACK_S, ChainSettings, NamedStore, ReadChain, Surroundings
from recsvc.online.coalesce import CoalesceSettings
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Span, ViewRows
from tests.simulation.loop import START, VirtualLoop
from tests.unit.online.held_reader import HeldRead, HeldReader, in_virtual_time, now, row_of, settle
from tests.unit.online.strategies import FEW
from tests.unit.online.test_by_node import Cluster

A, B, C = b"xa", b"xb", b"xc"
POLICY = ViewPolicy(5.0, 300.0)
UNCACHED = POLICY.within(0.0)
Read = asyncio.Task[list[ViewRows]]


class Rig:
    """A chain over a HeldReader, or over a Router. ``changes`` are those of its breakers."""

    def __init__(self, store: HeldReader | Router | None = None, **settings: Any) -> None:  # noqa: ANN401  # any of ChainSettings'
        self.held = store if isinstance(store, HeldReader) else HeldReader()
        self.changes: list[Change] = []
        around = Surroundings(now, Random(3), self.changes.append)
        behind = NamedStore("one:6379", self.held) if store is None or isinstance(store, HeldReader) else store
        self.chain = ReadChain(ChainSettings(**settings), around, behind)

    def __repr__(self) -> str:
        return repr(self.chain)

    @property
    def states(self) -> list[str]:
        """The states that breakers went to."""
        return [f"{c.name} {c.after}" for c in self.changes]

    async def ask(self, *keys: bytes, policy: ViewPolicy = POLICY, wait_s: float = 0.5) -> Read:
        """Begin a call."""
        task = asyncio.create_task(self.chain.read([Span(keys, policy)], now(), now() + wait_s))
        await settle()
        return task

    async def read(self, *keys: bytes, policy: ViewPolicy = POLICY) -> ViewRows:
        """Read keys; the store answers at once."""
        call = await self.ask(*keys, policy=policy)
        for read in self.open():
            await read.answer()
        (found,) = await call
        return found

    def open(self) -> list[HeldRead]:
        """Return the reads that the store has not answered."""
        return [read for read in self.held.reads if not read.end.done()]

    async def fails(self, *keys: bytes, policy: ViewPolicy = POLICY) -> ViewRows:
        """Read keys while the store fails at once, as often as it is asked."""
        call = await self.ask(*keys, policy=policy)
        while not call.done():
            for read in self.open():
                await read.fail()
            await asyncio.sleep(0.0005)
        (found,) = await call
        return found


def sources(found: ViewRows) -> list[Source]:
    """Return the source of each row."""
    return [Source(s) for s in np.broadcast_to(np.asarray(found.sources), len(found.rows)).tolist()]


@in_virtual_time
async def test_a_miss_is_a_hit_afterwards() -> None:
    """What one call fetched answers the next, until it is too old."""
    rig = Rig()
    assert rig.chain.hit([Span([A], POLICY)], now()) is None
    first = await rig.read(A, B)
    assert (first.rows, first.sources) == ([row_of(A), row_of(B)], Source.STORE)
    hit = rig.chain.hit([Span([B], POLICY)], now())
    assert hit is not None
    assert (hit[0].rows, hit[0].sources) == ([row_of(B)], Source.CACHE)
    again = await rig.read(A, C)
    assert sources(again) == [Source.CACHE, Source.STORE]
    await asyncio.sleep(5)
    assert rig.chain.hit([Span([A], POLICY)], now()) is None
    assert (await rig.read(A)).sources == Source.STORE
    assert rig.held.asked == [[A, B], [C], [A]]


@in_virtual_time
async def test_no_copy_means_the_store_itself() -> None:
    """A call that allows none joins no flight that left before it came, and what it got is there for others."""
    rig = Rig()
    lazy = await rig.ask(A)
    await asyncio.sleep(0.001)
    strict = await rig.ask(A, policy=UNCACHED)
    await rig.held.reads[0].answer([b"old"])
    assert (await lazy)[0].rows == [b"old"]
    assert not strict.done()
    await rig.held.reads[1].answer([b"new"])
    (found,) = await strict
    assert (found.rows, found.sources) == ([b"new"], Source.STORE)
    hit = rig.chain.hit([Span([A], POLICY)], now())
    assert hit is not None
    assert hit[0].rows == [b"new"]


@in_virtual_time
async def test_nobody_waits_longer_than_a_fetch_may_take() -> None:
    """However much time a caller has, one that hangs costs the Redis timeout; one with less time gets less."""
    rig = Rig()
    patient = await rig.ask(A, wait_s=10.0)
    hurried = await rig.ask(A, wait_s=0.01)
    (found,) = await hurried
    assert now() == pytest.approx(START + 0.01)
    assert (found.rows, found.reasons) == ([UNREAD], (Degraded.STORE_UNAVAILABLE,))
    await patient
    assert now() == pytest.approx(START + 0.05 + SLACK_S)
    assert rig.open()[0].until == pytest.approx(START + 0.05)
    await rig.open()[0].answer()
    assert rig.chain.hit([Span([A], POLICY)], now()) is not None


@in_virtual_time
async def test_a_failure_is_tried_once_more() -> None:
    """A read that fails fast costs nobody anything while the second try works."""
    rig = Rig()
    call = await rig.ask(A)
    await rig.held.reads[0].fail()
    await asyncio.sleep(0.006)
    await rig.held.reads[1].answer()
    assert (await call)[0].rows == [row_of(A)]
    assert rig.held.asked == [[A], [A]]


@in_virtual_time
async def test_a_store_that_is_gone_and_comes_back() -> None:
    """Stale copies, then an open breaker that asks for nothing, then probes, then all as before."""
    rig = Rig()
    await rig.read(A, B)
    await asyncio.sleep(6)
    found = await rig.fails(A, C)
    assert (found.rows, sources(found)[0]) == ([row_of(A), UNREAD], Source.STALE_CACHE)
    assert found.stale_micros is not None
    assert 6_000_000 <= found.stale_micros[0] < 6_100_000
    assert found.reasons == (Degraded.STORE_UNAVAILABLE,)
    for _ in range(2):
        await rig.fails(C)
    assert rig.states == ["one:6379 open"]
    asked = len(rig.held.reads)
    began = now()
    (found,) = await (await rig.ask(B, C))
    assert (found.rows, sources(found)[0]) == ([row_of(B), Unread.REFUSED], Source.STALE_CACHE)
    assert found.reasons == (Degraded.CIRCUIT_OPEN,)
    assert (now(), len(rig.held.reads)) == (began, asked)
    await asyncio.sleep(0.8)
    for key in (A, B):
        assert (await rig.read(key)).sources == Source.STORE
    assert rig.states == ["one:6379 open", "one:6379 half-open", "one:6379 closed"]
    assert (await rig.read(C)).rows == [row_of(C)]


@in_virtual_time
async def test_saturation_does_not_move_the_breaker() -> None:
    """Misses that are shed say nothing about the store: copies stand in, the breaker stays closed."""
    rig = Rig(coalesce=CoalesceSettings(waiting_keys=10))
    await rig.read(A)
    await asyncio.sleep(6)
    busy = await rig.ask(*(b"x%d" % i for i in range(8)))
    for _ in range(20):
        (found,) = await (await rig.ask(A, C))
        assert (found.rows, sources(found)[0]) == ([row_of(A), Unread.SATURATED], Source.STALE_CACHE)
        assert found.reasons == (Degraded.SATURATED,)
    await rig.open()[0].answer()
    await busy
    assert rig.changes == []
    assert (await rig.read(C)).sources == Source.STORE


@pytest.mark.parametrize(("mode", "asked"), [(Mode.OPEN, 0), (Mode.CLOSED, 40)])
@in_virtual_time
async def test_a_breaker_can_be_held_for_a_drill(mode: Mode, asked: int) -> None:
    """Held open the store is never asked, held closed it is asked however often it fails."""
    rig = Rig(breaker=BreakerSettings(mode=mode))
    for _ in range(20):
        found = await rig.fails(A)
        assert found.rows == [Unread.REFUSED if mode is Mode.OPEN else UNREAD]
    assert len(rig.held.reads) == asked
    assert rig.changes == []


@in_virtual_time
async def test_a_dead_node_costs_its_own_keys() -> None:
    """Of a cluster's nodes the one that fails opens its own breaker; keys of the others are read as ever."""
    cluster = Cluster()
    rig = Rig(cluster)

    async def read(*keys: bytes) -> ViewRows:
        call = await rig.ask(*keys, policy=UNCACHED)
        while not call.done():
            for name, held in cluster.readers.items():
                for each in held.reads:
                    if not each.end.done():
                        await (each.fail() if name == "y" else each.answer())
            await asyncio.sleep(0.0005)
        return (await call)[0]

    for _ in range(3):
        found = await read(b"x1", b"y1", b"z1")
        assert (found.rows, found.reasons) == (
            [row_of(b"x1"), UNREAD, row_of(b"z1")],
            (Degraded.STORE_UNAVAILABLE,),
        )
    assert rig.states == ["y open"]
    found = await read(b"x2", b"y2", b"z2")
    assert (found.rows, found.reasons) == ([row_of(b"x2"), Unread.REFUSED, row_of(b"z2")], (Degraded.CIRCUIT_OPEN,))
    assert all(
        f"Breaker({name}: {state}" in repr(rig) for name, state in zip("xyz", ("closed", "open", "closed"), strict=True)
    )
    await rig.chain.close()


@in_virtual_time
async def test_corrupt_rows_are_fetched_again() -> None:
    """What a caller found to be corrupt is no copy any more."""
    rig = Rig()
    await rig.read(A)
    rig.chain.forget(A, b"another row")
    assert rig.chain.hit([Span([A], POLICY)], now()) is not None
    rig.chain.forget(A, row_of(A))
    assert rig.chain.hit([Span([A], POLICY)], now()) is None


@in_virtual_time
async def test_views_that_keep_no_copies_leave_none() -> None:
    """Rows of such a view are read each time and take no place in the cache."""
    rig = Rig()
    policy = ViewPolicy(0.0, 0.0, kept=False)
    for _ in range(2):
        assert (await rig.read(A, policy=policy)).sources == Source.STORE
    assert "RowCache(0 rows, 0 bytes" in repr(rig)
    found = await rig.fails(A, policy=policy)
    assert (found.rows, found.stale_micros) == ([UNREAD], None)


@in_virtual_time
async def test_close_answers_whoever_waits() -> None:
    """Callers get copies or Unread at once, and the store is asked no more."""
    rig = Rig()
    await rig.read(A)
    await asyncio.sleep(6)
    call = await rig.ask(A, B)
    await rig.chain.close()
    (found,) = await call
    assert (found.rows, sources(found)[0]) == ([row_of(A), UNREAD], Source.STALE_CACHE)
    (after,) = await (await rig.ask(C))
    assert after.rows == [UNREAD]
    assert len(rig.held.reads) == 2
    assert now() == START + 6


@in_virtual_time
async def test_the_chain_shows_all_of_its_stages() -> None:
    """One repr() has the state of each, from the outside in."""
    rig = Rig()
    await rig.read(A)
    shown = repr(rig)
    stages = [
        "ReadChain(",
        "FallbackReader(",
        "CachingReader(",
        "RowCache(1 rows",
        "Coalescer(",
        "Retrying(",
        "Guarded(",
    ]
    places = [shown.index(stage) for stage in [*stages, "HeldReader()", "Breaker(one:6379: closed"]]
    assert places == sorted(places)


class Changing:
    """A store whose rows say their key and when they were read; it takes a while, and fails when it is told to."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.fails = False

    def __repr__(self) -> str:
        return "Changing()"

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return None

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read."""
        rows: list[Row] = [UNREAD if self.fails else b"%b@%.9f" % (k, now()) for k in keys]
        await asyncio.sleep(min(self.rng.expovariate(200), max(until - now(), 0.0)))
        return rows


@given(st.integers(0, 2**32))
@FEW
def test_rows_are_their_keys_and_no_older_than_they_may_be(seed: int) -> None:
    """Whatever is asked when: no row of another key, CACHE and STALE_CACHE within their ages, STORE sent after."""
    loop = VirtualLoop(Random(seed))
    try:
        loop.run_until_complete(_play(Random(seed)))
    finally:
        loop.close()
    assert loop.failures == []


async def _play(rng: Random) -> None:
    store = Changing(rng)
    around = Surroundings(now, rng, lambda _: None)
    chain = ReadChain(ChainSettings(cache_entries=12), around, NamedStore("one", store))
    calls = []
    for _ in range(60):
        await asyncio.sleep(rng.choice([0.0, 0.0, 0.003, 0.1, 2.0]))
        store.fails = rng.random() < 0.2
        policy = ViewPolicy(rng.choice([0.0, 0.1, 5.0]), rng.choice([0.0, 1.0, 20.0]))
        span = Span([b"%d" % i for i in rng.sample(range(20), rng.randint(1, 6))], policy)
        calls.append(asyncio.create_task(_check(chain, span)))
    await asyncio.gather(*calls)
    await chain.close()


async def _check(chain: ReadChain, span: Span) -> None:
    came = now()
    found = chain.hit([span], came) or await chain.read([span], came, came + 0.04)
    answered, stale = now(), found[0].stale_micros
    assert answered <= came + 0.04
    for i, (key, row, source) in enumerate(zip(span.keys, found[0].rows, sources(found[0]), strict=True)):
        if isinstance(row, Unread):
            assert row.degraded in found[0].reasons
            continue
        assert isinstance(row, bytes)
        its, _, time = row.partition(b"@")
        age_s = answered - float(time) + 1e-6
        assert its == key
        limit = {Source.CACHE: span.policy.lifetime_s, Source.STALE_CACHE: span.policy.stale_s}
        if source is Source.STORE:
            assert float(time) > came - 1e-6 or age_s <= span.policy.lifetime_s + 1e-3
        else:
            assert age_s <= limit[source] + 1e-5
        assert (source is Source.STALE_CACHE) == (stale is not None and stale[i] > 0)
        if stale is not None and stale[i]:
            assert stale[i] / 1e6 >= age_s - 1e-4
