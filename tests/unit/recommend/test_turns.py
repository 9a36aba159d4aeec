"""Turns are taken in order, and given back whatever happens; who waits too long goes on without one."""

from __future__ import annotations

import asyncio

import pytest

from recsvc.recommend.turns import Turn, Turns


async def test_no_more_than_there_are_turns_have_one_at_once() -> None:
    """All get one in the order in which they came, and never more than two at a time."""
    turns, now, most, order = Turns(60.0, at_once=2), 0, 0, list[int]()

    async def one(number: int) -> None:
        nonlocal now, most
        async with Turn(turns).taken() as in_time:
            assert in_time
            now, most = now + 1, max(most, now + 1)
            order.append(number)
            await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(one(number) for number in range(10)))
    assert (now, most, order) == (0, 2, list(range(10)))
    assert repr(turns) == "Turns(2 free, 0 wait for up to 60000 ms)"


async def test_who_waits_too_long_goes_on_without() -> None:
    """While a turn is held another call learns that it has none; after that the turn is free again."""
    turns = Turns(0.01, at_once=1)
    async with Turn(turns).taken() as first, Turn(turns).taken() as second:
        assert (first, second) == (True, False)
    async with Turn(turns).taken() as third:
        assert third


async def test_who_waits_for_somebody_else_lets_another_go_on() -> None:
    """Meanwhile others have the turn; back again, it comes before those who have not begun."""
    turns, order = Turns(60.0, at_once=1), list[str]()
    answered, began = asyncio.Event(), asyncio.Event()

    async def reading() -> None:
        turn = Turn(turns)
        async with turn.taken():
            async with turn.aside():
                await answered.wait()
            order.append("reader")
            assert "has it" in repr(turn)

    async def other(name: str) -> None:
        async with Turn(turns).taken() as in_time:
            assert in_time
            began.set()
            await answered.wait()
            await asyncio.sleep(0.01)
            order.append(name)

    tasks = [asyncio.create_task(reading())]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(other("first")), asyncio.create_task(other("last"))]
    await began.wait()
    answered.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "reader", "last"]


async def test_without_a_turn_there_is_none_to_be_let_go() -> None:
    """Who goes on without a turn neither gives one away nor waits for one."""
    turns = Turns(0.0, at_once=0)
    turn = Turn(turns)
    async with turn.taken() as in_time, turn.aside():
        assert not in_time
        assert "without" in repr(turn)
    assert "0 free" in repr(turns)


@pytest.mark.parametrize("order", [1, -1])
async def test_a_turn_is_given_back_by_who_fails_and_by_who_is_cancelled(order: int) -> None:
    """An error and the end of a call free the turn; also of one that waits for its first turn, or to have it back."""
    turns = Turns(60.0, at_once=1)
    with pytest.raises(ZeroDivisionError):
        async with Turn(turns).taken():
            raise ZeroDivisionError
    ready = asyncio.Event()

    async def aside() -> None:
        turn = Turn(turns)
        async with turn.taken(), turn.aside():
            await ready.wait()

    async def hold() -> None:
        async with Turn(turns).taken():
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(aside())]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(hold()), asyncio.create_task(hold())]
    await asyncio.sleep(0)
    ready.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert "0 free, 2 wait" in repr(turns)
    for task in tasks[::order]:
        task.cancel()
    await asyncio.wait(tasks)
    assert "1 free, 0 wait" in repr(turns)
    async with Turn(turns).taken() as in_time:
        assert in_time


async def test_a_turn_that_comes_as_its_call_ends_goes_to_the_next() -> None:
    """Given and cancelled in one go, the turn is not lost."""
    turns = Turns(60.0, at_once=1)
    await turns.take()
    first, second = (asyncio.create_task(turns.take()) for _ in range(2))
    await asyncio.sleep(0)
    turns.give()
    first.cancel()
    await asyncio.wait([first, second])
    assert (first.cancelled(), second.cancelled()) == (True, False)
