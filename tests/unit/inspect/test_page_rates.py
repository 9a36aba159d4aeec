"""The difference of two readings, and several servers as one."""

from __future__ import annotations

import math

import pytest

from recsvc.inspect.page_rates import Rates, between, total
from recsvc.inspect.page_series import Page, Series, Spread
from recsvc.telemetry import metrics as m
from recsvc.telemetry import names
from recsvc.telemetry.metrics import Metrics
from recsvc.telemetry.series import Instrument
from tests.unit.inspect.rendered import page_of


def page(*told: tuple[Instrument, Series], instance: str = "one") -> Page:
    """Return a page that tells this."""
    return Page(instance, dict(told))


def test_counters_and_histograms_become_growth_a_second() -> None:
    """Of what a server counted between two readings, the seconds between them are a divisor."""
    metrics = Metrics()
    hits, lag = metrics[m.CACHE_LOOKUPS].count("hit"), metrics[m.LOOP_LAG].histogram()
    hits.add(100)
    lag.record(4.0)
    before = page_of(metrics)
    hits.add(30)
    for value in (0.001, 0.001, 0.5):
        lag.record(value)
    rates = between(before, page_of(metrics), 2.0)
    assert rates.growth(m.CACHE_LOOKUPS) == 15.0
    spread = rates.spread(m.LOOP_LAG)
    assert spread is not None
    assert {bound: count for bound, count in spread.counts.items() if count} == {0.001: 1.0, 0.5: 0.5}
    assert spread.mean == pytest.approx(0.502 / 3)
    assert rates.level(m.CACHE_LOOKUPS) == 130.0


def test_a_restart_gives_no_negative_rate() -> None:
    """A count that has fallen began anew: all of it has come since, of counters as of histograms."""
    old = Spread({1.0: 5.0, 2.0: 5.0, math.inf: 0.0}, 12.0)
    new = Spread({1.0: 6.0, 2.0: 1.0, math.inf: 0.0}, 7.0)
    before = page((m.FETCH_SHED, {(): 50.0}), (m.LOOP_LAG, {(): old}))
    rates = between(before, page((m.FETCH_SHED, {(): 8.0}), (m.LOOP_LAG, {(): new})), 2.0)
    assert rates.growth(m.FETCH_SHED) == 4.0
    assert rates.spread(m.LOOP_LAG) == Spread({1.0: 3.0, 2.0: 0.5, math.inf: 0.0}, 3.5)


def test_another_instance_began_at_nothing() -> None:
    """Where another process answers, what it has counted is growth, also where that is more than before."""
    before, after = page((m.FETCH_SHED, {(): 5.0})), page((m.FETCH_SHED, {(): 8.0}), instance="two")
    assert between(before, after, 1.0).growth(m.FETCH_SHED) == 8.0


def test_a_series_that_appears_began_at_nothing() -> None:
    """Series are made when they have something to tell."""
    before, after = page((m.DEGRADED, {("A",): 1.0})), page((m.DEGRADED, {("A",): 1.0, ("B",): 2.0}))
    assert between(before, after, 1.0).growth_by(m.DEGRADED, names.REASON) == {("A",): 0.0, ("B",): 2.0}


@pytest.mark.parametrize(("before", "seconds"), [(None, 1.0), (page(), 0.0)])
def test_one_reading_has_no_rates(before: Page | None, seconds: float) -> None:
    """What is needed twice is not known after one reading; gauges are."""
    rates = between(before, page((m.FETCH_SHED, {(): 5.0}), (m.CACHE_ROWS, {(): 7.0})), seconds)
    assert (rates.growth(m.FETCH_SHED), rates.level(m.CACHE_ROWS)) == (None, 7.0)


def test_what_no_server_tells_is_not_nought() -> None:
    """A counter that a server knows and has not used is 0; one that it does not know is nothing, as are gauges."""
    known = between(page(), page((m.DEGRADED, {}), (m.CACHE_ROWS, {})), 1.0)
    assert (known.growth(m.DEGRADED), known.level(m.DEGRADED), known.level(m.CACHE_ROWS)) == (0.0, 0.0, None)
    assert (known.growth(m.FETCH_SHED), known.spread(m.LOOP_LAG)) == (None, None)


def test_servers_are_added_up() -> None:
    """Of several servers counts are summed, and so are connections; of a breaker the worst state counts."""
    one = Rates(
        {m.FETCH_SHED: {(): 1.0}, m.LOOP_LAG: {(): Spread({1.0: 1.0}, 1.0)}},
        {m.CONNECTIONS: {("s", "used"): 2.0}, m.BREAKER_STATE: {("s",): 2.0}, m.QUALITY: {("home",): 1.0}},
    )
    other = Rates(
        {m.FETCH_SHED: {(): 2.0}, m.LOOP_LAG: {(): Spread({1.0: 2.0}, 2.0)}},
        {m.CONNECTIONS: {("s", "used"): 3.0}, m.BREAKER_STATE: {("s",): 0.0}, m.QUALITY: {("home",): 0.4}},
    )
    both = total([one, other])
    assert both.growth(m.FETCH_SHED) == 3.0
    assert both.spread(m.LOOP_LAG) == Spread({1.0: 3.0}, 3.0)
    assert both.level_by(m.CONNECTIONS, names.POOL_STATE) == {("used",): 5.0}
    assert (both.level(m.BREAKER_STATE), both.level(m.QUALITY)) == (2.0, 0.4)


def test_redis_is_not_added_up() -> None:
    """What Redis says of itself each server tells: it is one Redis all the same."""
    one = Rates({m.REDIS_EVICTED: {("redis",): 4.0}}, {m.REDIS_MEMORY: {("redis",): 10.0}})
    both = total([one, one])
    assert (both.growth(m.REDIS_EVICTED), both.level(m.REDIS_MEMORY)) == (4.0, 10.0)


def test_states_can_be_seen() -> None:
    """Rates say what they hold."""
    assert repr(total([])) == "Rates(0 grow, 0 are known)"
