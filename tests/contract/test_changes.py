"""The change feed of mirrored views: what is written is announced, followers miss nothing without being told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import numpy as np
import pytest
from redis.exceptions import RedisError

from recsvc import INT64, Entity, Feature, FeatureView
from recsvc.errors import StoreUnavailableError
from recsvc.online import redis_changes
from recsvc.online.keys import KeyMaker, ParsedKey
from recsvc.online.redis_changes import START, Change, RedisChangeFeed, stream_key
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenRedis, open_redis
from recsvc.online.row import RowCodec
from recsvc.registry.schema import Schema
from recsvc.telemetry.counters import Counters
from tests.parts.rows import StoreRows
from tests.parts.topologies import Endpoint, unix_socket

SETTINGS = ConnectionSettings(connect_timeout_s=2.0)
ITEM = Entity("item", "item_id", spread=8)
FILM = FeatureView("film", [ITEM], [Feature("year", INT64)], mirrored=True, freshness=timedelta(days=1))
QUIET = FeatureView("quiet", [ITEM], [Feature("year", INT64)])
NOW = 1_800_000_000_000_000
COUNTERS = Counters(monotonic=lambda: 0.0)
GetEndpoint = Callable[[str], Endpoint]


@contextlib.asynccontextmanager
async def opened(endpoint: Endpoint) -> AsyncIterator[tuple[OpenRedis, RedisChangeFeed]]:
    """Yield a store that may be written to, without rows and feed of FILM, and the feed as a reader sees it."""
    async with open_redis(endpoint.admin_url, SETTINGS) as admin, open_redis(endpoint.url, SETTINGS) as store:
        await admin.client.delete(stream_key("film"))
        for key in keys("a", "b", "c"):
            await admin.client.delete(key)
        yield admin, RedisChangeFeed(store.client, FILM)


def keys(*ids: str) -> list[bytes]:
    """Return keys of rows of FILM."""
    return KeyMaker(FILM).keys([ids])


def row(event: int = NOW) -> bytes:
    """Return a row of FILM."""
    return RowCodec(Schema.of(FILM.features)).encode(np.array([event]), np.array([NOW]), [(np.array([7]), None)])[0]


def change(name: str, event: int = NOW) -> Change:
    """Return what is announced of a row of FILM."""
    return Change(keys(name)[0], ParsedKey((("item", name),), "film", 1), event)


async def entry(admin: OpenRedis, **fields: str | bytes) -> None:
    """Append an entry as somebody else might."""
    await admin.client.execute_command("XADD", stream_key("film"), "*", *[x for pair in fields.items() for x in pair])


async def test_what_is_written_is_announced(store_endpoint: Endpoint) -> None:
    """A follower that began before the write gets each written row once, in order, and then nothing."""
    async with opened(store_endpoint) as (admin, feed):
        assert await feed.position() == START
        assert (await feed.since(START)).changes == ()
        await admin.writer().write(FILM, keys("a", "b"), [row(), row(-5)])
        first = await feed.since(START)
        assert sorted(first.changes, key=lambda c: c.key) == sorted([change("a"), change("b", -5)], key=lambda c: c.key)
        assert not first.gap
        assert first.last == await feed.position()
        nothing = await feed.since(first.last)
        assert (nothing.changes, nothing.last, nothing.gap) == ((), first.last, False)
        await admin.writer().write(FILM, keys("c"), [row(NOW + 1)])
        more = await feed.since(first.last)
        assert (more.changes, more.gap) == ((change("c", NOW + 1),), False)


async def test_the_row_is_there_when_it_is_announced(store_endpoint: Endpoint) -> None:
    """Whoever reads what is announced finds that row, or a later one."""
    async with opened(store_endpoint) as (admin, feed), admin.reader(COUNTERS) as store:
        last = await feed.position()
        for event in (NOW, NOW + 1, NOW + 2):
            await admin.writer().write(FILM, keys("a"), [row(event)])
            found = await feed.since(last)
            assert [c.event_micros for c in found.changes] == [event]
            assert await StoreRows(store).read([c.key for c in found.changes], 5.0) == [row(event)]
            last = found.last


async def test_only_what_was_written_to_mirrored_views_is_announced(store_endpoint: Endpoint) -> None:
    """Rows that were held back, and those of other views, are not; tombstones are."""
    async with opened(store_endpoint) as (admin, feed):
        writer = admin.writer()
        await writer.write(FILM, keys("a"), [row()])
        last = await feed.position()
        await writer.write(FILM, keys("a", "b"), [row(NOW - 1), row()])
        await writer.write(QUIET, KeyMaker(QUIET).keys([["a"]]), [row()], force=True)
        await writer.bury(FILM, keys("a"), NOW + 5, NOW, 60_000)
        found = await feed.since(last)
        assert found.changes == (change("b"), change("a", NOW + 5))
        assert await admin.client.exists(stream_key("quiet")) == 0


async def test_a_follower_goes_on_in_steps(store_endpoint: Endpoint) -> None:
    """With a limit the changes come in order, so many at a time, none twice and none left out."""
    async with opened(store_endpoint) as (admin, feed):
        for event in range(7):
            await admin.writer().write(FILM, keys("a"), [row(NOW + event)])
        last, seen = START, []
        while (found := await feed.since(last, count=2)).changes:
            assert len(found.changes) <= 2
            assert found.more == (len(found.changes) == 2)
            assert not found.gap
            seen += [c.event_micros - NOW for c in found.changes]
            last = found.last
        assert seen == list(range(7))


async def test_a_gap_is_noticed(store_endpoint: Endpoint) -> None:
    """Where the last entry seen is gone, by trimming or with the whole stream, the follower is told so."""
    async with opened(store_endpoint) as (admin, feed):
        for event in range(4):
            await admin.writer().write(FILM, keys("a"), [row(NOW + event)])
        seen = (await feed.since(START, count=1)).last
        await admin.client.xtrim(stream_key("film"), maxlen=2, approximate=False)
        found = await feed.since(seen)
        assert found.gap
        assert [c.event_micros - NOW for c in found.changes] == [2, 3]
        assert not (await feed.since(found.last)).gap
        await admin.client.delete(stream_key("film"))
        assert (await feed.since(found.last)).gap
        assert await feed.position() == START
        assert not (await feed.since(START)).gap


async def test_a_gap_is_noticed_by_who_began_with_nothing(redis_8: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower of an empty stream has seen no entry; that the stream is full tells it that some may be gone."""
    monkeypatch.setattr(redis_changes, "MAX_ENTRIES", 200)
    async with opened(redis_8) as (admin, feed):
        for event in range(199):
            await entry(admin, key=keys("a")[0], version="1", event_time_us=str(event))
        assert not (await feed.since(START)).gap
        await entry(admin, key=keys("a")[0], version="1", event_time_us="199")
        assert (await feed.since(START)).gap


