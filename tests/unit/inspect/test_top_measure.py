"""The figures of the live view, against values computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recsvc.inspect.page_rates import Rates, between
from recsvc.inspect.page_series import Page, parse
from recsvc.inspect.top_figures import Cache, Figures, Node, Process, Slates, Store
from recsvc.inspect.top_measure import figures_of
from recsvc.telemetry import metrics as m
from recsvc.telemetry.metrics import Metrics
from tests.unit.inspect.rendered import page_of

GET, RECOMMEND = "recsvc.v1.ServingService/GetFeatures", "recsvc.v1.ServingService/Recommend"


def figures(metrics: Metrics, seconds: float = 2.0) -> Figures:
    """Return the figures of a server that counted all this within some seconds."""
    return figures_of(between(Page("one"), page_of(metrics), seconds))


def test_calls_by_method() -> None:
    """Rate and quantiles are of a method; a failure is one of the server's alone; statuses are of all calls."""
    metrics = Metrics()
    calls = metrics[m.CALL_DURATION]
    for code, count, seconds in (("OK", 90, 0.0008), ("UNAVAILABLE", 8, 0.004), ("INVALID_ARGUMENT", 2, 0.004)):
        for _ in range(count):
            calls.histogram("grpc", GET, code, "").record(seconds)
    for _ in range(300):
        calls.histogram("grpc", RECOMMEND, "OK", "").record(0.012)
    seen = figures(metrics)
    assert [one.name for one in seen.methods] == ["Recommend", "GetFeatures"]
    get = seen.methods[1]
    assert (get.per_s, get.failed) == (50.0, 0.08)
    # 90 of 100 lie between .75 and 1 ms, 10 between 3 and 5 ms: the median is the 50th of 90, p99 the 9th of 10.
    assert get.p50_s == pytest.approx(0.00075 + 0.00025 * 50 / 90)
    assert get.p99_s == pytest.approx(0.003 + 0.002 * 9 / 10)
    assert seen.calls_per_s == 200.0
    assert seen.statuses == {"UNAVAILABLE": 0.02, "INVALID_ARGUMENT": 0.005}


def test_hops_that_take_most_time_come_first() -> None:
    """What a hop takes is told in seconds a second, and as a share of the time of all calls."""
    metrics = Metrics()
    metrics[m.CALL_DURATION].histogram("grpc", GET, "OK", "").record(0.2)
    for name, seconds in (("recsvc.plan", 0.02), ("recsvc.fetch.wait", 0.08), ("recsvc.fetch.wait", 0.06)):
        metrics[m.HOP_DURATION].histogram(name).record(seconds)
    wait, plan = figures(metrics).hops
    assert (wait.name, wait.per_s, wait.busy, wait.share) == pytest.approx(("recsvc.fetch.wait", 1.0, 0.07, 0.7))
    assert (plan.name, plan.busy, plan.share) == pytest.approx(("recsvc.plan", 0.01, 0.1))


def test_store_and_connections() -> None:
    """Commands of all nodes together, fetches as means, what waits and what was shed."""
    metrics = Metrics()
    for error, count in (("", 3), ("TimeoutError", 1)):
        for _ in range(count):
            metrics[m.DB_DURATION].histogram("redis", "MGET", "here", "6379", error).record(0.0004)
    for keys, callers in ((10, 1), (30, 2)):
        metrics[m.FETCH_KEYS].histogram().record(keys)
        metrics[m.FETCH_CALLERS].histogram().record(callers)
    metrics[m.FETCH_WAITING].observe(lambda: [((), 7)])
    metrics[m.FETCH_SHED].count().add(12)
    metrics[m.CONNECTIONS].observe(lambda: [((n, s), c) for n in "ab" for s, c in (("used", 1), ("idle", 4))])
    seen = figures(metrics)
    assert (seen.store.p50_s, seen.store.p99_s) == pytest.approx((0.0004, 0.0003 + 0.0002 * 0.99))
    assert replace(seen.store, p50_s=None, p99_s=None) == Store(
        per_s=2.0,
        failed=0.25,
        keys=20.0,
        callers=1.5,
        waiting=7.0,
        shed_per_s=6.0,
    )
    assert (seen.process.used, seen.process.idle) == (2.0, 8.0)


def test_cache() -> None:
    """A stale copy stands in for a row that was missed, so what was looked up are hits and misses."""
    metrics = Metrics()
    for result, count in (("hit", 60), ("miss", 40), ("stale", 10)):
        metrics[m.CACHE_LOOKUPS].count(result).add(count)
    metrics[m.CACHE_EVICTIONS].count().add(8)
    metrics[m.CACHE_ROWS].observe(lambda: [((), 500)])
    metrics[m.CACHE_BYTES].observe(lambda: [((), 2_000)])
    assert figures(metrics).cache == Cache(50.0, 0.6, 0.1, 500.0, 2_000.0, 4.0)


