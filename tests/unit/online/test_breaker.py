"""The breaker: when it opens, how long it rests, and what it shows."""

from __future__ import annotations

import logging
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import ConfigError
from recsvc.online.breaker import Breaker, BreakerSettings, Change, Mode, State
from recsvc.telemetry.counters import Counters
from tests.unit.online.breaker_calls import LIMITS, Calls

# When it opens


@pytest.mark.parametrize(("good", "bad"), [(0, 5), (2, 3), (3, 3), (50, 50)])
def test_a_share_of_failures_opens_it(good: int, bad: int) -> None:
    """It opens with the failure that makes half of the calls, and says how many failed."""
    calls = Calls()
    calls.make(good, bad - 1)
    assert calls.state() is State.CLOSED
    calls.call(fails=True)
    assert calls.state() is State.OPEN
    assert calls.whys() == [("closed", "open", f"{bad} of {good + bad} calls failed in the last 1.0 s")]


def test_few_calls_are_no_share() -> None:
    """Below the least number of calls nothing opens it, were all to fail."""
    calls = Calls()
    calls.make(0, LIMITS.min_calls - 1)
    assert calls.state() is State.CLOSED


def test_a_call_that_succeeds_does_not_open_it() -> None:
    """The call that brings the numbers up to the least is judged only where it is bad itself."""
    calls = Calls()
    calls.make(0, 4)
    calls.make(2, 0)
    assert calls.state() is State.CLOSED


def test_only_the_last_second_counts() -> None:
    """Calls that ended more than a window ago weigh no more, those that ended nine tenths of it ago do."""
    for wait, state in ((0.85, State.OPEN), (1.05, State.CLOSED)):
        calls = Calls(now=1000.0)
        calls.make(0, 4)
        calls.now = 1000.0 + wait
        calls.call(fails=True)
        assert calls.state() is state


def test_the_window_rolls() -> None:
    """A call leaves the window when it is a second old, whatever came after it."""
    calls = Calls(now=1000.05)
    for step in range(15):
        assert calls.state() is State.CLOSED
        calls.call(took=0.0, fails=step >= 10)
        calls.now += 0.1
    assert calls.whys() == [("closed", "open", "5 of 10 calls failed in the last 1.0 s")]


def test_the_window_does_not_grow() -> None:
    """However long it runs, a breaker keeps ten parts of a window."""
    calls = Calls()
    for _ in range(100):
        calls.call()
        calls.now += 0.07
    assert repr(calls.breaker._window).count("(") == 1 + 10


def test_slow_calls_open_it() -> None:
    """Four of five calls that took over 40 ms open it, and it says so."""
    calls = Calls()
    calls.call()
    for _ in range(3):
        calls.call(took=0.045)
        assert calls.state() is State.CLOSED
    calls.call(took=0.045)
    assert calls.whys() == [("closed", "open", "4 of 5 calls took over 40 ms in the last 1.0 s")]


def test_the_limit_itself_is_not_slow() -> None:
    """A call that took as long as is allowed is not slow."""
    calls = Calls(BreakerSettings(slow_s=0.125, min_calls=1))
    calls.call(took=0.125)
    assert calls.state() is State.CLOSED
    calls.call(took=0.126)
    calls.call(took=0.126)
    calls.call(took=0.126)
    assert calls.state() is State.CLOSED
    calls.call(took=0.126)
    assert calls.state() is State.OPEN


def test_a_failure_may_be_slow_too() -> None:
    """Calls that took too long are slow whether they failed in the end or not."""
    calls = Calls()
    calls.call()
    calls.call(took=0.045)
    calls.call(took=0.045)
    calls.call(took=0.045, fails=True)
    calls.call(took=0.045, fails=True)
    assert calls.changes[0].why == "4 of 5 calls took over 40 ms in the last 1.0 s"


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.6, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("kind", ["failed", "slow"])
def test_a_share_is_met_exactly(share: float, kind: str) -> None:
    """The share that is set is enough, to the call, whatever its binary fraction."""
    failed = kind == "failed"
    limits = BreakerSettings(
        min_calls=30, failure_share=share if failed else 1.0, slow_share=1.0 if failed else share, window_s=100
    )
    calls = Calls(limits)
    bad = round(share * 30)
    calls.make(30 - bad, 0)
    for done in range(bad):
        assert calls.state() is State.CLOSED, done
        calls.call(fails=failed, took=0.001 if failed else 0.1)
    assert calls.state() is State.OPEN


