"""The writer on a real Redis: in whatever order rows come, the same one stays; and it stays as long as it should."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from recsvc import FLOAT64, INT64, STRING, Entity, Feature, FeatureView
from recsvc.errors import DefinitionError, StoreUnavailableError
from recsvc.online.keys import KeyMaker
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenRedis, open_redis
from recsvc.online.redis_writer import RedisRowWriter, WriteResult
from recsvc.online.row import RowCodec, tombstone
from recsvc.registry.schema import Schema
from recsvc.registry.types import INT64_MAX, INT64_MIN
from tests.parts.topologies import Endpoint
from tests.vectors import make

SETTINGS = ConnectionSettings(connect_timeout_s=5.0)
NOW = 1_800_000_000_000_000
DAY_MS = 86_400_000
USER = Entity("user", "user_id")
VIEW = FeatureView("profile", [USER], [Feature("age", INT64)], freshness=timedelta(hours=8))
SCHEMA = Schema.of(VIEW.features)
FOREVER = FeatureView("profile", [USER], [Feature("age", INT64)])
RACES = settings(max_examples=60)


@contextlib.asynccontextmanager
async def emptied(endpoint: Endpoint) -> AsyncIterator[OpenRedis]:
    """Yield an open store with nothing in it."""
    async with open_redis(endpoint.url, SETTINGS) as store:
        await store.client.flushall()
        yield store


@pytest.fixture
async def store(redis_8: Endpoint) -> AsyncIterator[OpenRedis]:
    """An open store with nothing in it."""
    async with emptied(redis_8) as opened:
        yield opened


def keys(*ids: str) -> list[bytes]:
    """Return the keys of rows of VIEW."""
    return KeyMaker(VIEW).keys([ids])


def row(event: int, write: int = NOW, value: int = 0) -> bytes:
    """Return a row of VIEW."""
    return RowCodec(SCHEMA).encode(np.array([event]), np.array([write]), [(np.array([value]), None)])[0]


def rank(of: bytes) -> tuple[int, int, str]:
    """Order rows as the format says: by event time, write time, SHA-1."""
    times = [int.from_bytes(of[i : i + 8], "little", signed=True) for i in (8, 16)]
    return times[0], times[1], hashlib.sha1(of, usedforsecurity=False).hexdigest()


async def get(store: OpenRedis, key: bytes) -> bytes | None:
    """Return what is stored under a key."""
    found: bytes | None = await store.client.execute_command("GET", key)
    return found


# Few values, so that equal and nearly equal times are frequent, on both sides of where a comparison can break.
events = st.sampled_from(
    [NOW, NOW + 1, NOW + 3_600_000_000, 2**53, 2**53 + 1, 2**32 - 1, 2**32, -1, 0, -(2**40), INT64_MAX]
)
writes = st.sampled_from([NOW, NOW + 1, 2**53 + 1, -1])
some_rows = st.one_of(
    st.builds(row, events, writes, st.integers(0, 2)), st.builds(tombstone, events, writes), st.builds(row, events)
)
batches = st.lists(st.lists(st.tuples(st.sampled_from("abc"), some_rows), min_size=1, max_size=4), max_size=4)


@given(data=st.data(), first=batches, second=batches)
@RACES
async def test_writers_that_race_leave_the_row_that_is_last(
    redis_8: Endpoint, data: st.DataObject, first: list[Any], second: list[Any]
) -> None:
    """Two writers, batches in any order and at once: each key ends with the greatest of its rows, forced by nobody."""
    everything = [pair for batch in first + second for pair in batch]
    async with emptied(redis_8) as one, open_redis(redis_8.url, SETTINGS) as two:
        plan = data.draw(st.permutations([(one, b) for b in first] + [(two, b) for b in second]))
        at_once = data.draw(st.integers(1, max(len(plan), 1)))
        for start in range(0, len(plan), at_once):
            together = plan[start : start + at_once]
            await asyncio.gather(
                *(s.writer().write(VIEW, keys(*(i for i, _ in b)), [r for _, r in b]) for s, b in together)
            )
        for name in "abc":
            rows = [r for i, r in everything if i == name]
            assert await get(one, keys(name)[0]) == max(rows, key=rank, default=None)


async def test_every_order_of_four_rows_ends_alike(store: OpenRedis) -> None:
    """Older, newer, equal at a later write, equal in both times, a tombstone: all orders leave the same row."""
    rows = [row(NOW, NOW, 1), row(NOW, NOW + 1, 2), row(NOW - 1, NOW + 9, 3), tombstone(NOW, NOW)]
    ties = [row(NOW, NOW, value) for value in range(3)] + [tombstone(NOW, NOW)]
    (key,) = keys("a")
    for of in (rows, ties):
        for order in itertools.permutations(of):
            await store.client.delete(key)
            for each in order:
                await store.writer().write(VIEW, [key], [each])
            assert await get(store, key) == max(of, key=rank)


async def test_many_concurrent_writers_of_one_key(store: OpenRedis, redis_8: Endpoint) -> None:
    """Of 200 writes in flight at once from two connections the last one in time stays, and is counted right."""
    rows = [row(NOW + i // 2, NOW + i, i) for i in range(200)]
    async with open_redis(redis_8.url, SETTINGS) as other:
        writers = [store.writer(), other.writer()]
        calls = [writers[i % 2].write(VIEW, keys("a"), [r]) for i, r in enumerate(rows)]
        results = await asyncio.gather(*calls[::-1])
    assert await get(store, keys("a")[0]) == rows[-1]
    assert sum(r.written for r in results) + sum(r.stale for r in results) == 200


@pytest.mark.parametrize("vector", make.document()["order"], ids=lambda v: v["what"])
async def test_the_order_is_that_of_the_test_vectors(store: OpenRedis, vector: dict[str, Any]) -> None:
    """Of each documented pair the same row stays, whichever comes first."""
    held_back, stays = bytes.fromhex(vector["held_back"]), bytes.fromhex(vector["stays"])
    writer, (key,) = store.writer(), keys("a")
    assert await writer.write(VIEW, [key], [held_back]) == WriteResult(1, 0)
    assert await writer.write(VIEW, [key], [stays]) == WriteResult(1, 0)
    assert await writer.write(VIEW, [key], [held_back]) == WriteResult(0, 1)
    assert await get(store, key) == stays


@pytest.mark.parametrize("extreme", [INT64_MIN, INT64_MIN + 1, -1, 0, 2**53, INT64_MAX - 1])
async def test_times_are_compared_exactly(store: OpenRedis, extreme: int) -> None:
    """One microsecond decides over the whole range of 64 bits, for event times and for write times."""
    for low, high in ((row(extreme), row(extreme + 1)), (row(5, extreme), row(5, extreme + 1))):
        for first, second in ((low, high), (high, low)):
            await store.client.flushall()
            await store.writer().write(VIEW, keys("a"), [first])
            await store.writer().write(VIEW, keys("a"), [second])
            assert await get(store, keys("a")[0]) == high


async def test_force_writes_whatever_is_stored(store: OpenRedis) -> None:
    """A forced row replaces a later one, a tombstone and a row of a newer format."""
    for stored in (row(NOW + 1), tombstone(NOW + 1, NOW), b"\x02" + row(NOW)[1:]):
        await store.writer().write(VIEW, keys("a"), [stored], force=True)
        assert await store.writer().write(VIEW, keys("a"), [row(NOW)]) == WriteResult(0, 1)
        assert await store.writer().write(VIEW, keys("a"), [row(NOW)], force=True) == WriteResult(1, 0)
        assert await get(store, keys("a")[0]) == row(NOW)


@pytest.mark.parametrize("stored", [b"", b"garbage", bytes(23)])
async def test_what_is_no_row_is_replaced(store: OpenRedis, stored: bytes) -> None:
    """Bytes too short to be a row do not keep one out."""
    await store.client.set(keys("a")[0], stored)
    assert await store.writer().write(VIEW, keys("a"), [row(INT64_MIN)]) == WriteResult(1, 0)


async def test_results_say_what_was_written(store: OpenRedis) -> None:
    """Of a batch some are written and some held back; the last of equal keys in a batch counts, too."""
    writer = store.writer()
    await writer.write(VIEW, keys("a", "b"), [row(NOW), row(NOW)])
    result = await writer.write(
        VIEW, keys("a", "b", "c", "c"), [row(NOW + 1), row(NOW - 1), row(NOW), row(NOW, NOW + 1)]
    )
    assert result == WriteResult(3, 1)
    assert await writer.write(VIEW, [], []) == WriteResult(0, 0)


async def test_batches_of_any_size_are_written(store: OpenRedis) -> None:
    """More rows than one script takes are all written and counted."""
    ids = [str(i) for i in range(1_201)]
    result = await store.writer().write(VIEW, keys(*ids), [row(NOW, NOW, i) for i in range(1_201)])
    assert result == WriteResult(1_201, 0)
    assert await store.client.dbsize() == 1_201
    assert await get(store, keys("1200")[0]) == row(NOW, NOW, 1_200)


async def expiry(store: OpenRedis, key: bytes) -> int:
    """Return when a key expires, in ms since 1970; -1 for never."""
    return int(await store.client.execute_command("PEXPIRETIME", key))


async def clock(store: OpenRedis) -> int:
    """Return the server's clock in ms."""
    seconds, micros = await store.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def test_a_row_lasts_for_the_views_ttl(store: OpenRedis) -> None:
    """The TTL is the view's to the millisecond, counted from the write."""
    before = await clock(store)
    await store.writer().write(VIEW, keys("a"), [row(NOW)])
    after = await clock(store)
    assert before + DAY_MS <= await expiry(store, keys("a")[0]) <= after + DAY_MS


