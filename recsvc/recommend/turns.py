"""How many slates of a placement are made at once: more would not be done sooner, but each of them later."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

AT_ONCE: Final = 3
"""Two are searched for, one is put together: one interpreter does not do more at a time."""


class Turns:
    """Lets ``at_once`` through, in the order in which they came; nobody waits for longer than ``patience_s``."""

    def __init__(self, patience_s: float, at_once: int = AT_ONCE) -> None:
        self.patience_s = patience_s
        self._free = at_once
        self._back: deque[asyncio.Future[None]] = deque()
        self._new: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        waiting = len(self._back) + len(self._new)
        return f"Turns({self._free} free, {waiting} wait for up to {self.patience_s * 1e3:g} ms)"

    async def take(self, *, back: bool = False) -> None:
        """Take a turn, as soon as there is one; who had one and comes ``back`` gets it before who is new."""
        if self._free:
            self._free -= 1
            return
        mine, waiting = asyncio.get_running_loop().create_future(), self._back if back else self._new
        waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # it came as the call ended
                self.give()
            elif mine in waiting:
                waiting.remove(mine)
            raise

    def give(self) -> None:
        """Give a turn back, to who waits for it."""
        while self._back or self._new:
            next_one = (self._back or self._new).popleft()
            if not next_one.done():  # whoever was cancelled may stand there still
                next_one.set_result(None)
                return
        self._free += 1


class Turn:
    """One slate's turn."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._has_it = False

    def __repr__(self) -> str:
        return f"Turn({'has it' if self._has_it else 'without'}, {self._turns!r})"

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[bool]:
        """Wait for the turn, and yield whether it came: whoever waited too long goes on without."""
        try:
            async with asyncio.timeout(self._turns.patience_s):
                await self._turns.take()
                self._has_it = True
        except TimeoutError:
            pass
        try:
            yield self._has_it
        finally:
            if self._has_it:
                self._has_it = False
                self._turns.give()

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Let another have the turn meanwhile: this one waits for somebody else, such as the store."""
        if not self._has_it:
            yield
            return
        self._has_it = False
        self._turns.give()
        yield
        await self._turns.take(back=True)
        self._has_it = True
