"""Erasing an entity, on every Redis that recsvc serves from: what goes, what stays, and what can come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from recsvc import FLOAT64, INT64, Entity, Feature, FeatureView, Registry
from recsvc.errors import StoreUnavailableError
from recsvc.online.keys import KeyMaker
from recsvc.online.layout import TOMBSTONE
from recsvc.online.redis_changes import RedisChangeFeed
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_eraser import DEFAULT_TTL, RedisEraser
from recsvc.online.redis_open import OpenRedis, open_redis
from recsvc.online.redis_writer import RedisRowWriter, WriteResult
from recsvc.online.row import RowCodec
from recsvc.registry.schema import Schema
from tests.parts.topologies import Endpoint

NOW = 1_800_000_000_000_000
HOUR = 3_600_000_000
DAY = timedelta(days=1)
USER = Entity("user", "user_id", INT64)
ITEM = Entity("item", "item_id", spread=4)
SHOP = Entity("shop", "shop_id", INT64)
VALUE = [Feature("value", FLOAT64)]
PROFILE = FeatureView("profile", [USER], VALUE, freshness=DAY)
PROFILE_2 = FeatureView("profile", [USER], VALUE, version=2)
CARE = FeatureView("care", [USER], VALUE)
FILM = FeatureView("film", [ITEM], VALUE, mirrored=True)
RATING = FeatureView("rating", [USER, ITEM], VALUE)
STOCK = FeatureView("stock", [SHOP], VALUE)
LOST = FeatureView("lost", [SHOP, USER], VALUE, version=7)
VIEWS = (PROFILE, PROFILE_2, CARE, FILM, RATING, STOCK)
REGISTRY = Registry(views=VIEWS, active={"profile": 1})
WEIRD = 'a{b}*?[c]:d%e^f\\ "~ü'


@pytest.fixture
async def store(store_endpoint: Endpoint) -> AsyncIterator[OpenRedis]:
    """An empty store, opened as one who may write."""
    async with open_redis(store_endpoint.admin_url, ConnectionSettings(max_connections=128)) as opened:
        await opened.client.flushall()
        yield opened


async def write(
    store: OpenRedis, view: FeatureView, *ids: Sequence[object], event: int = NOW - HOUR, at: int = NOW
) -> WriteResult:
    """Write a row of a view for each tuple of ids."""
    keys = KeyMaker(view).keys([[str(i) for i in column] for column in zip(*ids, strict=True)])
    n = len(keys)
    rows = RowCodec(Schema.of(view.features)).encode(np.full(n, event), np.full(n, at), [(np.ones(n), None)])
    return await store.writer().write(view, keys, rows)


async def live(store: OpenRedis, view: FeatureView, *ids: object) -> bool | None:
    """Whether there is a row (True), a tombstone (False) or nothing (None) under the ids."""
    (key,) = KeyMaker(view).keys([[str(i)] for i in ids])
    row: Any = await store.client.get(key)
    return None if row is None else not row[1] & TOMBSTONE


def eraser(store: OpenRedis, now: int = NOW) -> RedisEraser:
    """Make the eraser, at ``now``."""
    return RedisEraser(store.client, store.writer(), REGISTRY, now_micros=lambda: now)


async def test_all_rows_of_an_entity_go_and_no_others(store: OpenRedis) -> None:
    """All views and versions, pairs with it in either place, and views that the registry no longer has."""
    await write(store, PROFILE, (196,), (197,))
    await write(store, PROFILE_2, (196,))
    await write(store, RATING, *((196, f"i{n}") for n in range(20)), (197, "i1"))
    await write(store, LOST, (5, 196), (5, 197), (196, 5))
    await write(store, STOCK, (196,))  # another entity with the same id, under the same hash tag
    await write(store, FILM, ("196",))
    erased = await eraser(store).erase(USER, "196")
    assert erased.rows == {"profile@v1": 1, "profile@v2": 1, "rating@v1": 20, "lost@v7": 1}
    assert erased.left == []
    assert [await live(store, v, 196) for v in (PROFILE, PROFILE_2)] == [False, False]
    assert {await live(store, RATING, 196, f"i{n}") for n in range(20)} == {False}
    assert await live(store, LOST, 5, 196) is False
    kept = (
        (PROFILE, (197,)),
        (RATING, (197, "i1")),
        (LOST, (5, 197)),
        (LOST, (196, 5)),
        (STOCK, (196,)),
        (FILM, (196,)),
    )
    assert [await live(store, view, *ids) for view, ids in kept] == [True] * len(kept)


@pytest.mark.parametrize("text", [WEIRD, "x" * 512, "~3", "a:b", "item"])
async def test_any_id_is_found(store: OpenRedis, text: str) -> None:
    """Ids with the characters of keys, tags and patterns are erased as they are, in views of their own and in pairs."""
    await write(store, FILM, (text,), ("other",))
    await write(store, RATING, (1, text), (1, "other"))
    erased = await eraser(store).erase(ITEM, text)
    assert erased.rows == {"film@v1": 1, "rating@v1": 1}
    assert await live(store, RATING, 1, "other")
    assert await live(store, FILM, "other")


async def test_tombstones_stand_also_where_there_was_no_row(store: OpenRedis) -> None:
    """A view of exactly this entity gets a tombstone without a row; a view of a pair does not."""
    erased = await eraser(store).erase(USER, "196")
    assert erased.rows == {}
    assert [await live(store, view, 196) for view in (PROFILE, PROFILE_2, CARE)] == [False] * 3
    assert (await write(store, PROFILE, (196,))).stale == 1


async def test_older_data_does_not_come_back_and_newer_data_does(store: OpenRedis) -> None:
    """The tombstone is dated when it was written: rows of before are stale, whenever they are loaded."""
    await write(store, PROFILE, (196,))
    await write(store, RATING, (196, "a"))
    await eraser(store).erase(USER, "196")
    assert (await write(store, PROFILE, (196,), event=NOW - 1, at=NOW + HOUR)).stale == 1
    assert (await write(store, RATING, (196, "a"), event=NOW - 1, at=NOW + HOUR)).stale == 1
    assert await live(store, PROFILE, 196) is False
    assert (await write(store, PROFILE, (196,), event=NOW + 1, at=NOW + HOUR)).written == 1
    assert await live(store, PROFILE, 196)


async def test_a_row_ahead_of_the_clock_goes_too_and_stays_away(store: OpenRedis) -> None:
    """Event times may be ahead by up to an hour; the tombstone is then dated behind that row, not before."""
    await write(store, PROFILE, (196,), (197,), event=NOW + HOUR - 1)
    erased = await eraser(store).erase(USER, "196")
    assert erased.rows == {"profile@v1": 1}
    assert await live(store, PROFILE, 196) is False
    assert (await write(store, PROFILE, (196,), event=NOW + HOUR - 1, at=NOW + HOUR)).stale == 1


async def test_a_row_that_is_written_meanwhile_goes_as_well(store: OpenRedis) -> None:
    """A load that writes between the look and the tombstone does not save the row."""
    await write(store, PROFILE, (196,))

    class Raced(RedisRowWriter):
        raced = False

        async def bury(
            self, view: FeatureView, keys: Sequence[bytes], event_micros: int, write_micros: int, ttl_ms: int
        ) -> WriteResult:
            if not self.raced:
                Raced.raced = True
                await write(store, PROFILE, (196,), event=NOW + 5)
            return await super().bury(view, keys, event_micros, write_micros, ttl_ms)

    erased = await RedisEraser(store.client, Raced(store.client), REGISTRY, now_micros=lambda: NOW).erase(USER, "196")
    assert Raced.raced
    assert erased.rows == {"profile@v1": 1}
    assert await live(store, PROFILE, 196) is False


async def test_a_row_of_a_newer_format_is_reported_as_left(store: OpenRedis) -> None:
    """What we cannot overwrite is not said to be erased."""
    await write(store, PROFILE, (196,))
    (key,) = KeyMaker(PROFILE).keys([["196"]])
    row: Any = await store.client.get(key)
    await store.client.set(key, b"\x02" + row[1:])
    erased = await eraser(store).erase(USER, "196")
    assert (erased.rows, erased.left) == ({}, [key])


async def test_bytes_that_are_no_row_are_erased(store: OpenRedis) -> None:
    """A corrupt row is a row of the entity too."""
    (key,) = KeyMaker(PROFILE).keys([["196"]])
    await store.client.set(key, b"\x01broken")
    erased = await eraser(store).erase(USER, "196")
    assert erased.rows == {"profile@v1": 1}
    assert await live(store, PROFILE, 196) is False


async def test_erasing_again_finds_nothing(store: OpenRedis) -> None:
    """Tombstones are not counted as rows."""
    await write(store, PROFILE, (196,))
    assert (await eraser(store).erase(USER, "196")).rows == {"profile@v1": 1}
    assert (await eraser(store, NOW + HOUR).erase(USER, "196")).rows == {}
    assert (await write(store, PROFILE, (196,), event=NOW + HOUR - 1)).stale == 1


async def test_tombstones_last_as_long_as_the_views_rows(store: OpenRedis) -> None:
    """The view's TTL, or 30 days where it has none or is not known."""
    await write(store, LOST, (5, 196))
    await eraser(store).erase(USER, "196")
    for view, ids, expected in ((PROFILE, (196,), 3 * DAY), (CARE, (196,), DEFAULT_TTL), (LOST, (5, 196), DEFAULT_TTL)):
        (key,) = KeyMaker(view).keys([[str(i)] for i in ids])
        left = timedelta(milliseconds=await store.client.pttl(key))
        assert expected - timedelta(minutes=5) < left <= expected


async def test_the_change_feed_of_a_mirrored_view_tells_the_deletion(store: OpenRedis) -> None:
    """Servers that keep the view in memory hear of it like of any write."""
    await write(store, FILM, ("a",), ("b",))
    feed = RedisChangeFeed(store.client, FILM)
    last = await feed.position()
    await eraser(store).erase(ITEM, "a")
    (change,) = (await feed.since(last)).changes
    assert change.parsed.ids == (("item", "a"),)
    assert change.event_micros == NOW


async def test_progress_reaches_the_number_of_keys(store: OpenRedis) -> None:
    """All keys of all masters are looked at."""
    await write(store, PROFILE, *((n,) for n in range(3_000)))
    seen: list[tuple[int, int]] = []
    await eraser(store).erase(USER, "7", lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {3_000}
    assert seen[-1][0] == 3_000


async def test_a_store_that_is_gone_raises() -> None:
    """No half answer: a store that cannot be reached is an error."""
    async with Redis(unix_socket_path="/nonexistent/redis.sock") as client:
        with pytest.raises(StoreUnavailableError, match="erasing in the store failed"):
            await RedisEraser(client, RedisRowWriter(client), REGISTRY, now_micros=lambda: NOW).erase(USER, "1")