async def test_a_view_without_a_ttl_is_kept_for_ever(store: OpenRedis) -> None:
    """No TTL means none, also where the row had one before."""
    await store.writer().write(VIEW, keys("a"), [row(NOW)])
    await store.writer().write(FOREVER, keys("a"), [row(NOW + 1)])
    assert await expiry(store, keys("a")[0]) == -1


@pytest.mark.parametrize(
    ("ttl", "milliseconds"), [(timedelta(microseconds=1), 1), (timedelta(days=36_525), 36_525 * DAY_MS)]
)
async def test_extreme_ttls_are_ttls(store: OpenRedis, ttl: timedelta, milliseconds: int) -> None:
    """The shortest TTL is not "for ever", the longest is not refused."""
    view = FeatureView("profile", [USER], VIEW.features, max_age=ttl, ttl=ttl)
    before = await clock(store)
    assert await store.writer().write(view, keys("a"), [row(NOW)]) == WriteResult(1, 0)
    expires = await expiry(store, keys("a")[0])
    assert expires == -2 or before + milliseconds <= expires <= await clock(store) + milliseconds


async def test_writing_the_same_row_renews_its_ttl_and_a_held_back_one_does_not(store: OpenRedis) -> None:
    """A load that runs again keeps its rows alive; old data does not keep newer rows alive."""
    writer, (key,) = store.writer(), keys("a")
    await writer.put(VIEW, [key], [row(NOW)], 50_000)
    assert await writer.write(VIEW, [key], [row(NOW)]) == WriteResult(1, 0)
    renewed = await expiry(store, key)
    assert renewed > await clock(store) + DAY_MS - 5_000
    assert await writer.put(VIEW, [key], [row(NOW - 1)], 50_000) == WriteResult(0, 1)
    assert await expiry(store, key) == renewed


