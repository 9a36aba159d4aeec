"""Whatever stages are between, a caller gets what is in Redis: cached or not, in a batch or one by one."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from recsvc import FLOAT64, INT64, STRING, STRING_LIST, VECTOR, Entity, Feature, FeatureView, Registry
from recsvc.online.answer import Answer, Degraded, Request, Row, Source
from recsvc.online.breaker import BreakerSettings, Mode
from recsvc.online.chain import ChainSettings, NamedStore, ReadChain, Surroundings
from recsvc.online.coalesce import CoalesceSettings
from recsvc.online.features import FeatureReader
from recsvc.online.keys import KeyMaker
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Span, ViewRows
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenStore, open_redis
from recsvc.online.row import tombstone
from recsvc.telemetry.counters import Counters
from tests.parts.topologies import Endpoint
from tests.unit.online.strategies import NOW, Table

SETTINGS = ConnectionSettings(connect_timeout_s=5.0)
# On a slow machine good answers are late, and no reason to open.
CHAIN = ChainSettings(
    coalesce=CoalesceSettings(timeout_s=5.0, keys_per_fetch=40), breaker=BreakerSettings(mode=Mode.CLOSED)
)
POLICY = ViewPolicy(60.0, 300.0)
UNCACHED = POLICY.within(0.0)
WAIT_S = 10.0
"""What a read may take that must succeed, on a slow machine."""
USER = Entity("user", "user_id")
ITEM = Entity("item", "item_id", spread=8)
FEATURES = [
    Feature("n", INT64, -1),
    Feature("x", FLOAT64),
    Feature("s", STRING[16], "none"),
    Feature("l", STRING_LIST[3, 8]),
    Feature("v", VECTOR[2], [0.5, 0.5]),
]
VIEWS = [
    FeatureView("chain_user", [USER], FEATURES),
    FeatureView("chain_item", [ITEM], FEATURES),
    FeatureView("chain_pair", [USER, ITEM], FEATURES),
]
REGISTRY = Registry(views=VIEWS)
PLAN = REGISTRY.plan(tuple(view.name for view in VIEWS))


@dataclass(frozen=True, slots=True)
class Rig:
    """A chain over a Redis, a reader over it, what was written, and the ids of that."""

    chain: ReadChain
    features: FeatureReader
    stored: dict[bytes, bytes]

    async def ask(self, users: list[str], items: list[str], *, most_s: float | None = None) -> Answer:
        """Return all features of pairs."""
        request = Request(len(users), {"user_id": users, "item_id": items}, {}, most_s)
        return await self.features.read(PLAN, request, now(), now() + WAIT_S)

    async def read(self, keys: list[bytes], policy: ViewPolicy = POLICY) -> ViewRows:
        """Return rows as the chain gives them."""
        spans = [Span(keys, policy)]
        (found,) = self.chain.hit(spans, now()) or await self.chain.read(spans, now(), now() + WAIT_S)
        return found


def now() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()


def row_values(rng: random.Random, n: int) -> list[list[Any]]:
    """Return columns of n rows, nulls among them, with values of all kinds of bits."""
    columns: list[list[Any]] = [
        [rng.randbytes(8) for _ in range(n)],
        [rng.randbytes(8) for _ in range(n)],
        [f"{i}\0é\r\n" for i in range(n)],
        [tuple("ab"[: i % 3]) for i in range(n)],
        [rng.randbytes(8) for _ in range(n)],
    ]
    return [[None if rng.random() < 0.1 else v for v in column] for column in columns]


def rows_of(rng: random.Random, n: int) -> list[bytes]:
    """Return n rows; some are written by an older definition, some are deleted, some are corrupt."""
    table = Table(REGISTRY.schema(VIEWS[0]), [NOW + i for i in range(n)], row_values(rng, n))
    rows = table.encode()
    rows[0], rows[1], rows[2] = tombstone(NOW, NOW), b"garbage", table.encode(2)[2]
    return rows


IDS = [str(i) for i in range(30)]
"""Of which every third has no row."""


@contextlib.asynccontextmanager
async def rig_on(endpoint: Endpoint) -> AsyncIterator[Rig]:
    """Write rows to a Redis, and yield what reads them."""
    stored: dict[bytes, bytes] = {}
    rng = random.Random(4)
    async with open_redis(endpoint.admin_url, SETTINGS) as admin:
        for view in VIEWS:
            keys = KeyMaker(view).keys([IDS, IDS[::-1]][: len(view.entities)])
            written = [key for i, key in enumerate(keys) if i % 3 or i < 6]
            rows = dict(zip(written, rows_of(rng, len(written)), strict=True))
            for key, row in rows.items():
                await admin.client.set(key, row)
            stored |= rows
    counters = Counters(monotonic=asyncio.get_running_loop().time)
    async with open_redis(endpoint.url, SETTINGS) as opened, opened.reader(counters, connections=4) as store:
        chain = ReadChain(CHAIN, Surroundings(now, rng, lambda _: None), behind(store))
        features = FeatureReader(REGISTRY, chain, counters, now_micros=lambda: NOW, max_keys=1_000, policy=POLICY)
        yield Rig(chain, features, stored)
        await chain.close()


def behind(store: OpenStore) -> Any:  # noqa: ANN401  # what a chain reads from
    """Return what a chain reads from."""
    return store.router if store.single is None else NamedStore("redis", store.single)


def bits(answer: Answer) -> list[tuple[Any, ...]]:
    """Return of each row its event times, and the bytes and status of each value."""
    columns: list[list[Any]] = [view.event_micros.tolist() for view in answer.views]
    for _, column, _ in answer.columns:
        shown = [repr(v) if column.values.dtype == object else v.tobytes() for v in column.values]
        columns.append(list(zip(shown, np.broadcast_to(column.statuses, len(shown)).tolist(), strict=True)))
    return list(zip(*columns, strict=True))


async def test_the_chain_gives_the_rows_of_redis(store_endpoint: Endpoint) -> None:
    """Rows through all stages are those that were written, read fresh or from copies, in any order and number."""
    async with rig_on(store_endpoint) as rig:
        keys = [key for view in VIEWS for key in KeyMaker(view).keys([IDS, IDS[::-1]][: len(view.entities)])]
        rng = random.Random(6)
        for policy in (UNCACHED, POLICY, POLICY, UNCACHED):
            for n in (1, 2, 90, 17, 90):
                some = rng.sample(keys, n)
                found = await rig.read(some, policy)
                assert found.rows == [rig.stored.get(key) for key in some]
                assert found.reasons == ()
        assert found.sources == Source.STORE
        assert (await rig.read(keys)).sources == Source.CACHE


async def test_calls_at_once_do_not_mix(store_endpoint: Endpoint) -> None:
    """Many calls that share keys, some of which go away, get the rows of their own keys."""
    async with rig_on(store_endpoint) as rig:
        keys = sorted(rig.stored) + [f"fs:{{none{i}}}:user:chain_user:v1".encode() for i in range(20)]
        rng = random.Random(8)
        asked = [rng.sample(keys, rng.randint(1, 30)) for _ in range(150)]
        policies = [rng.choice([POLICY, UNCACHED]) for _ in asked]
        calls = [asyncio.create_task(rig.read(*call)) for call in zip(asked, policies, strict=True)]
        await asyncio.sleep(0)
        for call in calls[::7]:
            call.cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        for some, rows in zip(asked, found, strict=True):
            if isinstance(rows, asyncio.CancelledError):
                continue
            assert isinstance(rows, ViewRows)
            expected: list[Row] = [rig.stored.get(key) for key in some]
            assert rows.rows == expected
        assert sum(isinstance(rows, ViewRows) for rows in found) >= 120


async def test_cached_is_uncached_and_a_batch_is_its_rows(store_endpoint: Endpoint) -> None:
    """Values, statuses and event times are the same bit for bit, however they were read; only sources differ."""
    async with rig_on(store_endpoint) as rig:
        users, items = IDS * 2, [*IDS[::-1], *IDS]
        uncached = await rig.ask(users, items, most_s=0.0)
        expected = bits(uncached)
        assert len(set(expected)) > 25
        for most_s in (None, None, 60.0, 0.0):
            answer = await rig.ask(users, items, most_s=most_s)
            assert bits(answer) == expected
            assert sorted(answer.degraded) == [
                (Degraded.CORRUPT_ROW, view.label) for view in sorted(VIEWS, key=lambda v: v.name)
            ]
        for most_s in (None, 0.0):
            singles = [await rig.ask([u], [i], most_s=most_s) for u, i in zip(users, items, strict=True)]
            assert [row for single in singles for row in bits(single)] == expected


@pytest.mark.parametrize("most_s", [0.0, None])
async def test_changes_are_seen_as_promised(most_s: float | None, redis_8: Endpoint) -> None:
    """A row that is replaced is seen at once by calls that allow no copies, and by others when theirs is too old."""
    async with rig_on(redis_8) as rig, open_redis(redis_8.admin_url, SETTINGS) as admin:
        (key,) = KeyMaker(VIEWS[0]).keys([["7"]])
        before = await rig.ask(["7"], ["1"], most_s=most_s)
        rows = rows_of(random.Random(99), 4)
        await admin.client.set(key, rows[3])
        after = await rig.ask(["7"], ["1"], most_s=most_s)
        assert (bits(before) == bits(after)) == (most_s is None)
        rig.chain.forget(key, rig.stored[key])
        assert (await rig.read([key])).rows == [rows[3]]
