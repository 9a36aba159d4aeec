"""A guarded reader: one permit and one outcome for each read, wherever it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

import pytest

from recsvc.errors import StoreRefusedError, StoreUnavailableError
from recsvc.online.answer import Row, Unread
from recsvc.online.breaker import Breaker, BreakerSettings, Change, Mode, State
from recsvc.online.guard import Guarded
from recsvc.online.reader import RowReader
from tests.simulation.loop import VirtualLoop
from tests.unit.online.held_reader import in_virtual_time, now

KEYS = (b"a", b"b")
ONE_CALL = BreakerSettings(min_calls=1, probes=1)
"""Every outcome shows: a failure opens it, a good probe closes it."""


class Answers:
    """A reader that answers as its test says."""

    def __init__(self, answer: Callable[[], Coroutine[Any, Any, Sequence[Row]]]) -> None:
        self.answer = answer
        self.asked: list[tuple[Sequence[bytes], float]] = []
        self.refusing: Unread | None = None

    def __repr__(self) -> str:
        return "Answers()"

    def refuses(self) -> Unread | None:
        """Refuse as it is told to."""
        return self.refusing

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """Note the read, and answer."""
        self.asked.append((keys, until))
        return await self.answer()


class World:
    """A guarded reader on a clock that the test sets."""

    def __init__(self, limits: BreakerSettings = ONE_CALL, clock: Callable[[], float] | None = None) -> None:
        self.now = 100.0
        self.changes: list[Change] = []
        self.breaker = Breaker("h:1", limits, random=Random(1), on_change=self.changes.append)
        self.store = Answers(self.rows)
        self.guarded: RowReader = Guarded(self.store, self.breaker, now=clock or (lambda: self.now))

    async def rows(self) -> Sequence[Row]:
        """Answer well."""
        return [b"1", None]

    async def failure(self) -> Sequence[Row]:
        """Do not answer."""
        raise StoreUnavailableError("the store did not answer")

    async def hang(self) -> Sequence[Row]:
        """Answer never."""
        never: asyncio.Future[Sequence[Row]] = asyncio.get_running_loop().create_future()
        return await never

    def state(self) -> State:
        """The state of the breaker now."""
        return self.breaker.state(self.now)

    async def read(self) -> Sequence[Row]:
        """Read both keys."""
        return await self.guarded.read(KEYS, self.now + 0.05)

    async def open(self) -> None:
        """Open the breaker by a failure."""
        self.store.answer = self.failure
        with pytest.raises(StoreUnavailableError):
            await self.read()
        self.store.answer = self.rows
        assert self.state() is State.OPEN


def ending(*rows: Row) -> Callable[[], Coroutine[Any, Any, Sequence[Row]]]:
    """Return an answer of these rows."""

    async def answer() -> Sequence[Row]:
        return rows

    return answer


async def test_a_read_goes_through() -> None:
    """Closed it hands on keys, time and rows as they are."""
    world = World()
    assert await world.read() == [b"1", None]
    assert world.store.asked == [(KEYS, 100.05)]
    assert world.guarded.refuses() is None
    assert "1 calls, 0 failed, 0 slow" in repr(world.guarded)
    assert repr(world.guarded).startswith("Guarded(Answers(), Breaker(h:1: closed")


async def test_an_open_breaker_refuses_before_the_store_is_asked() -> None:
    """Where there is no permit, the error says so and the store hears nothing."""
    world = World()
    await world.open()
    world.store.asked.clear()
    assert world.guarded.refuses() is Unread.REFUSED
    with pytest.raises(StoreRefusedError, match=r"^the circuit breaker of redis h:1 is open$"):
        await world.read()
    assert world.store.asked == []


async def test_what_the_reader_below_refuses_is_refused() -> None:
    """A closed breaker passes on what the store says of itself."""
    world = World()
    world.store.refusing = Unread.SATURATED
    assert world.guarded.refuses() is Unread.SATURATED
    await world.open()
    assert world.guarded.refuses() is Unread.REFUSED


async def test_after_the_rest_a_read_is_the_probe() -> None:
    """What is not refused is read, and a good answer closes the breaker."""
    world = World()
    await world.open()
    world.now += 1.0
    assert world.guarded.refuses() is None
    assert await world.read() == [b"1", None]
    assert world.state() is State.CLOSED


@pytest.mark.parametrize("error", [StoreUnavailableError("no"), OSError("no"), ValueError("no")])
async def test_an_error_is_a_failure_and_goes_on(error: Exception) -> None:
    """Whatever the store raises counts once, and reaches the caller as it is."""
    world = World()

    async def fail() -> Sequence[Row]:
        raise error

    world.store.answer = fail
    with pytest.raises(type(error)) as raised:
        await world.read()
    assert raised.value is error
    assert [change.why for change in world.changes] == ["1 of 1 calls failed in the last 1.0 s"]


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([Unread.NO_ANSWER, Unread.NO_ANSWER], State.OPEN),
        ([Unread.NO_ANSWER, Unread.SATURATED], State.OPEN),
        ([Unread.NO_ANSWER, None], State.CLOSED),
        ([b"1", Unread.NO_ANSWER], State.CLOSED),
        ([None, None], State.CLOSED),
        ([], State.CLOSED),
    ],
)
async def test_no_row_at_all_is_a_failure(rows: list[Row], state: State) -> None:
    """A read fails where every row is Unread; a row that came, or none that was asked for, is an answer."""
    world = World()
    world.store.answer = ending(*rows)
    assert list(await world.read()) == rows
    assert world.state() is state


@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("started", [False, True])
async def test_a_cancelled_read_is_no_outcome(*, probe: bool, started: bool) -> None:
    """Cancelled before it began or while it waits, a read neither fails nor keeps the place of a probe."""
    world = World()
    if probe:
        await world.open()
        world.now += 1.0
    before = world.state()
    world.store.answer = world.hang
    task = asyncio.ensure_future(world.read())
    if started:
        await asyncio.sleep(0)
        assert len(world.store.asked) == (2 if probe else 1)
        assert world.guarded.refuses() is (Unread.REFUSED if probe else None)
    world.now += 0.045
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.state() is (State.HALF_OPEN if probe and started else before)
    assert world.guarded.refuses() is None
    world.store.answer = world.rows
    await world.read()
    assert world.state() is State.CLOSED


async def test_a_read_that_is_thrown_away_gives_its_permit_back() -> None:
    """Where the loop ends under a read, its permit is not lost."""
    world = World()
    await world.open()
    world.now += 1.0
    world.store.answer = world.hang
    read = world.read()
    read.send(None)
    assert world.guarded.refuses() is Unread.REFUSED
    read.close()
    assert world.guarded.refuses() is None


@in_virtual_time
async def test_a_read_that_takes_long_is_slow() -> None:
    """A read that took longer than the breaker allows is slow, whether it answered in full or not."""
    world = World(BreakerSettings(min_calls=2, slow_share=1.0), now)

    async def slow() -> Sequence[Row]:
        await asyncio.sleep(0.05)
        return [b"1", b"2"]

    async def slow_unread() -> Sequence[Row]:
        await asyncio.sleep(0.05)
        return [Unread.NO_ANSWER, b"2"]

    world.store.answer = slow
    await world.read()
    world.store.answer = slow_unread
    await world.read()
    assert [change.why for change in world.changes] == ["2 of 2 calls took over 40 ms in the last 1.0 s"]


@in_virtual_time
async def test_a_process_that_is_late_is_no_slow_store() -> None:
    """A store that answers at once is not slow, however long this process was busy with something else meanwhile."""
    world = World(BreakerSettings(min_calls=1, slow_share=0.01), now)

    async def prompt() -> Sequence[Row]:
        await asyncio.sleep(0.001)
        return [b"1", b"2"]

    world.store.answer = prompt
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    for _ in range(5):
        reading = asyncio.create_task(world.read())
        await asyncio.sleep(0)
        loop.jump(0.2)
        await reading
    assert world.changes == []


async def test_reads_side_by_side_have_a_permit_each() -> None:
    """Every read under way ends its own permit: nothing is left over, nothing counted twice."""
    world = World(BreakerSettings(mode=Mode.CLOSED))
    answers: list[asyncio.Future[Sequence[Row]]] = []

    async def wait() -> Sequence[Row]:
        answers.append(asyncio.get_running_loop().create_future())
        return await answers[-1]

    world.store.answer = wait
    tasks = [asyncio.ensure_future(world.read()) for _ in range(6)]
    await asyncio.sleep(0)
    answers[0].set_result([b"0", b"0"])
    answers[1].set_exception(StoreUnavailableError("no"))
    answers[2].set_result([Unread.NO_ANSWER, Unread.NO_ANSWER])
    tasks[3].cancel()
    answers[4].set_result([b"4", b"4"])
    tasks[5].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == [b"0", b"0"]
    assert results[4] == [b"4", b"4"]
    assert isinstance(results[1], StoreUnavailableError)
    assert "4 calls, 2 failed" in repr(world.breaker)
