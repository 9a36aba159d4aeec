"""Slates by an index whose vectors are in Redis: the same as by one in the server, other versions, and what breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path

import pytest
import redis

from recsvc.app import running
from recsvc.online.redis_vector_sets import RedisVectorSets
from recsvc.recommend.index.building import publish_in_redis
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import publish
from tests.parts.redis_server import RunningRedis
from tests.parts.topologies import Endpoint, with_search
from tests.parts.waiting import eventually
from tests.rpc.calling import Caller
from tests.rpc.rows import Rows
from tests.rpc.serving import settings
from tests.rpc.shop import (
    AVAILABLE,
    SPEC,
    VECTORS,
    WITH_VECTOR,
    Shop,
    fill,
    flaws,
    names,
    publish_index,
)

Store = tuple[Endpoint, RunningRedis, Rows]


@pytest.fixture
def store() -> Iterator[Store]:
    """A Redis that has the Query Engine, with the shop in it."""
    with with_search() as (endpoint, process), redis.Redis.from_url(endpoint.url) as client:
        rows = Rows(client)
        fill(rows)
        yield endpoint, process, rows


@contextmanager
def sets_of(endpoint: Endpoint) -> Iterator[RedisVectorSets]:
    """Open the sets of vectors of a Redis."""
    with closing(RedisVectorSets(endpoint.url, search_s=10.0)) as sets:
        yield sets


def publish_looks(root: Path, endpoint: Endpoint, version: str) -> None:
    """Publish the index of looks with its vectors in Redis."""
    with sets_of(endpoint) as sets:
        publish_in_redis(
            root / "looks", WITH_VECTOR, VECTORS, Metric.INNER_PRODUCT, version=version, stores=sets, graph=False
        )


async def opened(stack: AsyncExitStack, endpoint: Endpoint, rows: Rows, root: Path) -> Shop:
    """Start a server of the shop."""
    app = await stack.enter_async_context(running(settings(endpoint.url, index_dir=str(root)), SPEC))
    return Shop(app, await stack.enter_async_context(Caller(app.address)), rows)


async def retrieved(shop: Shop, placement: str = "retrieval") -> tuple[list[str], set[tuple[str, str]], str]:
    """Return what k-NN alone gives a user, what was wrong, and by which version of the index."""
    reply = await shop.slate(placement, user_id="1", limit=500)
    return names(reply), flaws(reply), reply.index_versions.get("looks", "")


def served(shop: Shop, version: str) -> Callable[[], object]:
    """Whether a version is served."""

    async def is_so() -> bool:
        return (await retrieved(shop))[2] == version

    return is_so


async def test_slates_are_those_of_an_index_in_the_server(store: Store, tmp_path: Path) -> None:
    """The slate by vectors in Redis is the slate by vectors in memory, item by item; other versions are taken."""
    endpoint, _, rows = store
    here, there = tmp_path / "here", tmp_path / "there"
    publish_index(here)
    publish_looks(there, endpoint, "v1")
    async with AsyncExitStack() as stack:
        by_memory = await opened(stack, endpoint, rows, here)
        expected, _, _ = await retrieved(by_memory)
        by_mean = await retrieved(by_memory, "mean")
    async with AsyncExitStack() as stack:
        shop = await opened(stack, endpoint, rows, there)
        assert await retrieved(shop) == (expected, set(), "v1")
        assert await retrieved(shop, "mean") == by_mean
        publish_looks(there, endpoint, "v2")
        await eventually(served(shop, "v2"), timeout=20)
        assert await retrieved(shop) == (expected, set(), "v2")


async def test_a_version_without_its_vectors_leaves_the_last_good_one(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is published and not in Redis is told in one line, and the version before it is searched on."""
    endpoint, _, rows = store
    publish_looks(tmp_path, endpoint, "v1")
    async with AsyncExitStack() as stack:
        shop = await opened(stack, endpoint, rows, tmp_path)
        good, _, _ = await retrieved(shop)
        publish_looks(tmp_path, endpoint, "v2")
        await eventually(served(shop, "v2"), timeout=20)
        with sets_of(endpoint) as sets:
            sets.drop("looks:v1", len(WITH_VECTOR))
        publish(tmp_path / "looks", "v1")
        await eventually(lambda: "looks:v1 in Redis are not there: build the index anew" in caplog.text, timeout=20)
        assert await retrieved(shop) == (good, set(), "v2")


async def test_lost_vectors_cost_their_candidates_only(store: Store, tmp_path: Path) -> None:
    """Where Redis has lost the vectors that are searched, the slate is full, of other items, and says which source."""
    endpoint, _, rows = store
    publish_looks(tmp_path, endpoint, "v1")
    async with AsyncExitStack() as stack:
        shop = await opened(stack, endpoint, rows, tmp_path)
        with sets_of(endpoint) as sets:
            sets.drop("looks:v1", len(WITH_VECTOR))
        reply = await shop.slate("retrieval", limit=20, user_id="2")
        assert ({reason for reason, _ in flaws(reply)}, len(reply.items)) == ({"SOURCE_FAILED"}, 20)


async def test_redis_killed_leaves_a_slate(store: Store, tmp_path: Path) -> None:
    """With Redis gone, and the vectors and rows with it, popular items make a full slate that says so."""
    endpoint, process, rows = store
    publish_looks(tmp_path, endpoint, "v1")
    async with AsyncExitStack() as stack:
        shop = await opened(stack, endpoint, rows, tmp_path)
        await shop.slate("retrieval", user_id="2")
        process.process.kill()
        process.process.wait()
        reply = await shop.slate("retrieval", user_id="2", limit=20)
        assert len(reply.items) == 20
        assert set(names(reply)) <= AVAILABLE
        assert flaws(reply)
        assert not any(secret in reply.SerializeToString() for secret in (b"127.0.0.1", b"p/w"))