async def test_a_tombstone_buries_and_holds_back(store: OpenRedis) -> None:
    """It replaces the row, lasts as long as it is told to, keeps older loads out and lets later data in."""
    writer, two = store.writer(), keys("a", "b")
    await writer.write(VIEW, two, [row(NOW), row(NOW + 9)])
    before = await clock(store)
    assert await writer.bury(VIEW, two, NOW + 5, NOW + 6, 60_000) == WriteResult(1, 1)
    assert await get(store, two[0]) == tombstone(NOW + 5, NOW + 6)
    assert before + 60_000 <= await expiry(store, two[0]) <= await clock(store) + 60_000
    assert await writer.write(VIEW, two[:1], [row(NOW + 4)]) == WriteResult(0, 1)
    assert await writer.write(VIEW, two[:1], [row(NOW + 5, NOW + 7)]) == WriteResult(1, 0)


async def test_a_forgotten_script_is_sent_again(store: OpenRedis) -> None:
    """SCRIPT FLUSH, or a replica that became master, costs one more command and no row."""
    writer = store.writer()
    await writer.write(VIEW, keys("a"), [row(NOW)])
    await store.client.execute_command("SCRIPT", "FLUSH")
    await store.client.execute_command("CONFIG", "RESETSTAT")
    many = await asyncio.gather(*(writer.write(VIEW, keys(str(i)), [row(NOW)]) for i in range(20)))
    assert many == [WriteResult(1, 0)] * 20
    await writer.write(VIEW, keys("a"), [row(NOW + 1)])
    stats: Any = await store.client.execute_command("INFO", "commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 21
    assert 1 <= stats["cmdstat_eval"]["calls"] <= 20


async def test_a_writer_without_rights_says_that_the_store_refuses(store: OpenRedis, redis_8: Endpoint) -> None:
    """A user that may only read gets one error of ours, and nothing is written."""
    rules = ["on", "nopass", "~fs:*", "+@read", "+ping"]
    await store.client.execute_command("ACL", "SETUSER", "reader", *rules)
    async with open_redis(redis_8.url.replace("unix://", "unix://reader:x@"), SETTINGS) as reader:
        with pytest.raises(StoreUnavailableError, match="writing to the store failed"):
            await reader.writer().write(VIEW, keys("a"), [row(NOW)])
        with pytest.raises(StoreUnavailableError):
            await reader.writer().prepare(VIEW, SCHEMA)
    await store.client.execute_command("ACL", "DELUSER", "reader")
    assert await store.client.dbsize() == 0


def schema(*features: tuple[str, Any]) -> Schema:
    """Return a schema of (name, type) pairs."""
    return Schema(tuple(name for name, _ in features), tuple(of for _, of in features))


async def record(store: OpenRedis) -> Any:  # noqa: ANN401  # JSON
    """Return the schema record of VIEW."""
    found = await get(store, b"fs:schema:profile:v1")
    return None if found is None else json.loads(found)


async def test_the_schema_record_is_of_the_longest_writer(store: OpenRedis) -> None:
    """A longer schema extends the record, a shorter one leaves it; it never expires."""
    writer = store.writer()
    short, long = schema(("age", INT64)), schema(("age", INT64), ("name", STRING[8]))
    for each, lines in (
        (short, ["age:INT64"]),
        (long, ["age:INT64", "name:STRING"]),
        (short, ["age:INT64", "name:STRING"]),
    ):
        await writer.prepare(VIEW, each)
        assert await record(store) == lines
    assert await expiry(store, b"fs:schema:profile:v1") == -1
    await writer.prepare(VIEW, schema(("age", INT64), ("name", STRING[99])))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (schema(("age", FLOAT64)), "feature 1 is 'age:INT64', here it is 'age:FLOAT64'"),
        (schema(("years", INT64), ("name", STRING[8])), "feature 1 is 'age:INT64', here it is 'years:INT64'"),
        (schema(("age", INT64), ("x", INT64)), "feature 2 is 'name:STRING', here it is 'x:INT64'"),
    ],
)
async def test_a_schema_that_does_not_fit_is_refused(store: OpenRedis, other: Schema, words: str) -> None:
    """Rows of two schemas must not mix: the line says which feature, what it was, and that a new version is due."""
    await store.writer().prepare(VIEW, schema(("age", INT64), ("name", STRING[8])))
    with pytest.raises(DefinitionError) as caught:
        await store.writer().prepare(VIEW, other)
    assert words in str(caught.value)
    assert "view profile@v1" in str(caught.value)
    assert "new version" in str(caught.value)
    assert await record(store) == ["age:INT64", "name:STRING"]


