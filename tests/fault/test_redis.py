"""What becomes of answers while Redis itself is stopped, killed, paused, emptied, full, or does not let us in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import pytest
import redis

from recsvc.client import Source, Status
from tests.fault.rig import (
    IMPATIENT,
    NO_COPIES,
    NOW,
    QUICK_BREAKER,
    USERS,
    Rig,
    asking,
    breaker_changes,
    recovered,
    rigged,
)
from tests.fault.values import fill
from tests.parts.topologies import read_only_user
from tests.parts.waiting import eventually
from tests.rpc.own_redis import PASSWORD, OwnRedis

DOWN: Final = {"STORE_UNAVAILABLE", "CIRCUIT_OPEN"}
SOON_STALE: Final = {"cache_s": 0.001, "stale_if_error_s": 3600.0}


async def lost(rig: Rig, reason: str) -> bool:
    """Ask for users, none of whom is kept, and say whether they all lack for this reason."""
    seen = await rig.ask.many(range(0, USERS, 100), NOW)
    return seen.sources == {Source.DEFAULT} and seen.reasons == {reason}


async def test_redis_is_stopped(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Frozen (SIGSTOP), it costs its timeout until the breaker opens; then nobody waits for it; thawed, it is read."""
    async with rigged(store, **NO_COPIES, **IMPATIENT, **QUICK_BREAKER) as rig:
        await eventually(rig.ask.healthy)
        with store.paused():
            await eventually(lambda: lost(rig, "CIRCUIT_OPEN"))
            assert (await rig.ask.many(range(USERS))).sources == {Source.DEFAULT}
        await recovered(rig.ask, caplog)
        assert (await rig.ask.many(range(USERS))).reasons == set()
    assert rig.ask.seen.reasons == DOWN


async def test_redis_is_killed_and_started_again(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Killed, copies stand in, with their age; a new Redis on its port is read as soon as the breaker closes."""
    async with rigged(store, **SOON_STALE, **QUICK_BREAKER) as rig:
        await rig.ask.many(range(USERS))
        store.kill()
        seen = await rig.ask.many(range(USERS))
        assert (Status.PRESENT, Source.STALE_CACHE) in seen.outcomes
        assert Status.UNAVAILABLE not in seen.statuses
        assert seen.reasons <= DOWN
        await eventually(lambda: lost(rig, "CIRCUIT_OPEN"))
        store.start()
        fill(store.rows.client, USERS)
        await recovered(rig.ask, caplog)
        assert (await rig.ask.many(range(USERS), NOW)).sources == {Source.STORE, Source.DEFAULT}


async def test_clients_are_paused(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """CLIENT PAUSE is a Redis that is silent and alive: answers go on without it, and with it again afterwards."""
    async with rigged(store, **NO_COPIES, **IMPATIENT, **QUICK_BREAKER) as rig:
        await eventually(rig.ask.healthy)
        rig.admin.client_pause(timeout=1_000)
        await eventually(lambda: lost(rig, "CIRCUIT_OPEN"))
        await recovered(rig.ask, caplog)


async def test_redis_is_busy(store: OwnRedis) -> None:
    """While a script keeps Redis busy it answers -BUSY, which is no row; afterwards it is read again."""
    async with rigged(store, **NO_COPIES, **QUICK_BREAKER) as rig, busy(store):
        await eventually(lambda: lost(rig, "CIRCUIT_OPEN"))
        with store.rows.client as other:
            other.script_kill()
        await eventually(rig.ask.healthy)


async def test_all_rows_are_flushed(store: OwnRedis) -> None:
    """After FLUSHALL copies answer as long as they may; read anew, users are not found, which is no failure."""
    async with rigged(store, cache_s=3600.0) as rig:
        await rig.ask.many(range(USERS))
        rig.admin.flushall()
        rig.ask.flushed = True
        assert (await rig.ask.many(range(1, 9))).sources == {Source.CACHE}
        assert (await rig.ask.one(1, NOW)).statuses == {Status.NOT_FOUND}
        assert (await rig.ask.one(1)).statuses == {Status.NOT_FOUND}, "the copy of before came back"
        assert (await rig.ask.many(range(USERS), NOW)).statuses == {Status.NOT_FOUND}
    assert rig.ask.seen.reasons == set()


async def test_redis_is_full(store: OwnRedis) -> None:
    """At maxmemory writes are refused, and reads are not."""
    async with rigged(store, **NO_COPIES) as rig:
        rig.admin.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            rig.admin.set("fs:more", "x")
        await rig.ask.in_parts(range(USERS), 100)
        rig.forget_connections()
        await rig.ask.one(1)
    assert rig.ask.seen.reasons == set()


async def test_a_user_who_can_only_read(caplog: pytest.LogCaptureFixture) -> None:
    """A user with nothing but +@read and +ping is enough.

    What Redis says of itself (INFO) is asked for once more than it may be, and then no more.
    """
    with read_only_user() as endpoint:
        fill(redis.Redis.from_url(endpoint.admin_url), USERS)
        async with asking(endpoint.url, **NO_COPIES) as (_, _, ask):
            await ask.in_parts(range(USERS), 100)
        with redis.Redis.from_url(endpoint.admin_url) as admin:
            assert [(entry["object"], entry["count"]) for entry in admin.acl_log()] in ([], [("info", 1)])
    assert ask.seen.reasons == set()
    assert breaker_changes(caplog) == []


async def test_the_password_is_changed(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Connections that are logged in read on; new ones are refused, and answers say so; set back, all is as before."""
    async with rigged(store, **NO_COPIES, **QUICK_BREAKER) as rig:
        assert await rig.ask.healthy()
        rig.admin.config_set("requirepass", "another")
        assert await rig.ask.healthy()
        rig.forget_connections()
        await eventually(lambda: lost(rig, "CIRCUIT_OPEN"))
        rig.admin.config_set("requirepass", PASSWORD)
        await recovered(rig.ask, caplog)
    assert PASSWORD not in caplog.text


async def test_the_right_to_read_is_taken_away(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """A user who may no longer MGET gets refusals on open connections: no rows, and no wrong ones."""
    async with rigged(store, **NO_COPIES, **QUICK_BREAKER) as rig:
        assert await rig.ask.healthy()
        rig.admin.acl_setuser("default", enabled=True, nopass=False, commands=["-mget"])
        await eventually(lambda: lost(rig, "CIRCUIT_OPEN"))
        rig.admin.acl_setuser("default", enabled=True, nopass=False, commands=["+mget"])
        await recovered(rig.ask, caplog)


@contextlib.asynccontextmanager
async def busy(store: OwnRedis) -> AsyncIterator[None]:
    """Run a script that does not end by itself, in a Redis that says so at once."""
    with store.rows.client as one, store.rows.client as other:
        other.config_set("busy-reply-threshold", 1)
        script = asyncio.create_task(asyncio.to_thread(one.eval, "while true do end", 0))
        try:
            yield
        finally:
            with contextlib.suppress(redis.ResponseError):  # it was killed already
                other.script_kill()
            await asyncio.gather(script, return_exceptions=True)
