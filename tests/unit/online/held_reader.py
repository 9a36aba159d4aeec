"""A store that answers when the test says so, and tests whose clock moves only when nothing else is left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, ParamSpec

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import Row, Unread
from tests.simulation.loop import VirtualLoop

P = ParamSpec("P")
PASSES = 20
"""Passes of the event loop after which whatever is not held by a test has run."""


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a virtual loop; fail it where a callback failed, or a task is left over."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = VirtualLoop()
        try:
            loop.run_until_complete(test(*args, **kwargs))
            left = asyncio.all_tasks(loop)
        finally:
            loop.close()
        assert loop.failures == []
        assert left == set()

    return run


async def settle() -> None:
    """Let everything run that can run before time goes on."""
    for _ in range(PASSES):
        await asyncio.sleep(0)


def now() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()


def row_of(key: bytes) -> bytes:
    """Return the row that a HeldReader has under a key: no other key has it."""
    return b"row of " + key


class HeldRead:
    """One read in flight: what it asks for, by when, and when it came."""

    def __init__(self, keys: Sequence[bytes], until: float) -> None:
        self.keys = list(keys)
        self.until = until
        self.came = now()
        self.end: asyncio.Future[Sequence[Row]] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"HeldRead({self.keys}, until {self.until})"

    async def answer(self, rows: Sequence[Row] | None = None) -> None:
        """End with ``rows``, by default the row of each key, and let that take effect."""
        self.end.set_result([row_of(k) for k in self.keys] if rows is None else rows)
        await settle()

    async def fail(self, error: BaseException | None = None) -> None:
        """End with an error, by default that of a store that does not answer, and let that take effect."""
        self.end.set_exception(error or StoreUnavailableError("down"))
        await settle()


class HeldReader:
    """A RowReader whose reads the test ends: ``reads`` has all of them, the oldest first."""

    def __init__(self) -> None:
        self.reads: list[HeldRead] = []
        self.cancelled: list[HeldRead] = []
        self.refusal: Unread | None = None

    def __repr__(self) -> str:
        return "HeldReader()"

    @property
    def asked(self) -> list[list[bytes]]:
        """The keys of each read."""
        return [read.keys for read in self.reads]

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return self.refusal

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read."""
        assert len(set(keys)) == len(keys) > 0
        read = HeldRead(keys, until)
        self.reads.append(read)
        try:
            return await read.end
        except asyncio.CancelledError:
            self.cancelled.append(read)
            raise
