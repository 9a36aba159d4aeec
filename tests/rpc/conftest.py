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
