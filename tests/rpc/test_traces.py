"""What a caller finds in its trace: where the time went, where values came from, and what it waited for with others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import grpc
import pytest
import pytest_asyncio

from recsvc.pb import serving_pb2 as pb
from recsvc.telemetry import names
from recsvc.telemetry.id_hash import IdHash
from recsvc.telemetry.metrics import LATE_SPANS
from tests.parts.otlp import Collector, collector
from tests.parts.spans import Tree
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually
from tests.rpc.calling import int64s
from tests.rpc.definitions import clicks, profile
from tests.rpc.own_redis import own_redis
from tests.rpc.rows import Rows
from tests.rpc.shop import SPEC as SHOP
from tests.rpc.shop import fill
from tests.rpc.test_values import FULL
from tests.rpc.tracing import Context, Traced, traced

KEY: Final = "a-key-for-hashing-ids"
MISS: Final = {names.PARSE, names.PLAN, names.LOOKUP, names.WAIT, names.DECODE, names.COMPUTE, names.ENCODE}
KEPT: Final[dict[str, Any]] = {"cache_s": 5.0, "stale_if_error_s": 300.0}


@pytest.fixture(scope="module")
def received() -> Iterator[Collector]:
    """A collector."""
    with collector() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(redis_8: Endpoint, rows: Rows, received: Collector) -> AsyncIterator[Traced]:
    """A server with copies of rows, over a store with some users."""
    for number in range(10):
        rows.put(profile, [str(number)], FULL)
        rows.put(clicks, [str(number)], {"today": 1, "rate": None})
    async with traced(received, redis_8.url, id_hash_key=KEY, trace_baggage="team, tier", **KEPT) as made:
        yield made


def single(user: str) -> pb.GetFeaturesRequest:
    """Return a request for two views of a user."""
    return pb.GetFeaturesRequest(entities={"user_id": user}, features=["profile:age", "clicks:rate"])


def fresh(user: str) -> pb.GetFeaturesRequest:
    """Return one that the cache must not answer."""
    request = single(user)
    request.max_staleness.SetInParent()
    return request


@pytest.mark.asyncio(loop_scope="module")
async def test_a_miss_shows_every_hop_and_one_command(server: Traced) -> None:
    """The server's span has its hops below it, and the one command is below the wait for it."""
    tree = await server.tree(single("1"))
    assert set(tree.names()) <= MISS
    wait, command = tree.one(names.WAIT), tree.one("MGET")
    assert command.parent == wait.id
    assert list(wait.links) == [command.id]
    assert (command.kind, command.attributes[names.DB_SYSTEM]) == ("CLIENT", "redis")
    assert command.attributes[names.SERVER_ADDRESS]
    assert wait.attributes[names.KEYS] == 2
    assert wait.attributes[names.CALLERS] == 1
    assert wait.attributes[names.JOINED] is False
    assert tree.root.attributes[names.MISSES] == 2
    assert tree.root.attributes[names.RPC_STATUS] == "OK"
    assert tree.root.attributes[names.RPC_METHOD] == "recsvc.v1.ServingService/GetFeatures"
    assert tree.root.attributes[names.SERVER_PORT] == int(server.app.address.rpartition(":")[2])


@pytest.mark.asyncio(loop_scope="module")
async def test_the_hops_of_a_miss_leave_no_gap(server: Traced) -> None:
    """What no hop covers is shorter than a hop is shown for: an attribute says how long it took."""
    for _ in range(5):
        tree = await server.tree(fresh("2"))
        told = sum(value for name, value in tree.root.attributes.items() if name.startswith("recsvc.us."))
        covered, gap = tree.coverage()
        assert (1 - covered) * tree.root.took_us <= told + 5.0
        assert gap < 200.0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_hit_has_few_spans_and_no_command(server: Traced) -> None:
    """Of a call that the cache answers, what is short is told by attributes."""
    await server.tree(single("3"))
    tree = await server.tree(single("3"))
    assert not tree.all("MGET")
    assert not tree.all(names.WAIT)
    assert len(tree.spans) <= 3
    assert tree.root.attributes[names.HITS] == 2
    assert names.MISSES not in tree.root.attributes


