"""Writes of a load that are under way: a bounded number of them, and the order of those that are forced."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from recsvc.online.redis_writer import WriteResult


class InFlight:
    """Keeps at most ``limit`` writes under way and counts what came of them. Leaving the block waits for the rest.

    A write that fails raises from the next ``start``, or on leaving, after all others have ended and are counted.
    """

    def __init__(self, limit: int) -> None:
        self.written = 0
        self.stale = 0
        self._limit = limit
        self._tasks: set[asyncio.Task[WriteResult]] = set()

    def __repr__(self) -> str:
        return f"InFlight({len(self._tasks)}/{self._limit}, {self.written} written, {self.stale} stale)"

    async def start(self, write: Coroutine[Any, Any, WriteResult]) -> None:
        """Begin a write as soon as there is room for it; raises what an earlier one raised."""
        try:
            while len(self._tasks) >= self._limit:
                await self._wait(asyncio.FIRST_COMPLETED)
        except BaseException:
            write.close()
            raise
        self._tasks.add(asyncio.create_task(write))
        await asyncio.sleep(0)  # lets it send now, so that the store works while the next chunk is converted

    async def _wait(self, until: str) -> None:
        done, self._tasks = await asyncio.wait(self._tasks, return_when=until)
        failed = [error for task in done if (error := self._count(task)) is not None]
        if failed:
            raise failed[0]

    def _count(self, task: asyncio.Task[WriteResult]) -> BaseException | None:
        error = task.exception()
        if error is None:
            self.written += task.result().written
            self.stale += task.result().stale
        return error

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Wait for what is under way; where the load was cancelled, end it."""
        if isinstance(error, asyncio.CancelledError):
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        elif self._tasks:
            await self._wait(asyncio.ALL_COMPLETED)


class Newest:
    """Orders the rows of a forced load among themselves, which the store then does not: of a key, the newest stays.

    Keeps every key of the load in memory, about 150 bytes each.
    """

    def __init__(self) -> None:
        self.outdated = 0
        self._events: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"Newest({len(self._events)} keys, {self.outdated} rows outdated)"

    def of(
        self, keys: Sequence[bytes], rows: Sequence[bytes], events: Sequence[int]
    ) -> tuple[list[bytes], list[bytes]]:
        """Return one row per key, without those that are older than an earlier row of the load."""
        known, best = self._events, dict[bytes, int]()
        for index, (key, event) in enumerate(zip(keys, events, strict=True)):
            if known.get(key, event) <= event:
                known[key] = event
                best[key] = index
        self.outdated += len(keys) - len(best)
        return list(best), [rows[index] for index in best.values()]
