"""A second try: only where it may help, at most once, and never too late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from recsvc.errors import StoreRefusedError, StoreUnavailableError
from recsvc.online.answer import Row, Unread
from recsvc.online.breaker import Breaker, BreakerSettings, Change, State
from recsvc.online.guard import Guarded
from recsvc.online.reader import RowReader
from recsvc.online.retry import LEAST_TIME_S, Retrying

KEYS = (b"a", b"b")
FAILURE = StoreUnavailableError("first")
REFUSAL = StoreRefusedError("open")
Outcome = list[Row] | BaseException


class Script:
    """A reader whose reads end one after the other as written."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes: Iterator[Outcome] = iter(outcomes)
        self.reads: list[tuple[Sequence[bytes], float]] = []
        self.refusing: Unread | None = None

    def __repr__(self) -> str:
        return "Script()"

    def refuses(self) -> Unread | None:
        """Refuse as it is told to."""
        return self.refusing

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """End as is written next."""
        self.reads.append((keys, until))
        outcome = next(self._outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class World:
    """A reader that tries again, on a clock that the test sets, with the answers of the breaker in a row."""

    def __init__(self, *outcomes: Outcome, closed: Sequence[bool] = (True, True), delay_s: float = 0.0) -> None:
        self.now = 50.0
        self.until = 50.05
        self.script = Script(*outcomes)
        self._closed = iter(closed)
        self.retrying: RowReader = Retrying(
            self.script,
            random=Random(5),
            may_retry=lambda: next(self._closed),
            now=lambda: self.now,
            delay_s=delay_s,
        )

    async def read(self) -> Sequence[Row]:
        """Read both keys."""
        return await self.retrying.read(KEYS, self.until)

    async def gives_up(self) -> bool:
        """Read, and say whether the first error came out after one try."""
        with pytest.raises(StoreUnavailableError) as raised:
            await self.read()
        return raised.value is FAILURE and len(self.script.reads) == 1


async def test_an_answer_is_passed_on() -> None:
    """What was read is read once, rows that are Unread and all."""
    answers: list[list[Row]] = [[b"1", None], [Unread.NO_ANSWER, b"2"], [Unread.NO_ANSWER, Unread.NO_ANSWER]]
    for rows in answers:
        world = World(rows)
        assert await world.read() is rows
        assert world.script.reads == [(KEYS, 50.05)]
        assert repr(world.retrying) == "Retrying(Script(), retries=0)"


async def test_a_failure_is_tried_again() -> None:
    """A read that got no answer is made once more, of the same keys and to the same time."""
    rows: list[Row] = [b"1", b"2"]
    world = World(FAILURE, rows)
    assert await world.read() is rows
    assert world.script.reads == [(KEYS, 50.05)] * 2
    assert repr(world.retrying) == "Retrying(Script(), retries=1)"


async def test_there_is_no_third_try() -> None:
    """The second failure is the caller's."""
    second = StoreUnavailableError("second")
    world = World(FAILURE, second, [b"1"])
    with pytest.raises(StoreUnavailableError) as raised:
        await world.read()
    assert raised.value is second
    assert len(world.script.reads) == 2


@pytest.mark.parametrize("error", [REFUSAL, ValueError("a bug"), asyncio.CancelledError()])
async def test_other_errors_are_not_tried_again(error: BaseException) -> None:
    """A refusal, a bug or a cancellation goes straight through."""
    world = World(error)
    with pytest.raises(type(error)) as raised:
        await world.read()
    assert raised.value is error
    assert len(world.script.reads) == 1


async def test_an_open_breaker_means_no_second_try() -> None:
    """Where the breaker is not closed after the failure, or no longer after the wait, the first error stands."""
    assert await World(FAILURE, closed=[False]).gives_up()
    assert await World(FAILURE, closed=[True, False]).gives_up()


async def test_a_second_try_needs_time() -> None:
    """With too little time left for an answer the first error stands; with just enough it is tried."""
    world = World(FAILURE, [b"1"])
    world.until = world.now + LEAST_TIME_S / 2
    assert await world.gives_up()
    world = World(FAILURE, [b"1"])
    world.until = world.now - 1.0
    assert await world.gives_up()
    world = World(FAILURE, [b"1"])
    world.now, world.until = 0.0, LEAST_TIME_S
    assert await world.read() == [b"1"]


async def test_the_wait_counts_against_the_time() -> None:
    """A delay that would leave too little time is not begun."""
    delay_s = Random(5).uniform(0, 60.0)
    world = World(FAILURE, delay_s=60.0)
    world.until = world.now + delay_s + LEAST_TIME_S / 2
    async with asyncio.timeout(10):
        assert await world.gives_up()


async def test_the_wait_is_as_long_as_was_drawn_and_not_as_long_as_may_be() -> None:
    """A second try that is in time after the wait drawn is made, though the longest wait would leave too little."""
    world = World(FAILURE, [b"1"], delay_s=0.02)
    world.until = world.now + Random(5).uniform(0, 0.02) + LEAST_TIME_S * 1.01
    assert await world.read() == [b"1"]


async def test_a_wait_that_took_too_long_ends_it() -> None:
    """The time is looked at again after the wait: an event loop that was held up may have used it."""
    world = World(FAILURE, [b"1"], delay_s=0.001)
    reading = asyncio.ensure_future(world.gives_up())
    await asyncio.sleep(0)
    world.now += 0.049
    assert await reading


async def test_the_wait_is_jittered() -> None:
    """The second try comes after the wait that was drawn, and waits differ from read to read."""
    loop, random = asyncio.get_running_loop(), Random(5)
    waits = []
    reads: list[Outcome] = [FAILURE, [b"1"]]
    reader = Script(*reads * 8)
    retrying = Retrying(reader, random=Random(5), may_retry=lambda: True, now=lambda: 0.0, delay_s=0.02)
    for _ in range(8):
        began = loop.time()
        await retrying.read(KEYS, 1.0)
        waits.append(loop.time() - began)
    drawn = [random.uniform(0, 0.02) for _ in waits]
    assert all(wait > wanted - 0.002 for wait, wanted in zip(waits, drawn, strict=True))  # clocks have a grain
    assert retrying.retries == 8


async def test_a_caller_that_leaves_during_the_wait_ends_it() -> None:
    """Cancelled while it waits, there is no second try."""
    world = World(FAILURE, delay_s=0.04)
    task = asyncio.ensure_future(world.read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(world.script.reads) == 1


async def test_a_refusal_is_passed_on() -> None:
    """It refuses as the reader below does."""
    world = World()
    assert world.retrying.refuses() is None
    world.script.refusing = Unread.REFUSED
    assert world.retrying.refuses() is Unread.REFUSED


async def test_no_second_try_is_a_probe() -> None:
    """Before a real breaker each try counts, and the failure that opens it is the last one to reach the store."""
    now = 10.0
    changes: list[Change] = []
    breaker = Breaker("h:1", BreakerSettings(min_calls=3), random=Random(1), on_change=changes.append)
    script = Script(*[FAILURE] * 4)
    retrying = Retrying(
        Guarded(script, breaker, now=lambda: now),
        random=Random(1),
        may_retry=lambda: breaker.state(now) is State.CLOSED,
        now=lambda: now,
        delay_s=0.0,
    )
    for reads in (2, 3):
        with pytest.raises(StoreUnavailableError):
            await retrying.read(KEYS, now + 0.05)
        assert len(script.reads) == reads
    assert retrying.refuses() is Unread.REFUSED
    with pytest.raises(StoreRefusedError):
        await retrying.read(KEYS, now + 0.05)
    assert len(script.reads) == 3
