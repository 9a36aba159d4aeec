"""The circuit breaker: decides whether the store is asked at all. No I/O and no clock: every call is told the time.

CLOSED: every call gets a permit, and its outcome counts. Where too large a share of the last second failed or was
slow, the breaker is OPEN: no permits. After a rest the first permit makes it HALF_OPEN: a few calls probe the store;
that many good ones in a row close it, a bad one opens it again. Every change starts a new generation, and what was
permitted before no longer counts. Nothing happens by itself: without calls an open breaker stays open.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple

from recsvc.errors import ConfigError

BUCKETS: Final = 10
"""Parts of the window: the oldest leaves whole, so between 90 and 100 % of the window count."""
LONGEST_REST: Final = 1.5
"""A rest lasts 1 to 1.5 times ``open_s``, so that processes that opened together do not probe together. Never shorter:
the setting is a promise to a store that struggles. With 0.5 s the next probe comes within 0.75 s of the last, so one
that still fails while the store starts leaves time to close within 2 s after it is back."""


class Mode(StrEnum):
    """How a breaker is run: by itself, or held in one state for a drill."""

    AUTO = "auto"
    OPEN = "open"
    CLOSED = "closed"


class State(StrEnum):
    """What a breaker lets through: everything, nothing, a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, for how long, and what closes it. Times are in seconds. Raises ConfigError.

    It opens where ``failure_share`` of the calls in the last ``window_s`` failed, or ``slow_share`` took over
    ``slow_s``, and there were at least ``min_calls``.
    """

    mode: Mode = Mode.AUTO
    window_s: float = 1.0
    min_calls: int = 5
    failure_share: float = 0.5
    slow_s: float = 0.04
    slow_share: float = 0.8
    open_s: float = 0.5
    probes: int = 2

    def __post_init__(self) -> None:
        for name in ("window_s", "slow_s", "open_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"breaker, {name}: {getattr(self, name)!r} must be more than 0 seconds, and finite")
        for name in ("min_calls", "probes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"breaker, {name}: {getattr(self, name)!r} must be at least 1")
        for name in ("failure_share", "slow_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"breaker, {name}: {getattr(self, name)!r} must be more than 0 and at most 1")


class Change(NamedTuple):
    """A breaker went from one state to another."""

    name: str
    before: State
    after: State
    why: str


@dataclass(slots=True, eq=False)  # by identity: two probes may start at the same time
class Permit:
    """Leave to ask the store once. Its outcome is told to the breaker that gave it."""

    generation: int
    started_at: float
    probe: bool


@dataclass(slots=True)
class _Bucket:
    """Calls that ended in one part of the window. ``number`` counts such parts since the clock's zero."""

    number: int
    calls: int = 0
    failed: int = 0
    slow: int = 0


