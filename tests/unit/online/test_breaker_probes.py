"""The breaker half-open: what its probes decide, and that nothing keeps it open for good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recsvc.online.breaker import BreakerSettings, Permit, State
from tests.unit.online.breaker_calls import LIMITS, Calls

# Half-open


def test_good_probes_close_it() -> None:
    """As many good probes as are set close it, and calls count from nought again."""
    calls = Calls()
    calls.rested()
    calls.call()
    assert calls.state() is State.HALF_OPEN
    calls.call()
    assert calls.whys()[1:] == [
        ("open", "half-open", "first probe after 0.75 s"),
        ("half-open", "closed", "2 of 2 probes good"),
    ]
    calls.make(0, 4)
    assert calls.state() is State.CLOSED


@pytest.mark.parametrize("probes", [1, 2, 5])
def test_at_most_so_many_probes_are_out(probes: int) -> None:
    """Half-open it permits so many calls at a time, and one more for each that ended."""
    calls = Calls(BreakerSettings(probes=probes))
    calls.rested()
    out = [calls.permit() for _ in range(probes)]
    assert all(permit.probe for permit in out)
    assert calls.breaker.refuses(calls.now)
    assert calls.breaker.permit(calls.now) is None
    calls.breaker.cancelled(out.pop(), calls.now)
    out.append(calls.permit())
    assert calls.breaker.refuses(calls.now)
    for permit in out:
        assert calls.state() is State.HALF_OPEN
        calls.breaker.succeeded(permit, calls.now)
    assert calls.state() is State.CLOSED


def test_a_good_probe_makes_room_for_the_next() -> None:
    """A probe that ended well is out no more."""
    calls = Calls(BreakerSettings(probes=2))
    calls.rested()
    first, _ = calls.permit(), calls.permit()
    assert calls.breaker.refuses(calls.now)
    calls.breaker.succeeded(first, calls.now)
    calls.permit()
    assert calls.breaker.refuses(calls.now)


def test_a_bad_probe_opens_it_again() -> None:
    """One probe that fails, after good ones too, opens it for a whole rest, and the good ones are forgotten."""
    calls = Calls(BreakerSettings(probes=3))
    calls.rested()
    calls.make(2, 1)
    assert calls.whys()[-1] == ("half-open", "open", "a probe failed")
    opened = calls.now
    calls.now = opened + LIMITS.open_s - 0.001
    assert calls.breaker.refuses(calls.now)
    calls.now = opened + 1.5 * LIMITS.open_s + 0.001
    calls.make(2, 0)
    assert calls.state() is State.HALF_OPEN
    calls.make(1, 0)
    assert calls.state() is State.CLOSED


def test_a_slow_probe_is_a_bad_one() -> None:
    """A store that answers, but slowly, stays shut off."""
    calls = Calls()
    calls.rested()
    calls.call(took=0.053)
    assert calls.whys()[-1] == ("half-open", "open", "a probe took 53 ms, over 40 ms")


def test_a_cancelled_probe_is_given_back() -> None:
    """A probe that was given up says nothing, and the next call may probe at once."""
    calls = Calls(BreakerSettings(probes=1))
    calls.rested()
    for _ in range(3):
        calls.breaker.cancelled(calls.permit(), calls.now)
        assert calls.state() is State.HALF_OPEN
    calls.call()
    assert calls.state() is State.CLOSED


def test_a_probe_given_back_twice_makes_one_place() -> None:
    """Probes that started at the same time are told apart: to end one twice does not end the other."""
    calls = Calls(BreakerSettings(probes=2))
    calls.rested()
    first, _ = calls.permit(), calls.permit()
    calls.breaker.cancelled(first, calls.now)
    calls.breaker.cancelled(first, calls.now)
    calls.permit()
    assert calls.breaker.refuses(calls.now)


def test_a_lost_probe_is_replaced() -> None:
    """A probe of which nothing is heard keeps its place for a second, and no longer."""
    calls = Calls(BreakerSettings(probes=1))
    calls.rested()
    calls.permit()
    calls.now += 0.99
    assert calls.breaker.refuses(calls.now)
    assert calls.breaker.permit(calls.now) is None
    calls.now += 0.02
    assert calls.permit().probe
    assert calls.breaker.refuses(calls.now)
    assert calls.state() is State.HALF_OPEN


def test_a_probe_is_not_lost_before_its_rest_would_end() -> None:
    """Where the rest is longer than the window, a probe may take as long as the rest."""
    calls = Calls(BreakerSettings(probes=1, open_s=3.0))
    calls.open()
    calls.now += 4.6
    calls.permit()
    calls.now += 2.9
    assert calls.breaker.refuses(calls.now)
    calls.now += 0.2
    calls.permit()


def test_a_probe_that_was_given_up_for_lost_still_counts() -> None:
    """Late or not, its failure is what is known of the calls."""
    calls = Calls(BreakerSettings(probes=1))
    calls.rested()
    late = calls.permit()
    calls.now += 1.1
    calls.permit()
    calls.breaker.failed(late, calls.now)
    assert calls.state() is State.OPEN


@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
def test_an_outcome_of_an_older_generation_is_ignored(outcome: str, *, probe: bool) -> None:
    """What was permitted before a change neither closes, opens, nor makes room."""
    calls = Calls(BreakerSettings(probes=2, min_calls=1))
    if probe:
        calls.make(0, 1)
        calls.now += 0.751
        old = calls.permit()
        calls.breaker.failed(calls.permit(), calls.now)
    else:
        old = calls.permit()
        calls.make(0, 1)
    end: Callable[[Permit, float], None] = getattr(calls.breaker, outcome)
    end(old, calls.now)
    assert calls.state() is State.OPEN
    calls.now += 0.751
    calls.permit()
    calls.permit()
    before = len(calls.changes)
    end(old, calls.now)
    assert calls.state() is State.HALF_OPEN
    assert calls.breaker.refuses(calls.now)
    assert len(calls.changes) == before


def test_an_outcome_from_before_the_outage_does_not_count_after_it() -> None:
    """A call permitted while it was closed the last time is none of this time's."""
    calls = Calls(BreakerSettings(min_calls=1, probes=1))
    old = calls.permit()
    calls.make(0, 1)
    calls.now += 0.751
    calls.call()
    assert calls.state() is State.CLOSED
    calls.breaker.failed(old, calls.now)
    assert calls.state() is State.CLOSED


