"""Callers who leave or have no time: they harm nobody else, and Redis does not hear of those who cannot be answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final

import grpc
import pytest

from recsvc.client import Status
from recsvc.pb import serving_pb2 as pb
from tests.fault.proxy import Fault
from tests.fault.rig import NO_COPIES, NOW, SERVICE, Asker, breaker_changes, rigged
from tests.parts.waiting import eventually
from tests.rpc.calling import BATCH, SINGLE, Caller, int64s
from tests.rpc.own_redis import OwnRedis

SEED: Final = 4
CALLS: Final = 600


async def test_callers_cancel_at_random(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Half of the callers of the same users leave at some time: the others' answers are all right, nothing breaks."""
    chance = random.Random(SEED)
    async with rigged(store, cache_s=0.0, redis_connections=100) as rig:
        rig.proxy.fault = Fault(delay_s=0.001, jitter_s=0.005)
        await asyncio.gather(*(one_of_many(rig.ask, chance) for _ in range(CALLS)))
        assert await rig.ask.healthy()
        connections = rig.proxy.accepted
    assert rig.ask.seen.reasons == set()
    assert rig.ask.seen.rows > CALLS
    assert connections <= 100 + 1, "a caller's cancellation cost a connection"
    assert breaker_changes(caplog) == []


async def one_of_many(ask: Asker, chance: random.Random) -> None:
    """Ask for a few users that others ask for too, and leave at some time, or stay."""
    users = [chance.randrange(50) for _ in range(chance.randint(1, 5))]
    call = asyncio.ensure_future(ask.one(users[0]) if len(users) == 1 else ask.many(users, chance.choice([None, NOW])))
    if chance.random() < 0.5:
        asyncio.get_running_loop().call_later(chance.uniform(0, 0.02), call.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("deadline_s", [0.0001, 0.05])
async def test_too_little_time_is_no_command(store: OwnRedis, deadline_s: float) -> None:
    """A call that has less time left than answering takes is DEADLINE_EXCEEDED, and Redis gets no command for it."""
    request = pb.GetFeaturesRequest(entities={"user_id": "1"}, feature_service=SERVICE)
    batch = pb.GetFeaturesBatchRequest(entities={"user_id": int64s(1, 2)}, feature_service=SERVICE)
    async with rigged(store, **NO_COPIES, deadline_margin_ms=10_000) as rig, Caller(rig.app.address) as caller:
        assert (await rig.ask.one(1)).statuses == {Status.PRESENT}
        before = rig.reads()
        for method, message in ((SINGLE, request), (BATCH, batch)):
            refusal = await caller.refused_raw(method, message.SerializeToString(), deadline_s)
            assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: not rig.app._rpc._calls.under_way)
        assert rig.reads() == before
        assert (await rig.ask.one(1)).statuses == {Status.PRESENT}
        assert rig.reads() == before + 1


async def test_a_deadline_shorter_than_redis_timeout_is_kept(store: OwnRedis) -> None:
    """A caller with little time gets defaults in time, while others still wait for the same fetch, and get its rows."""
    async with rigged(store, **NO_COPIES, redis_timeout_ms=10_000, deadline_margin_ms=500) as rig:
        assert await rig.ask.healthy()
        with store.paused():
            patient = asyncio.ensure_future(rig.ask.one(1))
            row = await rig.client.get_features({"user_id": 1}, service=SERVICE, timeout=1.0)
            assert {f.status for f in row.values()} == {Status.UNAVAILABLE}
            assert not patient.done()
        assert (await patient).statuses == {Status.PRESENT}
