"""What a fault is tried on: a Redis with users in it, a fault proxy, a server in this process behind it, a client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pytest
import redis

from recsvc.app import App, running
from recsvc.client import AsyncClient
from tests.fault.breaker_log import CLOSED, OPEN, Change, changes, illegal
from tests.fault.checking import Seen, check_batch, check_row
from tests.fault.proxy import FaultProxy, proxying
from tests.fault.values import fill
from tests.parts.waiting import eventually
from tests.rpc.own_redis import OwnRedis
from tests.rpc.serving import settings

DEFINITIONS: Final = Path(__file__).with_name("definitions.py")
SERVICE: Final = "everything"
USERS: Final = 1_000
PATIENCE_S: Final = 20.0
NOW: Final = timedelta(0)
"""As ``max_staleness``: read the store."""
NO_COPIES: Final = {"cache_s": 0.0, "stale_if_error_s": 0.0}
"""Settings with which every read goes to Redis, and nothing stands in for what it does not answer."""
IMPATIENT: Final = {"redis_timeout_ms": 50}
"""Settings with which what hangs is given up soon."""
QUICK_BREAKER: Final = {"breaker_open_ms": 50, "breaker_slow_ms": 1_000}
"""Settings with which a breaker opens and closes within a test."""


class Asker:
    """Asks for users, in turns with and without event times, and judges each answer: a wrong one fails the test."""

    def __init__(self, client: AsyncClient, *, flushed: bool = False) -> None:
        self._client = client
        self.flushed = flushed
        """Whether users may have lost their rows."""
        self.seen = Seen()
        """Everything so far."""
        self._turns = itertools.cycle([True, False])

    async def one(self, user: int, max_staleness: timedelta | None = None) -> Seen:
        """Ask for a user."""
        timed = next(self._turns)
        row = await self._client.get_features(
            {"user_id": user}, service=SERVICE, event_times=timed, timeout=PATIENCE_S, max_staleness=max_staleness
        )
        return self._judged(check_row(user, row, timed=timed, flushed=self.flushed))

    async def many(self, users: Iterable[int], max_staleness: timedelta | None = None) -> Seen:
        """Ask for several users in one call."""
        ids, timed = np.array(list(users), np.int64), next(self._turns)
        batch = await self._client.get_features_batch(
            {"user_id": ids}, service=SERVICE, event_times=timed, timeout=PATIENCE_S, max_staleness=max_staleness
        )
        return self._judged(check_batch(ids, batch, timed=timed, flushed=self.flushed))

    async def in_parts(self, users: Sequence[int], size: int) -> Seen:
        """Ask for users in calls of ``size`` that run at once."""
        together = Seen()
        for seen in await asyncio.gather(*(self.many(users[i : i + size]) for i in range(0, len(users), size))):
            together.add(seen)
        return together

    async def healthy(self) -> bool:
        """Ask for one user, past every copy, and say whether everything was as it should be."""
        seen = await self.one(0, NOW)
        return not seen.reasons

    def _judged(self, seen: Seen) -> Seen:
        assert seen.wrong == []
        self.seen.add(seen)
        return seen


@dataclass(frozen=True)
class Rig:
    """All of it. ``admin`` goes to Redis past the proxy."""

    store: OwnRedis
    proxy: FaultProxy
    app: App
    client: AsyncClient
    ask: Asker
    admin: redis.Redis

    def reads(self) -> int:
        """Return how many MGETs Redis has got since it started, or since `forget`."""
        stats: dict[str, Any] = self.admin.info("commandstats")
        return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])

    def forget_connections(self) -> None:
        """Close what connections there are, so that the next read makes one."""
        self.admin.client_kill_filter(_type="normal", skipme=True)


def proxied(url: str, port: int) -> str:
    """Return a Redis URL with another port."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}@{host.partition(':')[0]}:{port}"))


@contextlib.asynccontextmanager
async def rigged(store: OwnRedis, **others: object) -> AsyncIterator[Rig]:
    """Start everything over a store that is filled; ``others`` are settings of the server."""
    target = urlsplit(store.url).port
    assert target is not None
    with store.rows.client as admin:
        fill(store.rows.client, USERS)
        async with proxying(target) as proxy, asking(proxied(store.url, proxy.port), **others) as (app, client, ask):
            yield Rig(store, proxy, app, client, ask, admin)


@contextlib.asynccontextmanager
async def asking(url: str, **others: object) -> AsyncIterator[tuple[App, AsyncClient, Asker]]:
    """Start a server over any Redis, and somebody who asks it; it has read once when it is given."""
    async with (
        running(settings(url, **others), str(DEFINITIONS)) as app,
        AsyncClient(app.address) as client,
    ):
        yield app, client, Asker(client)


def breaker_changes(caplog: pytest.LogCaptureFixture) -> list[Change]:
    """Return how the breakers changed in this test."""
    return changes(caplog.messages)


async def recovered(ask: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """Ask until Redis is read again and the last breaker that changed has closed, in an order that breakers have."""

    async def closed() -> bool:
        found = breaker_changes(caplog)
        return await ask.healthy() and bool(found) and found[-1].after == CLOSED

    await eventually(closed)
    found = breaker_changes(caplog)
    assert (found[0].after, illegal(found)) == (OPEN, [])
