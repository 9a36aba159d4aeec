"""A bounded set of open connections to one place, which opens further ones aside from the reads that want them.

A read waits for a connection only as long as it has time. The opening goes on, in a task of its own and with its own
timeout, and leaves the connection to the next read: else a link on which opening takes longer than a read may take
would never get one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from functools import partial
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from recsvc.online.loop_turns import LOOK_TURNS, after_turns
from recsvc.online.redis_channel import Channel
from recsvc.online.redis_dial import Dialer
from recsvc.telemetry.calls import Calls, Command
from recsvc.telemetry.hop import CURRENT

log = logging.getLogger(__name__)

FAILURES: Final = (RedisError, OSError)
"""What is raised where a server does not answer; TimeoutError and ConnectionError are OSErrors."""
ELSEWHERE: Final = frozenset({"MOVED", "ASK", "TRYAGAIN"})
CLOSE_TIMEOUT_S: Final = 1.0
SILENCE_S: Final = 0.02
"""How long a read must have waited in vain for idle connections to be suspect; one that had less time says little."""


class ChannelPool:
    """Up to ``limit`` connections, open or being opened; the one last used is used first."""

    def __init__(self, dialer: Dialer, *, limit: int, calls: Calls | None = None) -> None:
        """Open connections with ``dialer``; ``calls`` is told of each command."""
        self._dialer = dialer
        self._calls = calls
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._channels: set[Channel] = set()
        self._idle: list[Channel] = []
        self._openings: set[asyncio.Task[None]] = set()
        self._waiters: deque[asyncio.Future[Channel]] = deque()
        self._empty = asyncio.Event()
        self._why: BaseException | None = None
        self._retired = False

    def __repr__(self) -> str:
        busy = len(self._channels) - len(self._idle)
        return f"ChannelPool({busy} busy, {len(self._idle)} idle, {len(self._openings)} opening, limit {self._limit})"

    @property
    def is_empty(self) -> bool:
        """Whether no connection is open, or being opened."""
        return not self._channels and not self._openings

    @property
    def usage(self) -> tuple[int, int]:
        """How many connections are used, and how many are idle."""
        idle = len(self._idle)
        return len(self._channels) - idle, idle

    async def ask(self, commands: bytes, count: int, until: float, operation: str = "MGET") -> list[Any]:
        """Send ``count`` packed commands on a connection and return their replies; see Channel.ask.

        ``operation``: what they are called. Raises OSError and RedisError.
        """
        came_at = time.monotonic()  # to the µs, where uvloop's clock is to the ms
        channel = self._take_idle() or await self._wait(until)
        sent_at = self._loop.time()
        command, failed = None, ""
        try:
            if self._calls is not None:
                waited_s = time.monotonic() - came_at
                command = Command(self._calls, self._dialer.place, operation, count, waited_s)
            replies = await channel.ask(commands, count, until)
            if ResponseError in map(type, replies):
                failed = next(filter(None, map(_refusal, replies)), "")
            return replies  # noqa: TRY300  # what is left is said below
        except BaseException as error:
            failed = reason(error)
            if isinstance(error, TimeoutError) and self._loop.time() - sent_at >= SILENCE_S:
                self._drop_idle(sent_at)
            raise
        finally:
            if command is not None:
                command.end(failed)
            self._give(channel)

    def retire(self) -> None:
        """Close what is idle, and what is busy as soon as it is not; open nothing any more."""
        self._retired = True
        for task in self._openings:
            task.cancel()
        for channel in [*self._idle]:
            channel.abort()
        self._fail_waiters(len(self._waiters), ConnectionError("the node is no longer used"))

    async def close(self) -> None:
        """Close all connections, and end those being opened."""
        self.retire()
        for channel in [*self._channels]:
            channel.abort()
        await asyncio.gather(*self._openings, return_exceptions=True)
        if self._channels:  # the loop closes the sockets in its next turns
            self._empty.clear()
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._empty.wait()
            except TimeoutError:  # what else is to be closed must be, all the same
                log.warning("%r is not closed after %.0f s", self, CLOSE_TIMEOUT_S)

    def _drop_idle(self, since: float) -> None:
        """Close those idle connections on which nothing has come since then: where one got no answer, none may.

        After a network fault, or to a server that another has taken the place of, each would cost a timeout of its own.
        """
        for channel in [*self._idle]:
            if channel.answered_at < since:
                channel.abort()

    def _take_idle(self) -> Channel | None:
        while self._idle:
            channel = self._idle.pop()
            if channel.usable:  # else it is being closed
                return channel
        return None

    async def _wait(self, until: float) -> Channel:
        if self._retired:
            raise ConnectionError("the node is no longer used")
        waiter: asyncio.Future[Channel] = self._loop.create_future()
        self._waiters.append(waiter)
        self._open_for_waiters()
        timer = self._loop.call_at(until, after_turns, self._loop, LOOK_TURNS, partial(self._expire, waiter))
        try:
            return await waiter
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self._give(waiter.result())  # it came in the moment in which the caller was cancelled
            raise
        finally:
            timer.cancel()

    def _give(self, channel: Channel) -> None:
        """Hand a connection that is free to whoever waits longest, else keep it."""
        if not channel.usable:
            return  # its end is noticed in _lost
        if self._retired:
            channel.abort()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(channel)
                return
        self._idle.append(channel)

    def _lost(self, channel: Channel) -> None:
        """Forget a connection that was closed, by whichever side."""
        self._channels.discard(channel)
        if not self._channels:
            self._empty.set()
        if channel in self._idle:
            self._idle.remove(channel)
        self._open_for_waiters()

    def _open_for_waiters(self) -> None:
        while (
            len(self._waiters) > len(self._openings)
            and len(self._channels) + len(self._openings) < self._limit
            and not self._retired
        ):
            task = self._loop.create_task(self._open())
            self._openings.add(task)
            task.add_done_callback(self._opened)

    async def _open(self) -> None:
        CURRENT.set(None)  # the connection is for many calls
        channel = await self._dialer.open(self._lost)
        if not channel.usable:  # and _lost has been called already
            raise ConnectionError("the connection was closed as soon as it was open")
        self._channels.add(channel)
        self._give(channel)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._openings.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        self._why = error
        if error is not None and not self._fail_waiters(1, error) and not isinstance(error, FAILURES):
            facts = {"message": "opening a connection failed", "exception": error, "task": task}
            self._loop.call_exception_handler(facts)  # a surprise that no reader was told
        self._open_for_waiters()

    def _fail_waiters(self, count: int, error: BaseException) -> int:
        """Fail up to ``count`` of those who wait; return how many there were."""
        failed = 0
        while self._waiters and failed < count:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                failed += 1
        return failed

    def _expire(self, waiter: asyncio.Future[Channel]) -> None:
        if not waiter.done():
            error = TimeoutError("no connection in time")
            error.__cause__ = self._why  # of the opening before: this one may end in the same way, later
            waiter.set_exception(error)


def reason(error: BaseException) -> str:
    """Return what kind of failure it was: Redis' own code, else the type; texts may hold addresses and credentials."""
    if isinstance(error, TimeoutError) and error.__cause__ is not None:
        return reason(error.__cause__)  # why no connection could be opened
    code = re.match(r"[A-Z]+\b", str(error)) if isinstance(error, ResponseError) else None
    return code[0] if code else type(error).__name__


def _refusal(reply: object) -> str:
    """Return with which code Redis refused a command; not where it sends it elsewhere, as a cluster does."""
    code = reason(reply) if isinstance(reply, ResponseError) else ""
    return "" if code in ELSEWHERE else code
