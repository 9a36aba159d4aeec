"""Waiting for a condition with a deadline: the only place in the tests that sleeps."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

POLL_S = 0.01


async def eventually(condition: Callable[[], object] | Callable[[], Awaitable[object]], timeout: float = 10.0) -> None:  # noqa: ASYNC109 - what callers would write
    """Return as soon as `condition()`, plain or async, is true; fail the test if it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if await result if inspect.isawaitable(result) else result:
            return
        assert time.monotonic() < deadline, f"not true within {timeout} s: {condition}"
        await asyncio.sleep(POLL_S)


def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Do what `eventually` does, for code that is not async."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout} s: {condition}"
        time.sleep(POLL_S)
