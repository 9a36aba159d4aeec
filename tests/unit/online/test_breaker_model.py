"""The breaker against a model of 50 lines: whatever calls do and wherever the clock goes, both stand alike."""

from __future__ import annotations

import math
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recsvc.online.breaker import Breaker, BreakerSettings, Change, Permit, State

TICK = 1 / 64
"""Times are whole ticks, and a window has 80 of them: sums are exact, and a tenth of a window is 8 ticks."""


class Model:
    """The rules, without buckets, permits or classes of state. Times in ticks."""

    def __init__(self, limits: BreakerSettings, seed: int) -> None:
        self.limits, self.random = limits, Random(seed)
        self.log: list[tuple[str, str]] = []
        self.state, self.since, self.rest = "closed", 0, 0.0
        self.permits: dict[int, tuple[int, int]] = {}  # number: when, how many changes there had been
        self.ended: list[tuple[int, bool, bool]] = []  # eighth of a window's 80 ticks, failed, slow
        self.probes: dict[int, int] = {}  # number: when
        self.good = 0

    def refuses(self, now: int) -> bool:
        """Say whether a call now gets no permit."""
        if self.state == "open":
            return self.since <= now and (now - self.since) * TICK < self.rest
        return self.state == "half-open" and len(self.out(now)) >= self.limits.probes

    def out(self, now: int) -> dict[int, int]:
        """Return the probes that may still answer."""
        lost = max(self.limits.window_s, self.limits.open_s)
        return {number: at for number, at in self.probes.items() if 0 <= (now - at) * TICK < lost}

    def permit(self, number: int, now: int) -> None:
        """Let a call begin."""
        if self.state == "open":
            self.become("half-open", now)
        self.probes = self.out(now) | {number: now}
        self.permits[number] = (now, len(self.log))

    def end(self, number: int, now: int, how: str) -> None:
        """End a call."""
        at, changes = self.permits.pop(number)
        self.probes.pop(number, None)
        if changes != len(self.log) or how == "cancelled":
            return
        failed, slow = how == "failed", (now - at) * TICK > self.limits.slow_s
        if self.state == "half-open":
            self.good += 1
            if failed or slow:
                self.become("open", now)
            elif self.good == self.limits.probes:
                self.become("closed", now)
            return
        if self.ended and self.ended[-1][0] > now // 8:
            self.ended = []
        self.ended.append((now // 8, failed, slow))
        last = [(f, s) for tenth, f, s in self.ended if tenth > now // 8 - 10]
        failures, slows = sum(f for f, _ in last), sum(s for _, s in last)
        many = failures >= self.limits.failure_share * len(last) or slows >= self.limits.slow_share * len(last)
        if (failed or slow) and len(last) >= self.limits.min_calls and many:
            self.become("open", now)

    def become(self, state: str, now: int) -> None:
        """Change."""
        if state == "open":
            self.since, self.rest = now, self.limits.open_s * self.random.uniform(1, 1.5)
        self.log.append((self.state, state))
        self.state, self.good, self.ended, self.probes = state, 0, [], {}


class Course(RuleBasedStateMachine):
    """Calls that start, end in any order and way or get lost, on a clock that runs and jumps."""

    @initialize(
        seed=st.integers(0, 9),
        min_calls=st.integers(1, 6),
        failure_share=st.sampled_from([0.125, 0.5, 1.0]),
        slow_share=st.sampled_from([0.25, 0.75, 1.0]),
        probes=st.integers(1, 3),
        open_s=st.sampled_from([0.25, 0.5, 2.0]),
        start=st.sampled_from([0, -50, 6400]),
    )
    def begin(  # noqa: PLR0913  # one draw for each setting
        self,
        *,
        seed: int,
        min_calls: int,
        failure_share: float,
        slow_share: float,
        probes: int,
        open_s: float,
        start: int,
    ) -> None:
        """Build both of the same settings."""
        limits = BreakerSettings(
            window_s=80 * TICK,
            min_calls=min_calls,
            failure_share=failure_share,
            slow_s=3 * TICK,
            slow_share=slow_share,
            open_s=open_s,
            probes=probes,
        )
        self.changes: list[Change] = []
        self.breaker = Breaker("h:1", limits, random=Random(seed), on_change=self.changes.append)
        self.model = Model(limits, seed)
        self.now, self.asked, self.out = start, 0, dict[int, Permit]()

    @rule(ticks=st.integers(0, 12) | st.sampled_from([16, 32, 48, 80, 100, 192]))
    def time_passes(self, ticks: int) -> None:
        """Let the clock run."""
        self.now += ticks

    @rule(ticks=st.sampled_from([-5_000, -40, -9, -1, 5_000]))
    def clock_jumps(self, ticks: int) -> None:
        """Let the clock jump."""
        self.now += ticks

    @rule(times=st.integers(1, 4))
    def ask(self, times: int) -> None:
        """Ask for permits: both give one, or neither, as foretold."""
        for _ in range(times):
            at = self.now * TICK
            refused = self.model.refuses(self.now)
            assert self.breaker.refuses(at) is refused
            permit = self.breaker.permit(at)
            assert (permit is None) is refused
            if permit is not None:
                self.asked += 1
                self.model.permit(self.asked, self.now)
                self.out[self.asked] = permit
                assert permit.probe is (self.model.state == "half-open")

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed", "failed", "cancelled"]))
    def end(self, data: st.DataObject, how: str) -> None:
        """End one of the calls under way, of whatever age."""
        number = data.draw(st.sampled_from(sorted(self.out)))
        getattr(self.breaker, how)(self.out.pop(number), self.now * TICK)
        self.model.end(number, self.now, how)

    @rule(how=st.sampled_from(["succeeded", "failed"]), ticks=st.integers(0, 5), times=st.integers(1, 6))
    def call(self, how: str, ticks: int, times: int) -> None:
        """Make whole calls, one after another."""
        for _ in range(times):
            asked = self.asked
            self.ask(1)
            self.now += ticks
            if self.asked > asked:
                getattr(self.breaker, how)(self.out.pop(self.asked), self.now * TICK)
                self.model.end(self.asked, self.now, how)

    @invariant()
    def both_stand_alike(self) -> None:
        """State, changes and the next answer are the model's, and each change follows from the last."""
        if not hasattr(self, "model"):
            return
        assert self.breaker.state(self.now * TICK) == self.model.state
        assert [(c.before, c.after) for c in self.changes] == self.model.log
        assert self.breaker.refuses(self.now * TICK) is self.model.refuses(self.now)
        assert len(self.breaker._probes) <= self.model.limits.probes

    def teardown(self) -> None:
        """Whatever came before, where the store answers again it is in use again within the longest rest."""
        if not hasattr(self, "model"):
            return
        longest = max(self.model.limits.window_s, 1.5 * self.model.limits.open_s)
        for _ in range(math.ceil(longest / TICK) + self.model.limits.probes):
            if self.breaker.state(self.now * TICK) is State.CLOSED:
                break
            self.call("succeeded", 1, 1)
        assert self.breaker.state(self.now * TICK) is State.CLOSED


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=150, stateful_step_count=40)
