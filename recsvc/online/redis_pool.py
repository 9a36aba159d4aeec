"""A bounded set of open connections to one place, which opens further ones aside from the reads that want them.

A read waits for a connection only as long as it has time. The opening goes on, in a task of its own and with its own
timeout, and leaves the connection to the next read: else a link on which opening takes longer than a read may take
would never get one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from redis.exceptions import RedisError

from recsvc.online.redis_channel import Channel
from recsvc.online.redis_dial import Dialer

FAILURES: Final = (RedisError, OSError)
"""What is raised where a server does not answer; TimeoutError and ConnectionError are OSErrors."""
CLOSE_TIMEOUT_S: Final = 1.0


class ChannelPool:
    """Up to ``limit`` connections, open or being opened; the one last used is used first."""

    def __init__(self, dialer: Dialer, *, limit: int) -> None:
        self._dialer = dialer
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._channels: set[Channel] = set()
        self._idle: list[Channel] = []
        self._openings: set[asyncio.Task[None]] = set()
        self._waiters: deque[asyncio.Future[Channel]] = deque()
        self._empty = asyncio.Event()
        self._retired = False

    def __repr__(self) -> str:
        busy = len(self._channels) - len(self._idle)
        return f"ChannelPool({busy} busy, {len(self._idle)} idle, {len(self._openings)} opening, limit {self._limit})"

    @property
    def is_empty(self) -> bool:
        """Whether no connection is open, or being opened."""
        return not self._channels and not self._openings

    async def ask(self, commands: bytes, count: int, until: float) -> list[Any]:
        """Send ``count`` packed commands on a connection and return their replies; see Channel.ask.

        Raises OSError and RedisError.
        """
        channel = self._take_idle() or await self._wait(until)
        try:
            return await channel.ask(commands, count, until)
        finally:
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
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._empty.wait()

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
        timer = self._loop.call_at(until, _expire, waiter)
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
        if error is not None:
            # One that came as a surprise is the reader's too: nothing else would show it.
            self._fail_waiters(1, error)
        self._open_for_waiters()

    def _fail_waiters(self, count: int, error: BaseException) -> None:
        while self._waiters and count:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                count -= 1


def _expire(waiter: asyncio.Future[Channel]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("no connection in time"))
