"""What the network does to replies changes no value: an answer is right, or says that it does not know."""

from __future__ import annotations

import asyncio
from typing import Final

import numpy as np
import pytest

from recsvc.client import Source, Status
from tests.fault.breaker_log import CLOSED, OPEN
from tests.fault.proxy import NONE, Cut, Fault
from tests.fault.rig import IMPATIENT, NO_COPIES, NOW, QUICK_BREAKER, USERS, Rig, breaker_changes, recovered, rigged
from tests.fault.values import rows
from tests.parts.waiting import eventually
from tests.rpc.own_redis import OwnRedis

LONG_S: Final = 3600.0
STORED: Final = {(Status.PRESENT, Source.STORE): 1}
UNKNOWN: Final = {(Status.UNAVAILABLE, Source.DEFAULT): 1}
HELD_CLOSED: Final = {**NO_COPIES, "breaker": "closed", "redis_connections": 500}
"""Every read goes to Redis whatever becomes of it, and there is room for all of them, so that nothing is shed."""
MANY: Final = range(200)


def reply_bytes(user: int) -> int:
    """Return the length of Redis' reply to an MGET of one user: `*1`, `$` and the length, the row."""
    row = rows(np.array([user]))[0]
    return len(b"*1\r\n$%d\r\n%b\r\n" % (len(row), row))


async def test_late_replies_are_right(store: OwnRedis) -> None:
    """With 1 to 20 ms on every reply nothing is missing, and nothing is another user's."""
    async with rigged(store, **HELD_CLOSED) as rig:
        rig.proxy.fault = Fault(delay_s=0.001, jitter_s=0.02)
        seen = await rig.ask.in_parts(range(USERS), 10)
        await asyncio.gather(*(rig.ask.one(user) for user in MANY))
    assert (seen.rows, rig.ask.seen.reasons) == (USERS, set())
    assert rig.ask.seen.sources == {Source.STORE, Source.DEFAULT}


async def test_replies_past_the_timeout_are_nobodys(store: OwnRedis) -> None:
    """With jitter around Redis' timeout some reads come in time and some too late; none is answered with another's."""
    async with rigged(store, **HELD_CLOSED, **IMPATIENT) as rig:
        rig.proxy.fault = Fault(jitter_s=0.1)
        async with asyncio.timeout(60):
            while not {Source.STORE, Source.DEFAULT} <= rig.ask.seen.sources or rig.ask.seen.rows < 2 * USERS:
                await rig.ask.in_parts(range(USERS), 20)
        assert rig.ask.seen.reasons == {"STORE_UNAVAILABLE"}
        rig.proxy.fault = NONE
        await eventually(rig.ask.healthy)


