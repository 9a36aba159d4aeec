"""All rows of one view, from every Redis: a scan leaves none out and takes no other view's, then the feed goes on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import numpy as np
import pytest
from redis.exceptions import RedisError

from recsvc import INT64, Entity, Feature, FeatureView
from recsvc.errors import StoreUnavailableError
from recsvc.online.keys import KeyMaker, parse
from recsvc.online.redis_changes import START, stream_key
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenRedis, open_redis
from recsvc.online.redis_whole_view import RedisWholeView
from recsvc.online.row import RowCodec, tombstone
from recsvc.online.whole_view import IdRow
from recsvc.registry.schema import Schema
from tests.parts.topologies import Endpoint, unix_socket

SETTINGS = ConnectionSettings(connect_timeout_s=2.0)
NOW = 1_800_000_000_000_000
ITEM = Entity("item", "item_id", spread=8)
USER = Entity("user", "user_id")
YEAR = [Feature("year", INT64)]
ODD = ["a:b", "{x}", "*", "?", "[a-z]", "~1", "item", "film:v1", "a\nb", "\\", "é", "日本", "x" * 512, "%41", "\x00"]
GetEndpoint = Callable[[str], Endpoint]


def mirrored(name: str, *entities: Entity, version: int = 1) -> FeatureView:
    """Return a view whose writers announce rows."""
    return FeatureView(name, entities, YEAR, version=version, mirrored=True, freshness=timedelta(days=1))


FILM = mirrored("film", ITEM)
PERSON = mirrored("person", USER)
OTHERS = [
    mirrored("my_film", ITEM),
    mirrored("film", ITEM, version=2),
    mirrored("film", ITEM, version=11),
    mirrored("film_extra", ITEM),
    mirrored("myperson", USER),
    FeatureView("rated_film", [USER, ITEM], YEAR),
    FeatureView("filmitem", [USER], YEAR),
]


def row(value: int) -> bytes:
    """Return a row that tells which one it is."""
    return RowCodec(Schema.of(YEAR)).encode(np.array([NOW]), np.array([NOW]), [(np.array([value]), None)])[0]


def rows(count: int) -> list[bytes]:
    """Return rows that differ."""
    return [row(i) for i in range(count)]


@contextlib.asynccontextmanager
async def opened(endpoint: Endpoint) -> AsyncIterator[tuple[OpenRedis, OpenRedis]]:
    """Yield an empty store as a writer and as a reader has it."""
    async with open_redis(endpoint.admin_url, SETTINGS) as admin, open_redis(endpoint.url, SETTINGS) as store:
        await admin.client.flushall()
        yield admin, store


async def scanned(view: RedisWholeView) -> list[IdRow]:
    """Return all that a scan yields."""
    return [found async for piece in view.scan() for found in piece]


async def write(admin: OpenRedis, view: FeatureView, ids: Sequence[str], values: Sequence[bytes]) -> None:
    """Write rows of a view of one entity."""
    await admin.writer().write(view, KeyMaker(view).keys([ids]), values)


async def test_a_scan_has_all_rows_of_its_view_and_no_others(store_endpoint: Endpoint) -> None:
    """However many there are, each row comes with its id; views, versions and keys that look alike stay out."""
    ids = [str(i) for i in range(2_500)]
    async with opened(store_endpoint) as (admin, store):
        for view in (FILM, PERSON):
            await write(admin, view, ids, rows(len(ids)))
        for view in OTHERS:
            pair = len(view.entities) == 2
            keys = KeyMaker(view).keys([["7"], ["item", "film"]] if pair else [["item", "film", "new"]])
            await admin.writer().write(view, keys, rows(len(keys)), force=True)
        for view in (FILM, PERSON):
            found = await scanned(RedisWholeView(store.client, view))
            assert len(found) >= len(ids)
            assert dict(found) == dict(zip(ids, rows(len(ids)), strict=True))


async def test_a_scan_comes_back_where_nothing_is_its_own(store_endpoint: Endpoint) -> None:
    """Whoever scans can do something else from time to time, however many keys of others there are."""
    async with opened(store_endpoint) as (admin, store):
        await write(admin, PERSON, [str(i) for i in range(2_500)], rows(2_500))
        pieces = [piece async for piece in RedisWholeView(store.client, FILM).scan()]
        assert len(pieces) >= 3
        assert not any(pieces)


@pytest.mark.parametrize("topology", ["unix", "cluster"])
@pytest.mark.parametrize("view", [FILM, PERSON], ids=["spread", "not spread"])
async def test_ids_of_any_kind_come_back_as_they_are(
    redis_endpoint: GetEndpoint, topology: str, view: FeatureView
) -> None:
    """Colons, braces, patterns, line ends, what is not ASCII: a scan and the feed give the id that was written."""
    async with opened(redis_endpoint(topology)) as (admin, store):
        whole = RedisWholeView(store.client, view)
        await write(admin, view, ODD, rows(len(ODD)))
        wanted = dict(zip(ODD, rows(len(ODD)), strict=True))
        assert dict(await scanned(whole)) == wanted
        assert dict((await whole.since(START)).rows) == wanted


@pytest.mark.parametrize("topology", ["unix", "cluster"])
async def test_tombstones_are_rows(redis_endpoint: GetEndpoint, topology: str) -> None:
    """A deleted entity comes with its tombstone, by scan and by feed, so that who follows can drop it."""
    async with opened(redis_endpoint(topology)) as (admin, store):
        whole = RedisWholeView(store.client, FILM)
        await write(admin, FILM, ["a", "b"], rows(2))
        position = await whole.position()
        await admin.writer().bury(FILM, KeyMaker(FILM).keys([["a"]]), NOW + 1, NOW + 2, 60_000)
        buried = tombstone(NOW + 1, NOW + 2)
        assert dict(await scanned(whole)) == {"a": buried, "b": row(1)}
        assert (await whole.since(position)).rows == [("a", buried)]


@pytest.mark.parametrize("topology", ["unix", "cluster"])
async def test_since_gives_what_was_written_after_the_position(redis_endpoint: GetEndpoint, topology: str) -> None:
    """Each row that was written comes once and as it is now, None where it is gone; then there is nothing more."""
    async with opened(redis_endpoint(topology)) as (admin, store):
        whole = RedisWholeView(store.client, FILM)
        await write(admin, FILM, ["before"], [row(0)])
        position = await whole.position()
        assert await whole.since(position) == ([], position, False, False)
        await write(admin, FILM, ["a", "b"], rows(2))
        await admin.writer().write(FILM, KeyMaker(FILM).keys([["a"]]), [row(5)], force=True)
        await write(admin, FILM, ["gone"], [row(9)])
        await admin.client.delete(*KeyMaker(FILM).keys([["gone"]]))
        found = await whole.since(position)
        assert dict(found.rows) == {"a": row(5), "b": row(1), "gone": None}
        assert len(found.rows) == 3
        assert not found.gap
        assert found.position == await whole.position()
        assert await whole.since(found.position) == ([], found.position, False, False)


async def test_since_comes_to_an_end_in_steps(redis_8: Endpoint) -> None:
    """More than one answer holds comes in several; following positions until they stay misses nothing."""
    async with opened(redis_8) as (admin, store):
        whole = RedisWholeView(store.client, FILM)
        ids = [str(i) for i in range(2_300)]
        await write(admin, FILM, ids, rows(len(ids)))
        position, last, found = START, b"", dict[str, bytes | None]()
        while position != last:
            written = await whole.since(position)
            assert not written.gap
            last, position = position, written.position
            found.update(written.rows)
        assert found == dict(zip(ids, rows(len(ids)), strict=True))


async def test_since_passes_other_versions_over(redis_8: Endpoint) -> None:
    """Versions of a view share one feed: the rows of others are left out, and are not read again."""
    async with opened(redis_8) as (admin, store):
        whole = RedisWholeView(store.client, FILM)
        await write(admin, mirrored("film", ITEM, version=2), ["a"], [row(1)])
        found = await whole.since(START)
        assert (found.rows, found.gap) == ([], False)
        assert found.position == await whole.position() != START


@pytest.mark.parametrize("topology", ["unix", "cluster"])
async def test_a_gap_is_told(redis_endpoint: GetEndpoint, topology: str) -> None:
    """Where the entry at the position, or the whole feed, is gone, rows may have been missed, and that is said."""
    async with opened(redis_endpoint(topology)) as (admin, store):
        whole = RedisWholeView(store.client, FILM)
        await write(admin, FILM, ["a"], [row(0)])
        position = await whole.position()
        await write(admin, FILM, ["b", "c"], rows(2))
        await admin.client.xtrim(stream_key("film"), maxlen=1, approximate=False)
        assert (await whole.since(position)).gap
        assert not (await whole.since(await whole.position())).gap
        await admin.client.delete(stream_key("film"))
        assert (await whole.since(position)).gap


async def test_what_has_the_key_of_no_row_that_is_read_is_left_out(redis_8: Endpoint) -> None:
    """A row under the bucket of another spread, or of another entity, is none that a request would meet."""
    async with opened(redis_8) as (admin, store):
        await write(admin, FILM, ["a"], [row(0)])
        for key in (b"fs:{a}:item:film:v1", b"fs:{~7}:item:a:film:v1", b"fs:{~1}:other:item:film:v1"):
            assert parse(key) is not None
            assert key != KeyMaker(FILM).keys([["a"]])[0]
            await admin.client.set(key, row(7))
            fields = {"key": key, "version": 1, "event_time_us": NOW}
            await admin.client.xadd(stream_key("film"), fields)  # type: ignore[arg-type]  # fields are invariant
        whole = RedisWholeView(store.client, FILM)
        assert await scanned(whole) == [("a", row(0))]
        assert (await whole.since(START)).rows == [("a", row(0))]


@pytest.mark.parametrize("topology", ["unix", "cluster"])
async def test_a_key_that_is_no_string_is_no_row(redis_endpoint: GetEndpoint, topology: str) -> None:
    """What is no string under the key of a row is as no row, as it is to requests; the other rows are there."""
    async with opened(redis_endpoint(topology)) as (admin, store):
        await write(admin, FILM, ["a", "b"], rows(2))
        bad = KeyMaker(FILM).keys([["bad"]])[0]
        await admin.client.execute_command("HSET", bad, "not", "a row")
        whole = RedisWholeView(store.client, FILM)
        assert dict(await scanned(whole)) == {"a": row(0), "b": row(1), "bad": None}


async def test_an_empty_store_has_no_rows(store_endpoint: Endpoint) -> None:
    """Where nothing was ever written there is a position, and nothing else."""
    async with opened(store_endpoint) as (_, store):
        whole = RedisWholeView(store.client, FILM)
        assert await scanned(whole) == []
        assert await whole.position() == START
        assert await whole.since(START) == ([], START, False, False)


async def test_a_store_that_is_gone_is_unavailable() -> None:
    """Each method raises one error of ours, also where the store goes in the middle of a scan."""
    with unix_socket() as endpoint:
        async with opened(endpoint) as (admin, store):
            await write(admin, FILM, [str(i) for i in range(5_000)], rows(5_000))
            whole = RedisWholeView(store.client, FILM)
            scan = whole.scan()
            assert await anext(scan)
            with contextlib.suppress(RedisError):
                await admin.client.execute_command("SHUTDOWN", "NOSAVE")
            with pytest.raises(StoreUnavailableError):
                await anext(scan)
            for call in (whole.position(), whole.since(START), scanned(whole)):
                with pytest.raises(StoreUnavailableError, match="reading the"):
                    await call


def test_a_whole_view_shows_its_view() -> None:
    """repr() names the view and its version."""
    assert repr(RedisWholeView(None, FILM)) == f"RedisWholeView({FILM.label})"  # type: ignore[arg-type]  # never used
