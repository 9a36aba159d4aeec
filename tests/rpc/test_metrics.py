"""Every metric is moved by what it is about, and no caller can make more series than the definitions have names for."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from prometheus_client.parser import text_string_to_metric_families

from recsvc.app import App, running
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend import asking, candidates
from recsvc.recommend.candidates import Found, Query
from recsvc.registry.placement import CandidateSource
from recsvc.telemetry import metrics as m
from recsvc.telemetry.metrics import INSTRUMENTS, Metrics, prometheus_name
from recsvc.telemetry.names import OTHER_METHOD
from recsvc.telemetry.series import Distribution, Kind
from tests.parts.otlp import Collector, collector
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually
from tests.rpc.calling import BATCH, SINGLE, Caller, int64s
from tests.rpc.definitions import clicks, profile
from tests.rpc.own_redis import OwnRedis, own_redis
from tests.rpc.rows import Rows, now_micros
from tests.rpc.serving import SPEC, settings
from tests.rpc.shop import METHOD as RECOMMEND
from tests.rpc.shop import SPEC as SHOP
from tests.rpc.shop import fill
from tests.rpc.test_values import FULL
from tests.rpc.tracing import Context, traced

_NO_SUCH = grpc.StatusCode.NOT_FOUND
KEPT: dict[str, Any] = {"cache_s": 5.0, "stale_if_error_s": 300.0}


@pytest.fixture
def received() -> Iterator[Collector]:
    """A collector."""
    with collector() as made:
        yield made


@pytest.fixture
def store() -> Iterator[OwnRedis]:
    """A Redis with one user, a corrupt one, and goods."""
    with own_redis() as own:
        own.rows.put(profile, ["1"], FULL)
        own.rows.put_bytes(profile, ["666"], b"rubbish")
        fill(own.rows)
        yield own


def metrics_of(app: App) -> Metrics:
    """Return what a server counts."""
    return app._readers.counters.metrics


def moved(metrics: Metrics) -> set[str]:
    """Return the names of metrics that have been counted up, or of gauges that tell something."""
    found = set()
    for instrument, points in metrics.collect():
        for _, value in points:
            number = sum(value.counts) if isinstance(value, Distribution) else value
            if number > 0 or instrument.kind in {Kind.GAUGE, Kind.UP_DOWN}:
                found.add(instrument.name)
    return found


def of_user(*users: int, feature: str = "profile:age", **others: Any) -> pb.GetFeaturesBatchRequest:  # noqa: ANN401  # of the message
    """Return a request for some users."""
    return pb.GetFeaturesBatchRequest(entities={"user_id": int64s(*users)}, features=[feature], **others)


@asynccontextmanager
async def serving(url: str, spec: str = SPEC, **others: object) -> AsyncIterator[tuple[App, Caller]]:
    """Run a server without traces."""
    async with running(settings(url, **(KEPT | others)), spec) as app, Caller(app.address) as caller:
        yield app, caller


def late(rows: Rows, user: str, *, of_freshness: float) -> None:
    """Put a user's clicks, so many times as old as their view promises."""
    assert clicks.freshness is not None
    age = int(clicks.freshness.total_seconds() * 1e6 * of_freshness)
    rows.put(clicks, [user], {"today": 1, "rate": None}, event_micros=now_micros() - age)


async def features(store: OwnRedis) -> set[str]:
    """Move what reading features moves: hits, misses, defaults, old rows, rubbish, a broken function, evictions."""
    store.rows.client.config_set("maxmemory-policy", "allkeys-lru")
    async with serving(store.url, cache_entries=1) as (app, caller):
        await caller.many(of_user(1))
        await caller.many(of_user(1))
        await caller.many(of_user(404, 666))
        late(store.rows, "2", of_freshness=1.26)
        await caller.many(of_user(2, feature="clicks:today"))
        context = {"fault": pb.Value(string_value="raise")}
        request = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["live:faulty"], context=context)
        await caller.one(request)
        await eventually(lambda: {m.LOOP_LAG.name, m.REDIS_MEMORY.name} <= moved(metrics_of(app)))
        return moved(metrics_of(app))


async def evictions(store: OwnRedis) -> set[str]:
    """Move what tells that Redis has too little memory."""
    client = store.rows.client
    used = int(client.info("memory")["used_memory"])
    client.config_set("maxmemory", used + 200_000)
    for number in range(1_000):
        client.set(f"filler:{number}", secrets.token_bytes(1_000))
    client.config_set("maxmemory", 0)
    async with serving(store.url) as (app, _):
        await eventually(lambda: m.REDIS_EVICTED.name in moved(metrics_of(app)))
        return moved(metrics_of(app))


async def shedding(store: OwnRedis) -> set[str]:
    """Move what tells that too much waits for the store."""
    async with serving(store.url, max_waiting_keys=5) as (app, caller):
        await caller.many(of_user(*range(100, 110)))
        return moved(metrics_of(app))


async def outage(store: OwnRedis, received: Collector) -> set[str]:
    """Move what an outage moves: failures, the breaker, stale copies; and spans, of which one is late."""
    head = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
    others: dict[str, Any] = {"breaker_min_calls": 1, "redis_timeout_ms": 500, "cache_s": 0.05}
    async with traced(received, store.url, head, **(KEPT | others)) as server:
        await server.call(of_user(1), Context.new())
        store.kill()
        app = server.app
        await eventually(lambda: _stale(server.caller, app))
        await server.call(of_user(2), Context.new(sampled=False))
        await eventually(lambda: m.SPANS.name in moved(metrics_of(app)))
        return moved(metrics_of(app))


