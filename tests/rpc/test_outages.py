"""A store that is gone, silent or wrong: still an answer, in time, that says what is known and what did not work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recsvc.app import App, running
from recsvc.pb import serving_pb2 as pb
from tests.parts.waiting import eventually
from tests.rpc.calling import BATCH, SINGLE, Caller, column_facts, degraded, facts, int64s
from tests.rpc.definitions import clicks, profile
from tests.rpc.own_redis import OwnRedis, own_redis
from tests.rpc.serving import SPEC, settings
from tests.rpc.test_values import DEFAULTS, FULL

DEADLINE_S: Final = 4.0
"""Deadline of calls to a server whose store may take 50 ms: what hangs for redis-py's 5 s does not make it."""
PATIENT: Final = {"redis_timeout_ms": 60_000, "redis_connect_timeout_ms": 60_000}
REQUEST: Final = pb.GetFeaturesRequest(
    entities={"user_id": "1"},
    features=["profile:age", "clicks:rate", "live:age_plus", "request:offset"],
    context={"offset": pb.Value(int64_value=1)},
)
STORED: Final = {
    "profile:age": (7, "PRESENT", "STORE"),
    "clicks:rate": (0.5, "PRESENT", "STORE"),
    "live:age_plus": (8, "PRESENT", "COMPUTED"),
    "request:offset": (1, "PRESENT", "REQUEST"),
}
WITHOUT: Final = {
    "profile:age": (-1, "UNAVAILABLE", "DEFAULT"),
    "clicks:rate": (None, "UNAVAILABLE", "NONE"),
    "live:age_plus": (0, "UNAVAILABLE", "COMPUTED"),
    "request:offset": (1, "PRESENT", "REQUEST"),
}
LOST: Final = {("STORE_UNAVAILABLE", "profile@v1"), ("STORE_UNAVAILABLE", "clicks@v1")}


@pytest.fixture
def store() -> Iterator[OwnRedis]:
    """A Redis with one user in it."""
    with own_redis() as own:
        fill(own)
        yield own


def fill(store: OwnRedis) -> None:
    """Write the one user."""
    store.rows.put(profile, ["1"], {**FULL, "age": 7})
    store.rows.put(clicks, ["1"], {"today": 1, "rate": 0.5})


async def ask(caller: Caller) -> pb.GetFeaturesResponse:
    """Ask for the one user, with a deadline."""
    answer = await caller.raw(SINGLE, REQUEST.SerializeToString(), DEADLINE_S)
    return pb.GetFeaturesResponse.FromString(answer)