def test_views_with_unusual_defaults_come_first() -> None:
    """A view's share of defaults is compared with what it was since the servers began; why is its commonest status."""
    metrics = Metrics()
    views = ("rated@v1", "film@v1")
    served = {view: metrics[m.ROWS_SERVED].count(view) for view in views}
    for view, count in (("rated@v1", 95), ("film@v1", 0)):
        served[view].add(100)
        metrics[m.ROWS_DEFAULTED].count(view, "NOT_FOUND").add(count)
    before = page_of(metrics)
    for view, status, count in (
        ("rated@v1", "NOT_FOUND", 95),
        ("film@v1", "UNAVAILABLE", 30),
        ("film@v1", "NOT_FOUND", 10),
    ):
        metrics[m.ROWS_DEFAULTED].count(view, status).add(count)
    for view in views:
        served[view].add(100)
    metrics[m.ROWS_STALE].count("film@v1").add(20)
    for age in (3_000.0, 3_000.0, 3_000.0, 200_000.0):
        metrics[m.ROW_AGE].histogram("film@v1").record(age)
    metrics[m.ROWS_LATE].count("film@v1").add()
    metrics[m.FRESHNESS].observe(lambda: [(("film@v1",), 86_400.0)])
    film, rated = figures_of(between(before, page_of(metrics), 4.0)).views
    assert (film.name, film.per_s, film.defaults, film.usual, film.why) == ("film@v1", 25.0, 0.4, 0.2, "UNAVAILABLE")
    assert (film.unavailable, film.stale, film.freshness_s) == (0.3, 0.2, 86_400.0)
    assert film.age_s == 900.0 + 2_700.0 * 2 / 3
    assert film.late == 0.25
    assert (rated.name, rated.defaults, rated.usual, rated.why) == ("rated@v1", 0.95, 0.95, "NOT_FOUND")
    assert (rated.unavailable, rated.age_s, rated.freshness_s, rated.late) == (0.0, None, None, None)


def test_a_single_redis_is_one_node() -> None:
    """A single server calls itself otherwise than those that use it: both are one row."""
    metrics = Metrics()
    metrics[m.BREAKER_STATE].observe(lambda: [(("here:6379",), 2)])
    metrics[m.BREAKER_CHANGES].count("here:6379", "open").add(3)
    metrics[m.BREAKER_CHANGES].count("here:6379", "half-open").add(2)
    metrics[m.REDIS_MEMORY].observe(lambda: [(("redis",), 1e6)])
    metrics[m.REDIS_MAX_MEMORY].observe(lambda: [(("redis",), 0)])
    metrics[m.REDIS_EVICTED].count("redis").add(5)
    metrics[m.REDIS_LOOKUPS].count("redis", "hit").add(3)
    metrics[m.REDIS_LOOKUPS].count("redis", "miss").add(1)
    assert figures(metrics).nodes == [Node("here:6379", 2.0, 5.0, 1e6, None, 2.5, 0.75)]


def test_nodes_of_a_cluster_go_by_their_names() -> None:
    """Breakers and what nodes say of themselves meet by HOST:PORT, those that are open first."""
    metrics = Metrics()
    metrics[m.BREAKER_STATE].observe(lambda: [(("a:1",), 0), (("b:2",), 1)])
    metrics[m.REDIS_MEMORY].observe(lambda: [(("a:1",), 1.0), (("c:3",), 3.0)])
    found = [(node.name, node.breaker, node.memory) for node in figures(metrics).nodes]
    assert found == [("b:2", 1.0, None), ("a:1", 0.0, 1.0), ("c:3", None, 3.0)]


def test_slates() -> None:
    """By placement: items and candidates a slate, how many were short or empty, and how well it was looked."""
    metrics = Metrics()
    for items in (0, 5, 5, 10):
        metrics[m.SLATE_ITEMS].histogram("home").record(items)
    for source, count in (("als", 100), ("popular", 20)):
        for _ in range(4):
            metrics[m.CANDIDATES].histogram("home", source).record(count)
    metrics[m.SLATE_SHORT].count("home").add(3)
    metrics[m.QUALITY].observe(lambda: [(("home",), 0.5)])
    metrics[m.RANK_DURATION].histogram("home", "MODEL").record(0.0015)
    [slates] = figures(metrics).slates
    assert slates.rank_p99_s == pytest.approx(0.001 + 0.0005 * 0.99)
    assert replace(slates, rank_p99_s=None) == Slates("home", 2.0, 5.0, 120.0, 0.75, 0.25, 0.5, None)


def test_processes_and_degraded_answers() -> None:
    """Calls under way, the lag of the event loop, what became of spans, and why answers are degraded."""
    metrics = Metrics()
    metrics[m.CALLS_ACTIVE].observe(lambda: [((), 3)])
    metrics[m.LOOP_LAG].histogram().record(0.0001)
    for result, count in (("exported", 10), ("dropped", 4), ("failed", 2)):
        metrics[m.SPANS].count(result).add(count)
    metrics[m.DEGRADED].count("CIRCUIT_OPEN").add(2)
    metrics[m.DEGRADED].count("STORE_UNAVAILABLE").add(4)
    metrics[m.DEGRADED].count("SATURATED")
    seen = figures(metrics)
    assert seen.process.lag_p99_s == pytest.approx(9.95e-5)
    assert replace(seen.process, lag_p99_s=None) == Process(3.0, None, None, None, 5.0, 2.0, 1.0)
    assert list(seen.degraded.items()) == [("STORE_UNAVAILABLE", 2.0), ("CIRCUIT_OPEN", 1.0)]


def test_without_readings_there_are_no_figures() -> None:
    """Nothing is made up where there is no data."""
    assert figures_of(Rates()) == Figures(methods=[], hops=[], nodes=[], views=[], slates=[])


def test_an_older_server_has_fewer_figures() -> None:
    """What a server does not tell yet is None, and what it does tell is there."""
    before = parse('recsvc_rows_served_total{recsvc_view="film@v1"} 1\n')
    after = parse('recsvc_rows_served_total{recsvc_view="film@v1"} 7\n')
    seen = figures_of(between(before, after, 2.0))
    assert seen.rows_per_s == 3.0
    assert (seen.calls_per_s, seen.store, seen.cache, seen.process) == (None, Store(), Cache(), Process())
    assert (seen.views[0].defaults, seen.views[0].usual, seen.views[0].unavailable) == (None, None, None)