async def _stale(caller: Caller, app: App) -> bool:
    await caller.many(of_user(1))
    return m.ROWS_STALE.name in moved(metrics_of(app))


async def slates(
    store: OwnRedis, directories: Mapping[str, object], folder: Path, patch: pytest.MonkeyPatch
) -> set[str]:
    """Move what slates move, also one that is short, a source that fails, and impressions that cannot be written."""
    impressions = folder / "impressions"
    async with serving(store.url, SHOP, impressions_dir=str(impressions), **directories) as (app, caller):
        shutil.rmtree(impressions)
        impressions.write_text("not a directory")

        def failing(source: CandidateSource, query: Query, left_s: Callable[[], float]) -> Found | None:
            if source.name == "popular":
                raise RuntimeError("told to fail")
            return candidates.find(source, query, left_s)

        patch.setattr(asking, "find", failing)
        request = pb.RecommendRequest(placement="home", user_id="1", limit=500)
        await caller.raw(RECOMMEND, request.SerializeToString())
        await eventually(lambda: m.IMPRESSIONS_DROPPED.name in moved(metrics_of(app)))
        return moved(metrics_of(app))


async def test_every_metric_moves(
    store: OwnRedis,
    received: Collector,
    shop_directories: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no metric that nothing drives: each one of the table is moved by what it tells of."""
    found = await features(store)
    found |= await evictions(store)
    found |= await shedding(store)
    with monkeypatch.context() as patch:
        found |= await slates(store, shop_directories, tmp_path, patch)
    found |= await outage(store, received)
    assert found == {instrument.name for instrument in INSTRUMENTS}


async def test_made_up_names_make_no_series(redis_8: Endpoint, rows: Rows, shop_directories: dict[str, object]) -> None:
    """Of 100,000 features and users, and thousands of placements and methods, none makes a series."""
    fill(rows)
    async with serving(redis_8.url, SHOP, max_rows=1_000, **shop_directories) as (app, caller):
        metrics = metrics_of(app)
        await made_up(caller, 0)
        before = series(metrics)
        for number in range(1, 200):
            await made_up(caller, number)
        assert series(metrics) == before
        (unknown,) = [labels for labels, _ in metrics[m.CALL_DURATION].points() if labels[1] == OTHER_METHOD]
        assert unknown[2:] == ("UNIMPLEMENTED", "UNIMPLEMENTED")


async def made_up(caller: Caller, number: int) -> None:
    """Make calls with names that nobody has heard of: 500 features, 500 users, 10 placements, 10 methods."""
    first = 500 * number
    names = [f"v{name}:f{name}" for name in range(first, first + 500)]
    users = pb.KeyColumn(strings=pb.StringIds(values=[str(10**6 + user) for user in range(first, first + 500)]))
    calls = [
        (SINGLE, pb.GetFeaturesRequest(entities={"user_id": "1"}, features=names), _NO_SUCH),
        (BATCH, pb.GetFeaturesBatchRequest(entities={"user_id": users}, features=["taste:age"]), None),
    ]
    for other in range(10 * number, 10 * number + 10):
        slate = pb.RecommendRequest(placement=f"p{other}", user_id=f"u{other}")
        calls.append((RECOMMEND, slate, _NO_SUCH))
        calls.append((f"/recsvc.v1.ServingService/M{other}", slate, grpc.StatusCode.UNIMPLEMENTED))
    calls.append((RECOMMEND, pb.RecommendRequest(placement="home", user_id=str(10**6 + number), limit=1), None))
    outcomes = await asyncio.gather(*(_outcome(caller, method, message) for method, message, _ in calls))
    assert outcomes == [code for _, _, code in calls]


async def _outcome(caller: Caller, method: str, message: Message) -> grpc.StatusCode | None:
    """Call, and return with which status code it failed."""
    try:
        await caller.raw(method, message.SerializeToString())
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


def series(metrics: Metrics) -> dict[str, int]:
    """Return how many series each metric has, but for those of what the store and the loop do meanwhile."""
    return {of.name: len(points) for of, points in metrics.collect() if not of.name.startswith("recsvc.redis.")}


async def test_the_page_has_every_metric_under_its_name(redis_8: Endpoint, rows: Rows) -> None:
    """What Prometheus scrapes has all metrics, with the names that the table gives them."""
    rows.put(profile, ["1"], FULL)
    async with serving(redis_8.url, metrics_listen="127.0.0.1:0") as (app, caller):
        await caller.many(of_user(1, 404))
        text = await asyncio.to_thread(_read, app.metrics_page)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {prometheus_name(of).removesuffix("_total") for of in INSTRUMENTS} <= families.keys()
    served = {
        s.labels["recsvc_view"]: s.value for s in families["recsvc_rows_served"].samples if s.name.endswith("_total")
    }
    assert served["profile@v1"] == 2
    changes = {s.labels["recsvc_breaker_after"]: s.value for s in families["recsvc_breaker_transitions"].samples}
    assert changes == {"closed": 0, "half-open": 0, "open": 0}, "a first one that is not seen to begin is no increase"
    (target,) = families["target_info"].samples
    assert target.labels["service_name"] == "recsvc"
    assert target.labels["service_instance_id"]


def _read(address: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/metrics", timeout=10) as reply:
        text: str = reply.read().decode()
        return text