async def test_a_black_hole_costs_what_is_in_it(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Answers go on without Redis, the breaker opens; when the line is back, it closes, and all is as before."""
    async with rigged(store, **NO_COPIES, **IMPATIENT, **QUICK_BREAKER) as rig:
        await eventually(rig.ask.healthy)
        rig.proxy.fault = Fault(black_hole=True)
        await eventually(lambda: without_redis(rig, 1))
        assert [(c.before, c.after) for c in breaker_changes(caplog)][:1] == [(CLOSED, OPEN)]
        rig.proxy.fault = NONE
        await recovered(rig.ask, caplog)
    assert rig.ask.seen.reasons == {"STORE_UNAVAILABLE", "CIRCUIT_OPEN"}


async def without_redis(rig: Rig, user: int) -> bool:
    """Ask for a user who cannot be read, and say whether the breaker is open."""
    seen = await rig.ask.one(user)
    assert seen.outcomes == UNKNOWN
    return seen.reasons == {"CIRCUIT_OPEN"}


async def test_a_reset_at_every_offset_of_a_reply(store: OwnRedis) -> None:
    """A reply that was cut anywhere is none: the row is unavailable; one that came whole before the reset is right."""
    async with rigged(store, **HELD_CLOSED) as rig:
        whole = reply_bytes(user=1)
        for at in range(whole + 1):
            rig.proxy.fault = Fault(cut=Cut(at=at, reset=True))
            assert (await rig.ask.one(1)).outcomes == (STORED if at == whole else UNKNOWN), at
        assert set(rig.proxy.cuts) == set(range(whole + 1))
        rig.proxy.fault = NONE
        assert (await rig.ask.one(1)).outcomes == STORED


async def test_one_reset_is_read_again(store: OwnRedis) -> None:
    """Where every second reply is reset, somewhere within it, the one retry reads every row."""
    async with rigged(store, **HELD_CLOSED) as rig:
        for at in range(reply_bytes(user=1)):
            rig.proxy.fault = Fault(cut=Cut(at=at, reset=True, one_in=2))
            await rig.ask.one(1)
            await rig.ask.one(1)
        assert len(rig.proxy.cuts) == reply_bytes(user=1)
    assert rig.ask.seen.reasons == set()


async def test_a_login_reset_at_every_offset(store: OwnRedis) -> None:
    """A connection that was cut while it logged in is never used: the row is read on another one, or unavailable."""
    async with rigged(store, **HELD_CLOSED) as rig:
        rig.proxy.fault = Fault(cut=Cut(reset=True, only=b"HELLO"))
        async with asyncio.timeout(60):
            while rig.proxy.cuts[0] < 2 or len(rig.proxy.cuts) <= max(rig.proxy.cuts):  # until it is through
                rig.proxy.reset()
                await rig.ask.one(1)
        assert len(rig.proxy.cuts) > len(b"+OK")
        rig.proxy.fault = NONE
        await eventually(rig.ask.healthy)


async def test_replies_sliced_at_every_offset(store: OwnRedis) -> None:
    """Replies that come in two parts, cut at every offset, and such that come byte by byte are whole."""
    async with rigged(store, **HELD_CLOSED) as rig:
        whole = reply_bytes(user=1)
        for at in range(whole + 1):
            rig.proxy.fault = Fault(cut=Cut(at=at))
            assert (await rig.ask.one(1)).outcomes == STORED
        rig.proxy.fault = Fault(piece=1)
        seen = await rig.ask.in_parts(range(0, USERS, 10), 5)
    assert seen.statuses == {Status.PRESENT}
    assert rig.ask.seen.reasons == set()


async def test_little_bandwidth(store: OwnRedis) -> None:
    """A reply that comes slowly but in time is right; one that would take too long is given up."""
    async with rigged(store, **HELD_CLOSED, redis_timeout_ms=500) as rig:
        rig.proxy.fault = Fault(bytes_per_s=500_000.0)
        assert (await rig.ask.many(range(USERS))).reasons == set()
        rig.proxy.fault = Fault(bytes_per_s=5_000.0)
        seen = await rig.ask.many(range(USERS))
        assert (seen.sources, seen.reasons) == ({Source.DEFAULT}, {"STORE_UNAVAILABLE"})
        rig.proxy.fault = NONE
        await eventually(rig.ask.healthy)


async def test_refused_connections(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing listens any more, stale copies stand in for what was read before, and defaults for the rest."""
    copies = {"cache_s": 0.001, "stale_if_error_s": LONG_S}
    async with rigged(store, **copies, **QUICK_BREAKER) as rig:
        await rig.ask.many(range(100))
        rig.proxy.refuse()
        rig.proxy.reset()
        seen = await rig.ask.many(range(200))
        known, unknown = 90, 100  # of ten users one has no row: as a copy, that is known too
        assert seen.outcomes == {
            (Status.PRESENT, Source.STALE_CACHE): known,
            (Status.NOT_FOUND, Source.DEFAULT): 10,
            (Status.UNAVAILABLE, Source.DEFAULT): unknown,
        }
        seen = await rig.ask.one(1, NOW)
        assert seen.outcomes == UNKNOWN, "a copy stood in that the caller did not want"
        await eventually(lambda: without_redis(rig, 500))
        await rig.proxy.accept()
        await recovered(rig.ask, caplog)


async def test_slow_replies_open_the_breaker(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that answers in time, but slowly, is left alone for a while too; quick again, it is read again."""
    async with rigged(store, **NO_COPIES, breaker_slow_ms=20, breaker_open_ms=50) as rig:
        rig.proxy.fault = Fault(delay_s=0.05)
        await eventually(lambda: refused(rig))
        assert breaker_changes(caplog)[0][1:3] == (CLOSED, OPEN)
        assert rig.ask.seen.reasons == {"CIRCUIT_OPEN"}
        rig.proxy.fault = NONE
        await recovered(rig.ask, caplog)


async def refused(rig: Rig) -> bool:
    """Ask for a user, and say whether the breaker was in the way."""
    return bool((await rig.ask.one(1)).reasons)


async def test_too_much_waiting_is_shed(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """While as much waits as may, more is SATURATED at once and no breaker moves; what waited is answered right."""
    async with rigged(store, **NO_COPIES, max_waiting_keys=100, redis_timeout_ms=10_000) as rig:
        assert await rig.ask.healthy()
        rig.proxy.fault = Fault(black_hole=True)
        waiting = [asyncio.ensure_future(rig.ask.many(range(i, i + 20))) for i in range(0, 80, 20)]
        await eventually(lambda: rig.app._rpc._calls.under_way == len(waiting))
        assert (await rig.ask.many(range(500, 510))).reasons == {"SATURATED"}
        rig.proxy.fault = NONE
        seen = await asyncio.gather(*waiting)
        assert {reason for one in seen for reason in one.reasons} == set()
        assert await rig.ask.healthy()
    assert breaker_changes(caplog) == []


async def test_the_server_stops_while_redis_is_silent(store: OwnRedis) -> None:
    """Calls that wait for a silent Redis are answered, and the server ends without waiting for it."""
    async with rigged(store, **NO_COPIES, redis_timeout_ms=1_000) as rig:
        assert await rig.ask.healthy()
        rig.proxy.fault = Fault(black_hole=True)
        waiting = [asyncio.ensure_future(rig.ask.one(user)) for user in range(8)]
        await eventually(lambda: rig.app._rpc._calls.under_way == len(waiting))
        await rig.app._rpc.stop(lame_duck_s=0, refuse_s=0)
        seen = await asyncio.gather(*waiting)
    assert {one.reasons == {"STORE_UNAVAILABLE"} for one in seen} == {True}