@pytest.mark.asyncio(loop_scope="module")
async def test_callers_that_share_a_fetch_are_linked_to_it(received: Collector) -> None:
    """One command for all: the first caller's trace has it, and every other wait has a link and says that it joined."""
    with own_redis() as store:
        store.rows.put(profile, ["1"], FULL)
        async with traced(received, store.url, **KEPT) as server:
            request = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile:age"])
            await server.call(single("9"), Context.new())  # opens the connection
            contexts = [Context.new() for _ in range(3)]
            with store.paused():
                calls = [asyncio.create_task(server.call(request, contexts[0]))]
                coalescer = server.app._reader._chain._fetcher  # type: ignore[attr-defined]  # a ReadChain's
                await eventually(lambda: coalescer._flying)
                calls += [asyncio.create_task(server.call(request, context)) for context in contexts[1:]]
                await eventually(lambda: coalescer._calls == 3)
            await asyncio.gather(*calls)
            trees = [Tree.of(await server.spans(context), "GetFeatures") for context in contexts]
    (command,) = trees[0].all("MGET")
    assert [tree.all("MGET") for tree in trees[1:]] == [[], []]
    waits = [tree.one(names.WAIT) for tree in trees]
    assert all(list(wait.links) == [command.id] for wait in waits)
    assert [wait.attributes[names.JOINED] for wait in waits] == [False, True, True]
    assert all(wait.attributes[names.AGE_AT_JOIN] > 0 for wait in waits[1:])
    assert {wait.attributes[names.CALLERS] for wait in waits} == {3}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_fetch_of_unsampled_callers_is_no_span(server: Traced) -> None:
    """A caller that does not sample leaves nothing behind, whatever the store was asked for."""
    context = Context.new(sampled=False)
    await server.call(fresh("4"), context)
    await server.tree(fresh("4"))
    assert server.collector.trace(context.trace) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_defaults_are_one_event_per_view(server: Traced) -> None:
    """Rows without values are told once per view and status, with their number, and not one by one."""
    ids = int64s(1, 501, 502, 503)
    tree = await server.tree(pb.GetFeaturesBatchRequest(entities={"user_id": ids}, features=["profile:age"]))
    events = [attributes for name, attributes in tree.root.events if name == names.DEFAULTS]
    assert events == [{names.VIEW: "profile@v1", names.STATUS: "NOT_FOUND", names.COUNT: 3}]