async def health(caller: Caller, service: str = "") -> str:
    """Return what the health service says."""
    stub = health_pb2_grpc.HealthStub(caller.channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    return name


async def test_without_the_store_there_is_still_an_answer(store: OwnRedis) -> None:
    """Redis killed: defaults, UNAVAILABLE per value, degraded; Redis back: as before."""
    async with (
        running(settings(store.url, redis_timeout_ms=50, breaker="closed"), SPEC) as app,
        Caller(app.address) as caller,
    ):
        await eventually(lambda: is_stored(caller))  # the first read may take more than 50 ms, for it also connects
        store.kill()
        for _ in range(5):
            row = await ask(caller)
            assert (facts(row), degraded(row)) == (WITHOUT, LOST)
        assert row.registry_fingerprint == app.registry.fingerprint
        batch = await caller.many(pb.GetFeaturesBatchRequest(entities={"user_id": int64s(1, 2)}, features=["profile"]))
        expected = {n: (v, "UNAVAILABLE", "NONE" if v is None else "DEFAULT") for n, v in DEFAULTS.items()}
        assert column_facts(batch) == {f"profile:{n}": [fact] * 2 for n, fact in expected.items()}
        store.start()
        fill(store)
        await eventually(lambda: is_stored(caller))


async def is_stored(caller: Caller) -> bool:
    """Ask, and say whether everything came from the store."""
    row = await ask(caller)
    return facts(row) == STORED and not degraded(row)


async def test_a_silent_store_does_not_hold_up_answers(store: OwnRedis) -> None:
    """A Redis that says nothing costs the store's timeout, not the 5 s that redis-py waits, however many ask."""
    impatient = settings(store.url, redis_timeout_ms=50, default_deadline_ms=60_000)
    async with running(impatient, SPEC) as app, Caller(app.address) as caller:
        await eventually(lambda: is_stored(caller))
        with store.paused():
            async with asyncio.timeout(DEADLINE_S):
                calls = (caller.raw(SINGLE, REQUEST.SerializeToString(), None) for _ in range(50))
                rows = [pb.GetFeaturesResponse.FromString(answer) for answer in await asyncio.gather(*calls)]
            assert all((facts(row), degraded(row)) == (WITHOUT, LOST) for row in rows)
        await eventually(lambda: is_stored(caller))


async def test_health_follows_the_store_under_its_own_name(store: OwnRedis) -> None:
    """recsvc.redis goes down and up with Redis; the server's own health does not: it answers without."""
    async with running(settings(store.url), SPEC) as app, Caller(app.address) as caller:

        async def redis_is(expected: str) -> bool:
            return await health(caller, "recsvc.redis") == expected

        await eventually(lambda: redis_is("SERVING"))
        store.kill()
        await eventually(lambda: redis_is("NOT_SERVING"))
        assert await health(caller) == await health(caller, "recsvc.v1.ServingService") == "SERVING"
        store.start()
        await eventually(lambda: redis_is("SERVING"))


async def test_the_callers_deadline_binds_the_store(store: OwnRedis) -> None:
    """With a store that may take a minute, a call with seconds left is answered within them."""
    slow = settings(store.url, **PATIENT, deadline_margin_ms=2_000)
    async with running(slow, SPEC) as app, Caller(app.address) as caller:
        with store.paused():
            assert facts(await ask(caller)) == WITHOUT


async def test_a_call_without_a_deadline_gets_the_default(store: OwnRedis) -> None:
    """A caller who sets no deadline waits as long as the server's default says, not as long as the store may take."""
    slow = settings(store.url, **PATIENT, default_deadline_ms=200)
    async with running(slow, SPEC) as app, Caller(app.address) as caller:
        with store.paused():
            async with asyncio.timeout(20):
                answer = await caller.raw(SINGLE, REQUEST.SerializeToString(), None)
        assert facts(pb.GetFeaturesResponse.FromString(answer)) == WITHOUT


async def test_too_little_time_is_told_before_any_work(store: OwnRedis) -> None:
    """A call with less left than the server needs to answer is DEADLINE_EXCEEDED at once, with both figures."""
    async with running(settings(store.url, deadline_margin_ms=60_000), SPEC) as app, Caller(app.address) as caller:
        with store.paused():
            refusal = await caller.refused(REQUEST, DEADLINE_S)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT")
    assert "the server needs 60000 ms" in refusal.text


async def test_cancelled_calls_do_not_disturb_others(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Of 60 calls that wait for the store half are cancelled: the others get their own rows, and nothing is logged."""
    for user in range(60):
        store.rows.put(profile, [str(user)], {**FULL, "age": user})
    many = settings(store.url, **PATIENT, redis_connections=100)  # with fewer, most of these calls would be shed
    async with running(many, SPEC) as app, Caller(app.address) as caller:
        await caller.one(REQUEST)
        with store.paused():
            calls = [caller.raw(SINGLE, age_of(user).SerializeToString()) for user in range(60)]
            await eventually(lambda: under_way(app) == 60)
            for call in calls[::2]:
                call.cancel()
            await eventually(lambda: under_way(app) == 30)
        answers = await asyncio.gather(*calls[1::2])
        ages = [facts(pb.GetFeaturesResponse.FromString(answer)) for answer in answers]
        assert ages == [{"profile:age": (user, "PRESENT", "STORE")} for user in range(1, 60, 2)]
        after = await asyncio.gather(*(caller.one(age_of(user)) for user in range(60)))
        assert [facts(row)["profile:age"][0] for row in after] == list(range(60))
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def age_of(user: int) -> pb.GetFeaturesRequest:
    """Ask for the age of a user."""
    return pb.GetFeaturesRequest(entities={"user_id": str(user)}, features=["profile:age"])


def under_way(app: App) -> int:
    """Return how many calls a server works on."""
    return app._rpc._calls.under_way


async def test_no_caller_reads_anything_of_the_store(store: OwnRedis) -> None:
    """Whatever is wrong with the store, no answer and no status has its password or address, or an exception."""
    seen: list[bytes] = []
    batch = pb.GetFeaturesBatchRequest(entities={"user_id": int64s(1)}, features=["profile"]).SerializeToString()
    async with running(settings(store.url, redis_timeout_ms=300), SPEC) as app, Caller(app.address) as caller:

        async def look() -> None:
            seen.append(await caller.raw(SINGLE, REQUEST.SerializeToString()))
            seen.append(await caller.raw(BATCH, batch))
            seen.append((await caller.refused(pb.GetFeaturesRequest())).everything)

        await look()
        store.rows.put_bytes(profile, ["1"], b"rubbish")
        await look()
        with store.rows.client as admin:
            admin.config_set("requirepass", "another")
            admin.client_kill_filter(_type="normal", skipme=True)
        await look()
        store.kill()
        await look()
    secrets = [*store.secrets(), b"ConnectionError", b"TimeoutError", b"Traceback", b".py"]
    assert [(secret, answer) for secret in secrets for answer in seen if secret in answer] == []


async def test_a_failure_nobody_thought_of_is_internal_and_silent(
    store: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception inside the server is INTERNAL without a word of it to the caller, and all of it in the log."""

    class Broken:
        registry = None

        def __repr__(self) -> str:
            return "Broken()"

        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("secret: " + store.url)

    async with running(settings(store.url), SPEC) as app, Caller(app.address) as caller:
        app._reader = Broken()  # type: ignore[assignment]  # which is what nobody thought of
        refusal = await caller.refused(REQUEST)
    assert (refusal.code, refusal.text, refusal.reason) == (grpc.StatusCode.INTERNAL, "internal error", "INTERNAL")
    assert b"secret" not in refusal.everything
    assert "secret: " in caplog.text


async def test_the_server_can_start_without_the_store() -> None:
    """With redis_at_start optional a server answers before its store is there, and reads from it once it is."""
    with ExitStack() as stack:
        store = OwnRedis(stack)
        store.kill()
        async with running(settings(store.url, redis_at_start="optional"), SPEC) as app, Caller(app.address) as caller:
            assert facts(await ask(caller)) == WITHOUT
            store.start()
            fill(store)
            await eventually(lambda: is_stored(caller))