class CallWindow:
    """Counts of the calls that ended in the last ``window_s`` seconds."""

    def __init__(self, window_s: float) -> None:
        self._width_s = window_s / BUCKETS
        self._buckets: deque[_Bucket] = deque(maxlen=BUCKETS)

    def __repr__(self) -> str:
        return f"CallWindow({[(b.calls, b.failed, b.slow) for b in self._buckets]})"

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count a call that ended now. Where the clock went back, all counts are of no known time, and dropped."""
        bucket = self._bucket(math.floor(now / self._width_s))
        bucket.calls += 1
        bucket.failed += failed
        bucket.slow += slow

    def counts(self, now: float) -> tuple[int, int, int]:
        """Return how many calls ended, failed and were slow."""
        oldest = math.floor(now / self._width_s) - BUCKETS
        live = [b for b in self._buckets if b.number > oldest]
        return sum(b.calls for b in live), sum(b.failed for b in live), sum(b.slow for b in live)

    def clear(self) -> None:
        """Forget all calls."""
        self._buckets.clear()

    def _bucket(self, number: int) -> _Bucket:
        if self._buckets:
            newest = self._buckets[-1]
            if newest.number == number:
                return newest
            if newest.number > number:
                self._buckets.clear()
        self._buckets.append(_Bucket(number))
        return self._buckets[-1]


class Breaker:
    """The breaker of one server, ``name`` (host:port).

    ``now`` is seconds of any clock; one that jumps never keeps it open for good. ``on_change`` is called after each
    change, when the breaker stands as the change says.
    """

    def __init__(
        self, name: str, settings: BreakerSettings, *, random: Random, on_change: Callable[[Change], None]
    ) -> None:
        self.name = name
        self._settings = settings
        self._random = random
        self._on_change = on_change
        self._state = State.OPEN if settings.mode is Mode.OPEN else State.CLOSED
        self._why = f"forced {settings.mode}" if settings.mode is not Mode.AUTO else "new"
        self._generation = 0
        self._window = CallWindow(settings.window_s)
        self._opened_at = self._rest_s = 0.0
        self._probes: list[Permit] = []
        self._good_probes = 0
        # No answer in either time: nobody will tell the outcome any more.
        self._lost_s = max(settings.window_s, settings.open_s)
        self._seen_at = 0.0  # for repr alone

    def __repr__(self) -> str:
        """Say how the breaker stands, as of when it was last called."""
        return f"Breaker({self.name}: {self._state} ({self._why}), {self._figures(self._seen_at)})"

    def state(self, now: float) -> State:
        """Return the state. OPEN lasts until a probe is permitted, however long ago its rest ended."""
        self._seen_at = now
        return self._state

    def refuses(self, now: float) -> bool:
        """Say whether a call that asks for a permit now gets none, without asking for it."""
        self._seen_at = now
        if self._state is State.CLOSED:
            return False
        if self._state is State.OPEN:
            return self._settings.mode is Mode.OPEN or self._rest_left_s(now) > 0
        return len(self._probes_out(now)) >= self._settings.probes

    def permit(self, now: float) -> Permit | None:
        """Return leave to ask the store, or None. One of succeeded, failed and cancelled must follow, once."""
        if self.refuses(now):
            return None
        if self._state is State.CLOSED:
            return Permit(self._generation, now, probe=False)
        if self._state is State.OPEN:
            self._change(State.HALF_OPEN, f"first probe after {max(0.0, now - self._opened_at):.2f} s")
        permit = Permit(self._generation, now, probe=True)
        self._probes = [*self._probes_out(now), permit]
        return permit

    @property
    def slow_s(self) -> float:
        """Calls that take longer are slow."""
        return self._settings.slow_s

    def succeeded(self, permit: Permit, now: float, *, was_slow: bool = True) -> None:
        """Take note that the store answered. ``was_slow`` False: a long time was not the store's doing."""
        self._ended(permit, now, failed=False, slow=was_slow)

    def failed(self, permit: Permit, now: float) -> None:
        """Take note that the store did not answer."""
        self._ended(permit, now, failed=True, slow=True)

    def cancelled(self, permit: Permit, now: float) -> None:
        """Take the permit back: a call that was given up says nothing about the store."""
        self._seen_at = now
        self._return(permit)

    def _ended(self, permit: Permit, now: float, *, failed: bool, slow: bool) -> None:
        self._seen_at = now
        if permit.generation != self._generation:
            return
        slow = slow and now - permit.started_at > self._settings.slow_s
        if permit.probe:
            self._return(permit)
            self._judge_probe(now, now - permit.started_at, failed=failed, slow=slow)
            return
        self._window.add(now, failed=failed, slow=slow)
        # A good call never opens it, so it need not be judged.
        if (failed or slow) and self._settings.mode is Mode.AUTO:
            self._judge_window(now)

    def _judge_window(self, now: float) -> None:
        limits = self._settings
        calls, failed, slow = self._window.counts(now)
        if calls < limits.min_calls:
            return
        last = f"in the last {limits.window_s:.1f} s"
        if failed / calls >= limits.failure_share:
            self._open(now, f"{failed} of {calls} calls failed {last}")
        elif slow / calls >= limits.slow_share:
            self._open(now, f"{slow} of {calls} calls took over {limits.slow_s * 1e3:g} ms {last}")

    def _judge_probe(self, now: float, took_s: float, *, failed: bool, slow: bool) -> None:
        if failed:
            self._open(now, "a probe failed")
        elif slow:  # to close on slow answers would be to open again at once
            self._open(now, f"a probe took {took_s * 1e3:.0f} ms, over {self._settings.slow_s * 1e3:g} ms")
        else:
            self._good_probes += 1
            if self._good_probes >= self._settings.probes:
                self._change(State.CLOSED, f"{self._good_probes} of {self._settings.probes} probes good")

    def _open(self, now: float, why: str) -> None:
        self._opened_at = now
        self._rest_s = self._settings.open_s * self._random.uniform(1.0, LONGEST_REST)
        self._change(State.OPEN, why)

    def _change(self, after: State, why: str) -> None:
        before, self._state, self._why = self._state, after, why
        self._generation += 1
        self._window.clear()
        self._probes.clear()
        self._good_probes = 0
        self._on_change(Change(self.name, before, after, why))

    def _return(self, permit: Permit) -> None:
        if permit in self._probes:
            self._probes.remove(permit)

    def _probes_out(self, now: float) -> list[Permit]:
        """Return the probes under way; those whose outcome is overdue, or of a clock that went back, are lost."""
        return [p for p in self._probes if 0 <= now - p.started_at < self._lost_s]

    def _rest_left_s(self, now: float) -> float:
        """Return how long no probe is permitted; 0 where the clock went back behind the opening."""
        return max(0.0, self._opened_at + self._rest_s - now) if now >= self._opened_at else 0.0

    def _figures(self, now: float) -> str:
        if self._settings.mode is Mode.OPEN:
            return "no probes"
        if self._state is State.OPEN:
            return f"probe in {self._rest_left_s(now):.2f} s"
        if self._state is State.HALF_OPEN:
            return f"{self._good_probes} of {self._settings.probes} probes good, {len(self._probes_out(now))} out"
        return "{} calls, {} failed, {} slow".format(*self._window.counts(now))