@pytest.mark.parametrize("text", ["garbage", "{}", "\x00\xff", "3"])
async def test_a_record_that_is_none_is_refused(store: OpenRedis, text: str) -> None:
    """Whoever spoilt the record is told so, and what to do."""
    await store.client.set("fs:schema:profile:v1", text)
    with pytest.raises(DefinitionError, match="fs:schema:profile:v1 in the store is not a JSON list"):
        await store.writer().prepare(VIEW, SCHEMA)


async def test_records_that_race_end_with_the_longest(store: OpenRedis, redis_8: Endpoint) -> None:
    """Writers of several prefixes that start at once leave the longest schema, and one that does not fit is refused."""
    whole = schema(*((f"f{i}", INT64) for i in range(8)))
    async with open_redis(redis_8.url, SETTINGS) as other:
        for _ in range(10):
            await store.client.flushall()
            stores: Sequence[OpenRedis] = (store, other)
            calls = [stores[n % 2].writer().prepare(VIEW, whole.prefix(n)) for n in (8, 3, 1, 7, 2, 5, 4, 6)]
            await asyncio.gather(*calls)
            assert await record(store) == list(whole.lines)
        rivals = [schema(("f0", INT64), ("f1", FLOAT64)), whole]
        await store.client.flushall()
        ends = await asyncio.gather(
            *(s.writer().prepare(VIEW, r) for s, r in zip(stores, rivals, strict=True)), return_exceptions=True
        )
        assert sorted(type(e).__name__ for e in ends) == ["DefinitionError", "NoneType"]


def test_a_writer_says_what_it_writes_to() -> None:
    """repr() tells standalone from cluster."""
    assert repr(RedisRowWriter(Redis())) == "RedisRowWriter(standalone)"