# Clocks that jump


@pytest.mark.parametrize("jump", [-1e6, -10.0, -0.8, 10.0, 1e6])
def test_a_clock_that_jumps_does_not_keep_it_open(jump: float) -> None:
    """Wherever the clock goes while it is open, it may be probed within the longest rest."""
    calls = Calls()
    calls.open()
    calls.now += jump + 0.751
    calls.make(2, 0)
    assert calls.state() is State.CLOSED
    assert "after -" not in calls.changes[1].why


@pytest.mark.parametrize("jump", [-1e6, -10.0, 10.0, 1e6])
def test_a_clock_that_jumps_does_not_lose_the_places_of_probes(jump: float) -> None:
    """Wherever the clock goes while probes are out, others may probe within a second."""
    calls = Calls()
    calls.rested()
    calls.permit()
    calls.permit()
    calls.now += jump + 1.001
    calls.make(2, 0)
    assert calls.state() is State.CLOSED


def test_a_clock_that_goes_back_and_forth_while_open() -> None:
    """A rest that began in a future that did not come is over."""
    calls = Calls()
    calls.now += 1e6
    calls.open()
    calls.now -= 1e6
    calls.make(2, 0)
    assert calls.state() is State.CLOSED


@pytest.mark.parametrize("jump", [-100.0, -0.5, 100.0])
def test_a_clock_that_jumps_starts_the_window_anew(jump: float) -> None:
    """Counts from before a jump are dropped, and those from after it open as ever."""
    calls = Calls()
    calls.make(0, 4)
    calls.now += jump
    calls.make(0, 4)
    assert calls.state() is State.CLOSED
    calls.make(0, 1)
    assert calls.changes[0].why.startswith("5 of 5")


def test_a_call_across_a_jump_is_slow_at_most_once() -> None:
    """A call that seems to have ended before it began is not slow."""
    calls = Calls(BreakerSettings(min_calls=1, slow_share=0.1))
    calls.call(took=-50.0)
    assert calls.state() is State.CLOSED


def test_the_clock_may_start_anywhere() -> None:
    """Times may be zero or negative; the event loop's clock promises no more."""
    for now in (-7.3, -0.002, 0.0):
        calls = Calls(now=now)
        calls.open()