def test_a_cancelled_call_is_no_outcome() -> None:
    """Calls that were given up, however late, neither fill the least number nor count as slow or failed."""
    calls = Calls()
    for _ in range(20):
        permit = calls.permit()
        calls.now += 0.045
        calls.breaker.cancelled(permit, calls.now)
    calls.make(0, 4)
    assert calls.state() is State.CLOSED
    calls.call(fails=True)
    assert calls.state() is State.OPEN
    assert calls.changes[0].why.startswith("5 of 5")


# Open, and the rest


@given(st.integers(0, 10_000))
def test_the_rest_is_as_long_as_is_set_or_up_to_half_as_long_again(seed: int) -> None:
    """Nothing is permitted before ``open_s``, and a probe is after 1.5 times that."""
    calls = Calls(seed=seed)
    calls.open()
    opened = calls.now
    calls.now = opened + LIMITS.open_s - 0.001
    assert calls.breaker.refuses(calls.now)
    assert calls.breaker.permit(calls.now) is None
    calls.now = opened + 1.5 * LIMITS.open_s + 0.001
    assert calls.permit().probe


def test_rests_differ() -> None:
    """Breakers that open at the same time do not probe at the same time: their rests fill the range."""
    rests = []
    for seed in range(200):
        calls = Calls(seed=seed)
        calls.open()
        opened = calls.now
        while calls.breaker.refuses(calls.now):
            calls.now += 0.005
        rests.append(calls.now - opened)
    assert min(rests) < 0.52
    assert max(rests) > 0.73
    assert len({round(rest, 2) for rest in rests}) > 15


def test_to_ask_changes_nothing() -> None:
    """Only a permit makes an open breaker half-open, not the question whether there would be one."""
    calls = Calls()
    calls.rested()
    for _ in range(3):
        assert not calls.breaker.refuses(calls.now)
        assert calls.state() is State.OPEN
    calls.permit()
    assert calls.state() is State.HALF_OPEN
    assert [change.after for change in calls.changes] == [State.OPEN, State.HALF_OPEN]


# The whole course


@pytest.mark.parametrize("seed", range(50))
def test_it_closes_within_two_seconds_after_the_store_is_back(seed: int) -> None:
    """With a call every 3 ms it closes in time, even where one more probe fails because the store is still loading."""
    calls, random = Calls(seed=seed), Random(seed)
    back = calls.now + random.uniform(1, 5)
    loading = True
    while calls.now < back or calls.state() is not State.CLOSED:
        calls.now += 0.003
        if calls.breaker.refuses(calls.now):
            continue
        down = calls.now < back
        calls.call(fails=down or loading, took=0.05 if down else 0.002)
        loading = loading and down
        assert calls.now < back + 2.0


def test_a_change_is_told_when_it_has_been_made() -> None:
    """Who is told of a change finds the breaker changed."""
    found: list[tuple[State, State]] = []

    def told(change: Change) -> None:
        found.append((change.after, breaker.state(now)))

    now = 5.0
    breaker = Breaker("h:1", BreakerSettings(min_calls=1, probes=1), random=Random(1), on_change=told)
    for _ in range(2):
        permit = breaker.permit(now)
        assert permit is not None
        (breaker.succeeded if permit.probe else breaker.failed)(permit, now)
        now += 1.0
    assert found == [(state, state) for state in (State.OPEN, State.HALF_OPEN, State.CLOSED)]


def test_the_log_says_what_changed(caplog: pytest.LogCaptureFixture) -> None:
    """Opening and closing are warnings, with how often that was so far; probing is not, though it is counted."""
    calls = Calls()
    calls.rested()
    calls.make(2, 0)
    counters = Counters(monotonic=lambda: 0.0)
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            for change in calls.changes:
                counters.breaker_changed(*change)
    lines = [
        (logging.WARNING, "breaker of redis h:1: closed -> open (5 of 5 calls failed in the last 1.0 s; {} so far)"),
        (logging.DEBUG, "breaker of redis h:1: open -> half-open (first probe after 0.75 s; {} so far)"),
        (logging.WARNING, "breaker of redis h:1: half-open -> closed (2 of 2 probes good; {} so far)"),
    ]
    told = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert told == [(level, line.format(number)) for number in (1, 2) for level, line in lines]
    assert counters.breaker_changes == {("h:1", "open"): 2, ("h:1", "half-open"): 2, ("h:1", "closed"): 2}
    assert "breaker_changes={'h:1 open': 2, 'h:1 half-open': 2, 'h:1 closed': 2}" in repr(counters)


