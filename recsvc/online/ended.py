"""Ending tasks that run for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

AGAIN_S: Final = 0.5


async def ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended, however they do.

    Once may not do: wait_for of Python 3.11, which redis-py uses, swallows a cancellation that comes with the result.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=AGAIN_S)
        for task in done:
            task.cancelled() or task.exception()  # else asyncio logs that nobody looked
