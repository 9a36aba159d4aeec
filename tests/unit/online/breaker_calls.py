"""A breaker with calls to make and a clock to turn, for its tests."""

from __future__ import annotations

from random import Random

from recsvc.online.breaker import Breaker, BreakerSettings, Change, Permit, State

LIMITS = BreakerSettings()


class Calls:
    """A breaker and the calls that ask it, on a clock that the test sets."""

    def __init__(self, limits: BreakerSettings = LIMITS, *, now: float = 1000.0, seed: int = 1) -> None:
        self.now = now
        self.changes: list[Change] = []
        self.breaker = Breaker("h:1", limits, random=Random(seed), on_change=self.changes.append)

    def state(self) -> State:
        """The state now."""
        return self.breaker.state(self.now)

    def permit(self) -> Permit:
        """Get a permit that must be given, and foretold."""
        assert not self.breaker.refuses(self.now)
        permit = self.breaker.permit(self.now)
        assert permit is not None
        return permit

    def call(self, *, took: float = 0.001, fails: bool = False) -> None:
        """Make a whole call."""
        permit = self.permit()
        self.now += took
        (self.breaker.failed if fails else self.breaker.succeeded)(permit, self.now)

    def make(self, good: int, bad: int) -> None:
        """Make good calls and then bad ones."""
        for _ in range(good):
            self.call()
        for _ in range(bad):
            self.call(fails=True)

    def open(self) -> None:
        """Open it by failures."""
        self.make(0, LIMITS.min_calls)
        assert self.state() is State.OPEN

    def rested(self) -> None:
        """Open it, and let the longest rest pass."""
        self.open()
        self.now += 1.5 * LIMITS.open_s + 0.001

    def whys(self) -> list[tuple[str, str, str]]:
        """All changes so far."""
        return [(str(c.before), str(c.after), c.why) for c in self.changes]