async def test_the_stream_is_bounded(redis_8: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old entries go when there are too many."""
    monkeypatch.setattr(redis_changes, "MAX_ENTRIES", 100)
    async with opened(redis_8) as (admin, _):
        for start in range(0, 600, 100):
            many = keys(*map(str, range(100)))
            await admin.writer().write(FILM, many, [row(NOW + start)] * 100)
        assert 100 <= await admin.client.xlen(stream_key("film")) < 300


async def test_entries_of_another_form_are_passed_over(redis_8: Endpoint) -> None:
    """What a writer of another language got wrong does not stop the follower; any version of the view is announced."""
    async with opened(redis_8) as (admin, feed):
        await entry(admin, foo="bar")
        await entry(admin, key=b"\xff", version="1", event_time_us="1")
        await entry(admin, key="fs:{~1}:item:film:v1", version="1", event_time_us="1")
        await entry(admin, key=keys("a")[0], version="1")
        await entry(admin, key=keys("a")[0], version="1", event_time_us="soon")
        await entry(admin, key=keys("a")[0].replace(b":v1", b":v2"), version="2", event_time_us="3")
        found = await feed.since(START)
        assert [(c.parsed.version, c.event_micros) for c in found.changes] == [(2, 3)]
        assert found.last == await feed.position()
        assert (await feed.since(found.last)).changes == ()


async def test_a_feed_that_cannot_be_read_is_unavailable() -> None:
    """A store that is gone is one error of ours."""
    with unix_socket() as endpoint:
        async with open_redis(endpoint.url, SETTINGS) as store:
            feed = RedisChangeFeed(store.client, FILM)
            with contextlib.suppress(RedisError):
                await store.client.execute_command("SHUTDOWN", "NOSAVE")
            for call in (feed.position, lambda: feed.since(START)):
                with pytest.raises(StoreUnavailableError, match="reading the change feed failed"):
                    await call()


async def test_rows_that_were_written_are_announced_whatever_else_fails(redis_endpoint: GetEndpoint) -> None:
    """Where one node of a cluster refuses, the rows on the others are written, announced, and the error is told."""
    async with opened(redis_endpoint("cluster")) as (admin, feed):
        many = keys(*map(str, range(100)))
        bad = KeyMaker(FILM).keys([["0"]])[0]
        await admin.client.delete(bad)
        await admin.client.execute_command("HSET", bad, "not", "a row")
        try:
            with pytest.raises(StoreUnavailableError):
                await admin.writer().write(FILM, many, [row()] * 100, force=False)
            announced = {c.key for c in (await feed.since(START)).changes}
        finally:
            for key in many:
                await admin.client.delete(key)
        assert 0 < len(announced) < 100
        assert bad not in announced


def test_a_feed_shows_its_stream() -> None:
    """repr() names the stream."""
    assert repr(RedisChangeFeed(None, FILM)) == "RedisChangeFeed(fs:changes:film)"  # type: ignore[arg-type]  # never used
