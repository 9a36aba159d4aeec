"""The virtual loop keeps asyncio's promises, and its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from tests.simulation.loop import START, StuckError, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """Return a loop without shuffling or lag."""
    made = VirtualLoop()
    yield made
    made.close()


def test_sleeping_takes_virtual_time_only(loop: VirtualLoop) -> None:
    """An hour of sleep moves the loop's clock by exactly an hour and takes no time."""
    began = time.monotonic()
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() == START + 3600
    assert time.monotonic() - began < 10


def test_timers_run_in_the_order_of_their_times(loop: VirtualLoop) -> None:
    """Timers run at their times, whatever the order in which they were set; cancelled ones never."""
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, loop.time()))

    for name, delay in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        loop.call_later(delay, note, name)
    loop.call_later(1.5, note, "never").cancel()
    loop.run_until_complete(asyncio.sleep(10))
    assert seen == [("a", START + 1), ("b", START + 2), ("c", START + 3)]
    assert loop.timers() == []


def test_callbacks_run_first_in_first_out(loop: VirtualLoop) -> None:
    """Without shuffling, callbacks run in the order of call_soon, as asyncio promises."""
    seen: list[int] = []
    for i in range(20):
        loop.call_soon(seen.append, i)
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == list(range(20))


def test_a_shuffle_follows_from_its_seed() -> None:
    """With shuffling, callbacks that are ready together run in an order that the seed decides."""

    def order(seed: int) -> list[int]:
        loop = VirtualLoop(random.Random(seed), shuffles=True)
        seen: list[int] = []
        for i in range(20):
            loop.call_soon(seen.append, i)
        loop.run_until_complete(asyncio.sleep(1))
        loop.close()
        return seen

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == list(range(20))


def test_a_jump_makes_timers_late(loop: VirtualLoop) -> None:
    """A jump lets time go by in which nothing runs: what was due meanwhile runs after it, in its order."""
    seen: list[tuple[str, float]] = []
    loop.call_later(1, loop.jump, 5.0)
    loop.call_later(4, lambda: seen.append(("second", loop.time())))
    loop.call_later(2, lambda: seen.append(("first", loop.time())))
    loop.run_until_complete(asyncio.sleep(10))
    assert seen == [("first", START + 6), ("second", START + 6)]
    assert loop.time() == START + 10
    assert loop.jumped == [(START + 1, START + 6)]


def test_lag_takes_time_between_callbacks() -> None:
    """With lag, each callback runs a little later than the one before."""
    loop = VirtualLoop(random.Random(3), lag_s=0.001)
    seen: list[float] = []
    for _ in range(5):
        loop.call_soon(lambda: seen.append(loop.time()))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert sorted(set(seen)) == seen
    assert START < seen[-1] < START + 0.006


def test_waiting_for_what_cannot_come_is_an_error(loop: VirtualLoop) -> None:
    """Waiting for a future that nobody will set ends at once instead of for ever."""
    with pytest.raises(StuckError, match="no timer is set"):
        loop.run_until_complete(loop.create_future())


def test_running_without_time_going_by_is_an_error(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback that asks for itself for ever is found out."""
    monkeypatch.setattr("tests.simulation.loop.MOST_PASSES", 1_000)

    def again() -> None:
        loop.call_soon(again)

    again()
    with pytest.raises(StuckError, match="no end"):
        loop.run_forever()


def test_timeouts_and_cancellation_are_asyncios(loop: VirtualLoop) -> None:
    """asyncio.timeout, wait and cancel work in virtual time as ever."""

    async def slow() -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return "cancelled"
        return "done"

    async def main() -> tuple[str, float]:
        task = asyncio.create_task(slow())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(task)
        task.cancel()
        return await task, loop.time()

    assert loop.run_until_complete(main()) == ("cancelled", START + 1)


def test_failures_of_callbacks_are_kept(loop: VirtualLoop) -> None:
    """An exception that leaves a callback is not lost: a run can ask for it."""
    loop.call_soon(lambda: 1 / 0)
    loop.run_until_complete(asyncio.sleep(0))
    assert len(loop.failures) == 1
    assert "ZeroDivisionError" in loop.failures[0]


def test_repr_tells_the_state(loop: VirtualLoop) -> None:
    """The loop says what time it is and what it has to do."""
    loop.call_later(1, loop.jump, 1.0)
    assert repr(loop) == "VirtualLoop(at 1000.000000 s, 0 ready, 1 timers)"