@pytest.mark.asyncio(loop_scope="module")
async def test_ids_are_hashed_and_baggage_is_chosen(server: Traced) -> None:
    """No id stands in a span, but its hash does; of the caller's baggage only what the server was told to keep."""
    tree = await server.tree(single("777000777"), ("baggage", "team=ranking,secret=x,tier=gold;p=1"))
    attributes = tree.root.attributes
    assert attributes["recsvc.entity.user_id"] == IdHash(KEY)("777000777")
    assert attributes["recsvc.baggage.team"] == "ranking"
    assert attributes["recsvc.baggage.tier"] == "gold"
    assert "777000777" not in repr(tree.spans)
    assert "secret" not in repr(tree.spans)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_refused_call_is_a_span_without_error(server: Traced) -> None:
    """A caller's mistake has its status code and is no error of the server; a missed deadline is one."""
    wrong = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["no:such"])
    context = Context.new()
    with pytest.raises(grpc.aio.AioRpcError):
        await server.call(wrong, context)
    (span,) = [s for s in await server.spans(context) if s.kind == "SERVER"]
    assert span.attributes[names.RPC_STATUS] in {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert not span.error
    late = Context.new()
    with pytest.raises(grpc.aio.AioRpcError):
        await server.call(single("1"), late, deadline_s=0.002)
    (span,) = [s for s in await server.spans(late) if s.kind == "SERVER"]
    assert span.attributes[names.RPC_STATUS] == "DEADLINE_EXCEEDED"
    assert span.error


@pytest.mark.asyncio(loop_scope="module")
async def test_an_outage_shows_what_failed_and_what_stood_in(received: Collector) -> None:
    """Without the store: the breaker that opened, and why the answers are degraded."""
    with own_redis() as store:
        store.rows.put(profile, ["1"], FULL)
        breaker: dict[str, Any] = {"breaker_min_calls": 1, "breaker_slow_ms": 10_000, "redis_timeout_ms": 500}
        async with traced(received, store.url, **(KEPT | breaker)) as server:
            request = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile:age"])
            await server.tree(request)
            store.kill()
            other = pb.GetFeaturesRequest(entities={"user_id": "2"}, features=["profile:age"])
            broken = await server.tree(other)
            refused = await server.tree(other)
    assert broken.root.attributes[names.DEGRADED] == ["STORE_UNAVAILABLE profile@v1"]
    assert not broken.root.error
    # The command failed, or there was none: with the end of its connection known there is nothing to send it on.
    assert all(span.error for span in broken.spans if span.kind == "CLIENT")
    changes = [attributes for name, attributes in broken.one(names.WAIT).events if name == names.BREAKER]
    assert [change[names.AFTER] for change in changes] == ["open"]
    assert refused.root.attributes[names.DEGRADED] == ["CIRCUIT_OPEN profile@v1"]
    assert not refused.all("MGET")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_command_without_an_answer_is_an_error(received: Collector) -> None:
    """A store that hangs: the command was sent, and its span says that it failed, and by what."""
    with own_redis() as store:
        async with traced(received, store.url, redis_timeout_ms=500, **KEPT) as server:
            await server.tree(single("1"))
            with store.paused():
                broken = await server.tree(single("2"))
    assert broken.root.attributes[names.DEGRADED] == ["STORE_UNAVAILABLE profile@v1", "STORE_UNAVAILABLE clicks@v1"]
    command = broken.one("MGET")
    assert (command.kind, command.parent, command.error) == ("CLIENT", broken.one(names.WAIT).id, True)
    assert command.attributes[names.ERROR_TYPE]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slate_shows_every_stage_and_source(
    redis_8: Endpoint, rows: Rows, received: Collector, shop_directories: dict[str, Any]
) -> None:
    """Recommend has a span for each stage, one for each candidate source beside the others, and reads below them."""
    fill(rows)
    async with traced(received, redis_8.url, spec=SHOP, **shop_directories) as server:
        request = pb.RecommendRequest(placement="home", user_id="1", limit=5)
        await server.tree(request)
        tree = await server.tree(request)
    stages = tree.names()
    for name in (names.QUERY, names.MERGE, names.FEATURES, names.ENCODE):
        assert stages.count(name) == 1 or f"recsvc.us.{name.removeprefix('recsvc.')}" in tree.root.attributes
    sources = tree.all(names.SOURCE)
    assert len(sources) == len({span.attributes[names.SOURCE_NAME] for span in sources}) > 1
    assert {span.parent for span in sources} == {tree.root.id}
    assert max(span.end for span in sources) <= min(
        span.start for span in tree.all(names.MERGE) + tree.all(names.FEATURES)
    )
    for wait in tree.all(names.WAIT):
        assert wait.parent in {tree.one(names.FEATURES).id, tree.one(names.QUERY).id}
    attributes = tree.root.attributes
    assert attributes[names.PLACEMENT] == "home"
    assert attributes[names.SLATE_ITEMS] == 5
    assert attributes[names.RECOMMENDATION]
    covered, gap = tree.coverage()
    assert covered >= 0.9
    assert gap < 200.0


@pytest.mark.asyncio(loop_scope="module")
async def test_unsampled_trouble_leaves_one_late_span(received: Collector) -> None:
    """In head mode a call that was not sampled and is degraded is one span in its caller's trace, with all hops."""
    with own_redis() as store:
        head = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
        async with traced(received, store.url, head, redis_timeout_ms=500, late_per_s=1_000) as server:
            request = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile:age"])
            good, bad = Context.new(sampled=False), Context.new(sampled=False)
            await server.call(request, good)
            store.kill()
            await server.call(request, bad)
            spans = await server.spans(bad)
    assert [span.name for span in spans] == [names.LATE]
    assert spans[0].parent == bad.span
    assert spans[0].attributes[names.DEGRADED] == ["STORE_UNAVAILABLE profile@v1"]
    assert spans[0].attributes["recsvc.us.fetch.wait"] > 0
    assert received.trace(good.trace) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_late_spans_are_rationed(received: Collector) -> None:
    """No more of them than the setting allows: an outage makes every call one."""
    with own_redis() as store:
        store.kill()
        head = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
        others: dict[str, Any] = {"redis_timeout_ms": 500, "redis_at_start": "optional", "late_per_s": 0}
        async with traced(received, store.url, head, **others) as server:
            request = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile:age"])
            context = Context.new(sampled=False)
            await server.call(request, context)
            dropped = dict(server.app._readers.counters.metrics[LATE_SPANS].points())
    assert received.trace(context.trace) == []
    assert dropped["dropped",] == 1
