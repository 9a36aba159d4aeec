"""Copies of rows as callers see them: fresh ones, stale ones while the store is gone, views that allow none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration

from recsvc import INT64, Entity, Feature, FeatureView, Registry
from recsvc.app import running
from recsvc.pb import serving_pb2 as pb
from tests.rpc.calling import Caller, Fact, column_facts, degraded, facts, int64s
from tests.rpc.own_redis import OwnRedis, own_redis
from tests.rpc.serving import SPEC, settings

user = Entity("user", "user_id", INT64)
NONE: Final = timedelta(0)
usual = FeatureView("usual", [user], [Feature("n", INT64, default=-1)])
brief = FeatureView("brief", [user], [Feature("n", INT64, default=-1)], cache=NONE)
strict = FeatureView(
    "strict", [user], [Feature("n", INT64, default=-1)], cache=NONE, stale_if_error=NONE, serve_default=False
)
REGISTRY: Final = Registry(views=[usual, brief, strict])
COPIES: Final[dict[str, Any]] = {"cache_s": 60.0, "stale_if_error_s": 60.0, "redis_timeout_ms": 500}


@pytest.fixture
def store() -> Iterator[OwnRedis]:
    """A Redis with a row of user 1 in each view."""
    with own_redis() as own:
        write(own, 7)
        yield own


def write(store: OwnRedis, n: int) -> None:
    """Write the rows of user 1."""
    for view in (usual, brief, strict):
        store.rows.put(view, ["1"], {"n": n})


def asking(*views: str, user_id: str = "1", staleness: Duration | None = None) -> pb.GetFeaturesRequest:
    """Return a request for the one feature of some views."""
    return pb.GetFeaturesRequest(
        entities={"user_id": user_id}, features=[f"{v}:n" for v in views], max_staleness=staleness
    )


async def read(caller: Caller, *views: str, **others: Any) -> list[Fact]:  # noqa: ANN401  # as asking has it
    """Return value, status and source of the one feature of some views."""
    return list(facts(await caller.one(asking(*views, **others))).values())


async def test_the_second_read_is_from_the_cache_unless_the_view_forbids_it(store: OwnRedis) -> None:
    """A fresh copy answers without the store; a view with a cache lifetime of 0 is read each time."""
    async with running(settings(store.url, **COPIES), SPEC, REGISTRY) as app, Caller(app.address) as caller:
        assert await read(caller, "usual", "brief") == [(7, "PRESENT", "STORE")] * 2
        write(store, 8)
        assert await read(caller, "usual", "brief") == [(7, "PRESENT", "CACHE"), (8, "PRESENT", "STORE")]


async def test_a_caller_may_ask_for_the_store(store: OwnRedis) -> None:
    """max_staleness 0 reads the store, and what it reads is the next caller's fresh copy."""
    async with running(settings(store.url, **COPIES), SPEC, REGISTRY) as app, Caller(app.address) as caller:
        await read(caller, "usual")
        write(store, 8)
        assert await read(caller, "usual", staleness=Duration()) == [(8, "PRESENT", "STORE")]
        assert await read(caller, "usual") == [(8, "PRESENT", "CACHE")]


async def test_a_row_that_is_not_there_is_remembered_too(store: OwnRedis) -> None:
    """An unknown entity costs the store one read, not one per call."""
    async with running(settings(store.url, **COPIES), SPEC, REGISTRY) as app, Caller(app.address) as caller:
        for _ in range(3):
            assert await read(caller, "usual", user_id="2") == [(-1, "NOT_FOUND", "DEFAULT")]
        assert store.rows.client.info("commandstats")["cmdstat_mget"]["calls"] == 1


