"""Fixtures of the gRPC face: a server in this process over a real Redis, one per test module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis

from recsvc.app import running
from tests.parts.topologies import Endpoint
from tests.rpc.calling import Caller
from tests.rpc.rows import Rows
from tests.rpc.serving import SPEC, Served, settings
from tests.rpc.shop import SPEC as SHOP
from tests.rpc.shop import Shop, fill, publish_index, write_model


@pytest.fixture(scope="module")
def rows(redis_8: Endpoint) -> Rows:
    """A store without any rows."""
    client = redis.Redis.from_url(redis_8.admin_url)
    client.flushdb()
    return Rows(client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(redis_8: Endpoint, rows: Rows) -> AsyncIterator[Served]:
    """A server over that store."""
    async with running(settings(redis_8.url), SPEC) as app, Caller(app.address) as caller:
        yield Served(app, caller, rows)


@pytest.fixture(scope="module")
def shop_directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The settings that name the index and the model of the shop."""
    indexes, models = tmp_path_factory.mktemp("indexes"), tmp_path_factory.mktemp("models")
    publish_index(indexes)
    write_model(models)
    return {"index_dir": str(indexes), "model_dir": str(models)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(redis_8: Endpoint, rows: Rows, shop_directories: dict[str, object]) -> AsyncIterator[Shop]:
    """A server of the shop, whose callers may choose variants."""
    fill(rows)
    chosen = settings(redis_8.url, experiment_overrides="allowed", **shop_directories)
    async with running(chosen, SHOP) as app, Caller(app.address) as caller:
        yield Shop(app, caller, rows)
