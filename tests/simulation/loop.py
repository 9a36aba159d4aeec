"""An event loop in virtual time: with nothing ready the clock jumps to the next timer; hours pass in milliseconds.

Everything else (tasks, futures, timers, exceptions in callbacks) is asyncio's own, so code under test runs unchanged.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from typing import Final

START: Final = 1_000.0
"""Where the clock begins: not 0, which code may take for a time that was never set."""
MOST_PASSES: Final = 200_000


class StuckError(Exception):
    """The loop can only wait for ever, or runs for ever without time going by."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order they became ready, or shuffled by ``rng``; each takes up to ``lag_s`` seconds.

    Exceptions that nobody handles are kept in ``failures``.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, rng: random.Random | None = None, *, shuffles: bool = False, lag_s: float = 0.0) -> None:
        super().__init__()
        self.failures: list[str] = []
        self.jumped: list[tuple[float, float]] = []
        self._now = START
        self._rng = rng or random.Random(0)
        self._shuffles = shuffles
        self._lag_s = lag_s
        self._passes = 0
        self.set_exception_handler(self._failed)

    def __repr__(self) -> str:
        return f"VirtualLoop(at {self._now:.6f} s, {len(self._ready)} ready, {len(self.timers())} timers)"

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def jump(self, by_s: float) -> None:
        """Let ``by_s`` seconds go by in which nothing runs, as when the process was stopped."""
        self.jumped.append((self._now, self._now + by_s))
        self._now += by_s

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are set and not cancelled."""
        return [t for t in self._scheduled if not t.cancelled()]

    def _run_once(self) -> None:
        """Do one pass, as BaseEventLoop does: move what is due to the callbacks that are ready, and run these."""
        ready, timers = self._ready, self._scheduled
        self._passes += 1
        if self._passes > MOST_PASSES:
            raise StuckError(f"{MOST_PASSES} passes, and no end: {self!r}")
        while timers and timers[0].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise StuckError("nothing is ready and no timer is set: what is waited for cannot come")
            self._now = max(self._now, timers[0].when())
        while timers and timers[0].when() <= self._now:
            ready.append(heapq.heappop(timers))
        if self._shuffles and len(ready) > 1:
            self._rng.shuffle(ready)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                self._now += self._rng.random() * self._lag_s
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer goes when its time comes."""

    def _write_to_self(self) -> None:
        """Do nothing: no other thread has to wake this loop."""

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")
