"""Tasks that run for ever end when they are told, also those that overhear it once, and whatever they end with."""

from __future__ import annotations

import asyncio

import pytest

from recsvc.online import ended as module
from recsvc.online.ended import ended


async def test_a_swallowed_cancellation_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes its cancellation for something else is cancelled until it has ended."""
    monkeypatch.setattr(module, "AGAIN_S", 0.001)
    started = asyncio.Event()

    async def deaf(times: int) -> None:
        while True:
            try:
                started.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                times -= 1
                if times < 0:
                    raise

    tasks = [asyncio.create_task(deaf(times)) for times in (0, 2)]
    await started.wait()
    await ended(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_how_tasks_end_is_nobodys_surprise() -> None:
    """One that failed before, or fails as it is cancelled, is ended too; none at all is fine."""

    async def fail() -> None:
        raise RuntimeError("it failed")

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    await ended([task])
    await ended([])
    assert task.done()
