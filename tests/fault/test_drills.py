"""A breaker that is held open or closed by a setting, for a drill."""

from __future__ import annotations

import pytest

from recsvc.client import Source, Status
from tests.fault.proxy import Fault
from tests.fault.rig import IMPATIENT, NO_COPIES, USERS, breaker_changes, rigged
from tests.parts.waiting import eventually
from tests.rpc.own_redis import OwnRedis


async def test_held_open_redis_is_not_asked(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Every answer says CIRCUIT_OPEN, and not one MGET comes to Redis, which is well."""
    async with rigged(store, breaker="open") as rig:
        seen = await rig.ask.in_parts(range(USERS), 100)
        assert (seen.statuses, seen.sources, seen.reasons) == ({Status.UNAVAILABLE}, {Source.DEFAULT}, {"CIRCUIT_OPEN"})
        for user in range(20):
            assert (await rig.ask.one(user)).reasons == {"CIRCUIT_OPEN"}
        assert rig.reads() == 0
    assert [c.after for c in breaker_changes(caplog)] == []


async def test_held_closed_redis_is_always_asked(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """However often it fails, each read goes to Redis, no breaker opens, and the first good one is an answer."""
    async with rigged(store, **NO_COPIES, **IMPATIENT, breaker="closed") as rig:
        await eventually(rig.ask.healthy)
        rig.proxy.fault = Fault(black_hole=True)
        for user in range(20):
            assert (await rig.ask.one(user)).reasons == {"STORE_UNAVAILABLE"}
        rig.proxy.fault = Fault()
        await eventually(rig.ask.healthy)
    assert breaker_changes(caplog) == []