async def test_without_the_store_stale_copies_stand_in_and_say_their_age(store: OwnRedis) -> None:
    """Redis killed: a kept copy as STALE_CACHE with its age, no copy of a strict view and no default, all flagged."""
    async with running(settings(store.url, **COPIES), SPEC, REGISTRY) as app, Caller(app.address) as caller:
        await read(caller, "usual", "brief", "strict")
        store.kill()
        row = await caller.one(asking("usual", "brief", "strict"))
        assert list(facts(row).values()) == [
            (7, "PRESENT", "CACHE"),
            (7, "PRESENT", "STALE_CACHE"),
            (None, "UNAVAILABLE", "NONE"),
        ]
        assert {view for _, view in degraded(row)} == {"brief@v1", "strict@v1"}
        ages = {served.view: list(served.stale_age_micros) for served in row.views}
        assert (ages["usual"], ages["strict"]) == ([], [])
        assert 0 < ages["brief"][0] < 60e6


async def test_a_caller_limits_the_age_of_what_stands_in(store: OwnRedis) -> None:
    """With max_staleness 0 no copy stands in for a store that is gone, however young."""
    async with running(settings(store.url, **COPIES), SPEC, REGISTRY) as app, Caller(app.address) as caller:
        await read(caller, "usual")
        store.kill()
        assert await read(caller, "usual", staleness=Duration()) == [(-1, "UNAVAILABLE", "DEFAULT")]
        assert await read(caller, "usual") == [(7, "PRESENT", "CACHE")]


async def test_a_batch_says_of_each_row_where_it_came_from(store: OwnRedis) -> None:
    """One row from the cache, one read now, and after the store is gone one stale and one unknown."""
    lasting = {**COPIES, "cache_s": 0.0, "breaker": "closed"}
    request = pb.GetFeaturesBatchRequest(entities={"user_id": int64s(1, 2)}, features=["usual:n"])
    async with running(settings(store.url, **COPIES), SPEC, REGISTRY) as app, Caller(app.address) as caller:
        await read(caller, "usual")
        assert column_facts(await caller.many(request)) == {
            "usual:n": [(7, "PRESENT", "CACHE"), (-1, "NOT_FOUND", "DEFAULT")]
        }
    async with running(settings(store.url, **lasting), SPEC, REGISTRY) as app, Caller(app.address) as caller:
        await read(caller, "usual")
        store.kill()
        batch = await caller.many(request)
        assert column_facts(batch) == {"usual:n": [(7, "PRESENT", "STALE_CACHE"), (-1, "UNAVAILABLE", "DEFAULT")]}
        stale, none = batch.views[0].stale_age_micros
        assert stale > 0
        assert none == 0


async def test_a_breaker_held_open_keeps_redis_out_of_it(store: OwnRedis) -> None:
    """In the drill every answer is CIRCUIT_OPEN, and Redis gets no MGET."""
    drill = settings(store.url, **COPIES, breaker="open")
    async with running(drill, SPEC, REGISTRY) as app, Caller(app.address) as caller:
        row = await caller.one(asking("usual"))
        assert list(facts(row).values()) == [(-1, "UNAVAILABLE", "DEFAULT")]
        assert list(degraded(row)) == [("CIRCUIT_OPEN", "usual@v1")]
    assert "cmdstat_mget" not in store.rows.client.info("commandstats")


async def test_too_much_waiting_is_shed_and_hits_are_not(store: OwnRedis) -> None:
    """With room for one row, a call for two is SATURATED at once; a copy still answers."""
    narrow = settings(store.url, **COPIES, max_waiting_keys=1)
    request = pb.GetFeaturesBatchRequest(entities={"user_id": int64s(1, 2)}, features=["usual:n"])
    async with running(narrow, SPEC, REGISTRY) as app, Caller(app.address) as caller:
        assert await read(caller, "usual") == [(7, "PRESENT", "STORE")]
        batch = await caller.many(request)
        assert column_facts(batch) == {"usual:n": [(7, "PRESENT", "CACHE"), (-1, "NOT_FOUND", "DEFAULT")]}
        request.entities["user_id"].int64s.values.append(3)
        request.entities["user_id"].int64s.values.append(4)
        batch = await caller.many(request)
        assert [status for _, status, _ in column_facts(batch)["usual:n"]] == [
            "PRESENT",
            "NOT_FOUND",
            "UNAVAILABLE",
            "UNAVAILABLE",
        ]
        assert list(degraded(batch)) == [("SATURATED", "usual@v1")]