def test_a_long_outage_is_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """A breaker that opens again after each probe is told at first, every 10 s with a count, and when it has closed."""
    times = iter(0.5 * number for number in range(51))
    counters = Counters(monotonic=lambda: next(times))  # it is asked at each opening
    with caplog.at_level(logging.INFO):
        counters.breaker_changed("h:1", "closed", "open", "all failed")
        for _ in range(50):
            counters.breaker_changed("h:1", "open", "half-open", "first probe")
            counters.breaker_changed("h:1", "half-open", "open", "a probe failed")
        counters.breaker_changed("h:1", "open", "half-open", "first probe")
        counters.breaker_changed("h:1", "half-open", "closed", "probes good")
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "closed -> open (all failed; 1 so far)",
        "half-open -> open (a probe failed; 21 so far)",
        "half-open -> open (a probe failed; 41 so far)",
        "half-open -> closed (probes good; 1 so far)",
    ]


# Drills


def test_forced_open_refuses_all() -> None:
    """Held open it never permits anything, however long it waits, and nothing changes."""
    calls = Calls(BreakerSettings(mode=Mode.OPEN))
    for _ in range(3):
        assert calls.state() is State.OPEN
        assert calls.breaker.refuses(calls.now)
        assert calls.breaker.permit(calls.now) is None
        calls.now += 1e3
    assert calls.changes == []


def test_forced_closed_permits_all_and_counts() -> None:
    """Held closed it permits everything, whatever fails, and still counts."""
    calls = Calls(BreakerSettings(mode=Mode.CLOSED))
    calls.make(1, 20)
    calls.call(took=0.05)
    assert calls.state() is State.CLOSED
    assert calls.changes == []
    assert repr(calls.breaker) == "Breaker(h:1: closed (forced closed), 22 calls, 20 failed, 1 slow)"


# What it shows


def test_the_repr_shows_how_it_stands() -> None:
    """State, reason, counts, and how long until the next probe, as of the last call."""
    calls = Calls(seed=3)
    assert repr(calls.breaker) == "Breaker(h:1: closed (new), 0 calls, 0 failed, 0 slow)"
    calls.make(1, 1)
    calls.call(took=0.05)
    assert repr(calls.breaker) == "Breaker(h:1: closed (new), 3 calls, 1 failed, 1 slow)"
    calls.make(0, 2)
    rest = 0.5 * Random(3).uniform(1, 1.5)
    why = "3 of 5 calls failed in the last 1.0 s"
    assert repr(calls.breaker) == f"Breaker(h:1: open ({why}), probe in {rest:.2f} s)"
    calls.now += 0.25
    assert calls.breaker.refuses(calls.now)
    assert repr(calls.breaker) == f"Breaker(h:1: open ({why}), probe in {rest - 0.25:.2f} s)"
    calls.now += 0.501
    assert calls.state() is State.OPEN
    assert repr(calls.breaker) == f"Breaker(h:1: open ({why}), probe in 0.00 s)"
    calls.call()
    calls.permit()
    assert repr(calls.breaker).endswith("half-open (first probe after 0.75 s), 1 of 2 probes good, 1 out)")
    forced = Breaker("h:1", BreakerSettings(mode=Mode.OPEN), random=Random(1), on_change=calls.changes.append)
    assert repr(forced) == "Breaker(h:1: open (forced open), no probes)"
    assert repr(calls.breaker._window) == "CallWindow([])"


def test_the_repr_is_as_of_the_end_of_a_cancelled_call_too() -> None:
    """Counts that have left the window by then are shown no more."""
    calls = Calls()
    permit = calls.permit()
    calls.make(0, 1)
    calls.breaker.cancelled(permit, calls.now + 2.0)
    assert repr(calls.breaker) == "Breaker(h:1: closed (new), 0 calls, 0 failed, 0 slow)"


@pytest.mark.parametrize("name", ["window_s", "slow_s", "open_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_times_must_be_positive(name: str, value: float) -> None:
    """A time that cannot pass is a mistake in the configuration, and named."""
    with pytest.raises(ConfigError, match=f"^breaker, {name}: .*more than 0 seconds"):
        BreakerSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["min_calls", "probes"])
def test_numbers_must_be_positive(name: str) -> None:
    """A breaker needs a call to judge and a probe to close."""
    with pytest.raises(ConfigError, match=f"^breaker, {name}: 0 must be at least 1$"):
        BreakerSettings(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["failure_share", "slow_share"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, math.nan])
def test_shares_are_shares(name: str, value: float) -> None:
    """A share is above 0, which every call would meet, and at most 1."""
    with pytest.raises(ConfigError, match=f"^breaker, {name}: .*at most 1$"):
        BreakerSettings(**{name: value})  # type: ignore[arg-type]
    BreakerSettings(**{name: 1.0})  # type: ignore[arg-type]
