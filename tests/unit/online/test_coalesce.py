"""One fetch per key, few fetches at once, bounds that hold, and callers that come and go without touching a fetch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import StoreRefusedError
from recsvc.online.answer import UNREAD, Row, Unread
from recsvc.online.coalesce import Coalescer, CoalesceSettings
from recsvc.online.reader import Wanted
from recsvc.telemetry.metrics import FETCH_CALLERS, FETCH_KEYS, Metrics
from recsvc.telemetry.series import Distribution
from tests.simulation.loop import START, VirtualLoop
from tests.unit.online.held_reader import HeldReader, in_virtual_time, now, row_of, settle
from tests.unit.online.strategies import MANY

A, B, C, D, E = (bytes([c]) for c in b"abcde")
MS = 0.001
Call = asyncio.Task[list[Sequence[Row]]]


class Rig:
    """A coalescer over a HeldReader. ``kept`` is what its sink got."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  # any of CoalesceSettings'
        self.reader = HeldReader()
        self.kept: list[tuple[list[bytes], list[Row], float]] = []
        self.metrics = Metrics()
        self.coalescer = Coalescer(
            self.reader, CoalesceSettings(**settings), self._keep, clock=now, metrics=self.metrics
        )

    def _keep(self, keys: Sequence[bytes], rows: Sequence[Row], sent_at: float) -> None:
        self.kept.append((list(keys), list(rows), sent_at))

    def __repr__(self) -> str:
        return repr(self.coalescer).removesuffix(", HeldReader())").removeprefix("Coalescer(")

    async def ask(self, *keys: bytes, since: float = 0.0, keep: bool = True, wait_s: float = 1.0) -> Call:
        """Begin a call that wants ``keys``."""
        return await self.ask_all(Wanted(keys, since, keep), wait_s=wait_s)

    async def ask_all(self, *wanted: Wanted, wait_s: float = 1.0) -> Call:
        """Begin a call with several wants."""
        task = asyncio.create_task(self.coalescer.fetch(wanted, now() + wait_s))
        await settle()
        return task

    async def shed(self, *keys: bytes) -> None:
        """Assert that a call is shed at once, before anything queues."""
        before = repr(self).split(" gather")[0]
        assert await (await self.ask(*keys)) == [[Unread.SATURATED] * len(keys)]
        assert repr(self).split(" gather")[0] == before

    async def end(self) -> None:
        """Answer whatever is asked until nothing is left."""
        while not self.coalescer.idle:
            for read in self.reader.reads:
                if not read.end.done():
                    await read.answer()
            await asyncio.sleep(MS)


def rows(*keys: bytes) -> list[Row]:
    """Return the rows of keys."""
    return [row_of(k) for k in keys]


@in_virtual_time
async def test_a_miss_leaves_at_once() -> None:
    """While a slot is free a call's keys are fetched in one read, and its rows come in the order asked, per want."""
    rig = Rig()
    call = await rig.ask_all(Wanted([B, A], 0.0), Wanted([C], 1.0))
    assert rig.reader.asked == [[B, A, C]]
    assert rig.reader.reads[0].came == START
    await rig.reader.reads[0].answer()
    assert await call == [rows(B, A), rows(C)]
    assert repr(rig) == "0 calls wait, 0 keys gather, 0 keys in 0 fetches, 3 fetched, 0 joined, 0 shed"
    assert rig.coalescer.idle


@in_virtual_time
async def test_calls_join_what_is_in_flight() -> None:
    """A key that is being fetched is not fetched again: each call gets its own rows, in its own order."""
    rig = Rig()
    first = await rig.ask(A, B)
    second = await rig.ask(C, B, A)
    third = await rig.ask(B)
    assert rig.reader.asked == [[A, B], [C]]
    assert repr(rig) == "3 calls wait, 0 keys gather, 3 keys in 2 fetches, 0 fetched, 3 joined, 0 shed"
    await rig.reader.reads[1].answer()
    assert not second.done()
    await rig.reader.reads[0].answer()
    assert [await c for c in (first, second, third)] == [[rows(A, B)], [rows(C, B, A)], [rows(B)]]
    assert rig.coalescer.idle


@in_virtual_time
async def test_a_call_waits_once_for_what_two_wants_share() -> None:
    """Several keys in the same parcel, from several wants of a call, are one wait."""
    rig = Rig()
    first = await rig.ask(A, B, C)
    second = await rig.ask_all(Wanted([A], 0.0), Wanted([C, D], 0.0), Wanted([B], 0.0))
    assert rig.reader.asked == [[A, B, C], [D]]
    for read in rig.reader.reads:
        await read.answer()
    assert await first == [rows(A, B, C)]
    assert await second == [rows(A), rows(C, D), rows(B)]


@in_virtual_time
async def test_misses_of_one_turn_leave_together() -> None:
    """Calls that come in the same turn of the event loop are one fetch, without time going by."""
    rig = Rig()
    calls = [asyncio.create_task(rig.coalescer.fetch([Wanted(k, 0.0)], now() + 1)) for k in ([A], [B, A], [C])]
    await settle()
    assert rig.reader.asked == [[A, B, C]]
    await rig.reader.reads[0].answer()
    assert [await c for c in calls] == [[rows(A)], [rows(B, A)], [rows(C)]]
    assert now() == START
    assert repr(rig) == "0 calls wait, 0 keys gather, 0 keys in 0 fetches, 3 fetched, 1 joined, 0 shed"


@in_virtual_time
async def test_misses_of_turns_that_follow_each_other_leave_together() -> None:
    """While every turn of the loop brings another miss they gather, for up to a millisecond, slots free or not."""
    rig = Rig()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    calls = []
    for i in range(12):
        calls.append(asyncio.create_task(rig.coalescer.fetch([Wanted([b"%d" % i], 0.0)], now() + 1)))
        await asyncio.sleep(0)
        loop.jump(0.15 * MS)
    await settle()
    sizes = [len(keys) for keys in rig.reader.asked]
    assert len(sizes) == 2
    assert sum(sizes) == 12
    assert rig.reader.reads[0].came <= START + 1.2 * MS
    await rig.end()
    assert [await c for c in calls] == [[rows(b"%d" % i)] for i in range(12)]


@in_virtual_time
async def test_misses_gather_while_all_slots_are_busy() -> None:
    """They leave together, after a millisecond on a further connection: the first of them waits no longer."""
    rig = Rig(slots=2)
    calls = [await rig.ask(k) for k in (A, B, C)]
    await asyncio.sleep(0.6 * MS)
    calls.append(await rig.ask(D))
    assert rig.reader.asked == [[A], [B]]
    assert repr(rig) == "4 calls wait, 2 keys gather, 2 keys in 2 fetches, 0 fetched, 0 joined, 0 shed"
    joined = await rig.ask(C)
    await asyncio.sleep(0.5 * MS)
    assert rig.reader.asked == [[A], [B], [C, D]]
    assert rig.reader.reads[2].came == pytest.approx(START + 1 * MS)
    await rig.end()
    assert [await c for c in calls] == [[rows(k)] for k in (A, B, C, D)]
    assert await joined == [rows(C)]


@in_virtual_time
async def test_a_free_slot_takes_all_that_has_gathered() -> None:
    """As soon as a fetch ends, what has gathered leaves, without waiting for its millisecond."""
    rig = Rig(slots=1)
    calls = [await rig.ask(k) for k in (A, B, C)]
    await asyncio.sleep(0.3 * MS)
    await rig.reader.reads[0].answer()
    assert rig.reader.asked == [[A], [B, C]]
    assert rig.reader.reads[1].came == pytest.approx(START + 0.3 * MS)
    late = await rig.ask(D)  # its own millisecond counts, not that of the others
    await asyncio.sleep(0.9 * MS)
    assert len(rig.reader.reads) == 2
    await asyncio.sleep(0.2 * MS)
    assert rig.reader.asked[2:] == [[D]]
    assert rig.reader.reads[2].came == pytest.approx(START + 1.3 * MS)
    await rig.end()
    assert [await c for c in (*calls, late)] == [[rows(k)] for k in (A, B, C, D)]


@in_virtual_time
async def test_large_misses_leave_in_chunks() -> None:
    """No fetch asks for more than 512 keys; the chunks of a call take free slots, and its rows are put together."""
    rig = Rig(slots=2)
    keys = [b"%d" % i for i in range(1_500)]
    call = await rig.ask(*keys)
    assert rig.reader.asked == [keys[:512], keys[512:1_024]]
    await asyncio.sleep(MS)
    await settle()
    assert rig.reader.asked == [keys[:512], keys[512:1_024], keys[1_024:]]
    other = await rig.ask(keys[1_400], keys[3], keys[700])
    await rig.end()
    assert await call == [rows(*keys)]
    assert await other == [rows(keys[1_400], keys[3], keys[700])]


@in_virtual_time
async def test_gathered_misses_fill_chunks_in_their_order() -> None:
    """A fetch takes whole misses, as many as fit, and never one before another that came earlier."""
    rig = Rig(slots=1, keys_per_fetch=4)
    calls = [await rig.ask(k) for k in (b"0",)]
    sizes = (2, 1, 3, 1, 4)
    keys = [[b"%d-%d" % (i, j) for j in range(n)] for i, n in enumerate(sizes)]
    calls += [await rig.ask(*part) for part in keys]
    await rig.end()
    assert rig.reader.asked == [[b"0"], keys[0] + keys[1], keys[2] + keys[3], keys[4]]
    assert [await c for c in calls] == [[rows(b"0")], *([rows(*part)] for part in keys)]


@in_virtual_time
async def test_no_more_fetches_than_connections() -> None:
    """The bound on fetches holds for gathered misses too: they wait for one to end."""
    rig = Rig(slots=1, fetches=2, keys_per_fetch=1)
    call = await rig.ask(A, B, C, D)
    assert rig.reader.asked == [[A]]
    await asyncio.sleep(5 * MS)
    assert rig.reader.asked == [[A], [B]]
    await rig.reader.reads[1].answer()
    assert rig.reader.asked == [[A], [B], [C]]
    await rig.end()
    assert await call == [rows(A, B, C, D)]


@in_virtual_time
async def test_fresh_enough_is_a_fetch_sent_after() -> None:
    """A call joins a flight that was sent after the time it names, and none that was sent at it or before."""
    rig = Rig()
    first = await rig.ask(A)
    await asyncio.sleep(MS)
    joins = await rig.ask(A, since=START - MS)
    waits = await rig.ask(A, since=START)
    assert rig.reader.asked == [[A]]
    assert repr(rig) == "3 calls wait, 1 keys gather, 1 keys in 1 fetches, 0 fetched, 1 joined, 0 shed"
    await rig.reader.reads[0].answer([b"old"])
    assert (await first, await joins) == ([[b"old"]], [[b"old"]])
    assert not waits.done()
    assert rig.reader.asked == [[A], [A]]
    await rig.reader.reads[1].answer([b"new"])
    assert await waits == [[b"new"]]
    assert [(k, r) for k, r, _ in rig.kept] == [([A], [b"old"]), ([A], [b"new"])]
    assert rig.coalescer.idle


@in_virtual_time
async def test_calls_that_may_not_join_share_the_next_fetch() -> None:
    """However many calls want a key afresh while it is in flight, it is fetched once more, after that flight."""
    rig = Rig()
    old = await rig.ask(A)
    calls = [await rig.ask(A, since=now()) for _ in range(3)]
    lazy = await rig.ask(A)  # content with the flight, but what waits to be sent will do as well
    await rig.reader.reads[0].answer([b"old"])
    assert rig.reader.asked == [[A], [A]]
    assert await old == [[b"old"]]
    again = await rig.ask(A, since=now())
    await rig.reader.reads[1].answer([b"new"])
    assert [await c for c in (*calls, lazy)] == [[[b"new"]]] * 4
    assert rig.reader.asked == [[A]] * 3
    await rig.reader.reads[2].answer([b"newest"])
    assert await again == [[b"newest"]]
    assert rig.coalescer.idle


@in_virtual_time
async def test_each_key_waits_for_its_own_flight() -> None:
    """Of a miss of keys in several flights each part leaves when its own flight has ended, the rest at once."""
    rig = Rig()
    flights = [await rig.ask(A), await rig.ask(B, D)]
    blocked = await rig.ask(A, C, B, D, E, since=now())
    assert rig.reader.asked == [[A], [B, D], [C, E]]
    assert repr(rig) == "3 calls wait, 3 keys gather, 5 keys in 3 fetches, 0 fetched, 0 joined, 0 shed"
    await rig.reader.reads[1].answer()
    assert rig.reader.asked[3:] == [[B, D]]
    await rig.reader.reads[0].answer()
    assert rig.reader.asked[4:] == [[A]]
    assert not blocked.done()
    await rig.end()
    assert await blocked == [rows(A, C, B, D, E)]
    assert [await c for c in flights] == [[rows(A)], [rows(B, D)]]


@in_virtual_time
async def test_the_timeout_counts_from_the_first_miss() -> None:
    """Waiting for a slot, or for a flight that holds the key, is part of the time that a fetch has."""
    rig = Rig(slots=1, timeout_s=0.05)
    calls = [await rig.ask(A)]
    await asyncio.sleep(10 * MS)
    calls += [await rig.ask(B), await rig.ask(A, since=now())]
    await asyncio.sleep(20 * MS)
    await rig.reader.reads[0].answer()
    assert rig.reader.asked == [[A], [B], [A]]
    assert [r.until for r in rig.reader.reads] == pytest.approx([START + 0.05, START + 0.06, START + 0.06])
    assert [r.came for r in rig.reader.reads] == pytest.approx([START, START + 0.011, START + 0.031])
    await rig.end()
    await asyncio.gather(*calls)


@in_virtual_time
async def test_a_miss_whose_time_is_over_is_never_sent() -> None:
    """Behind fetches that hang a miss ends with its timeout: Unread, and nothing is asked for it later."""
    rig = Rig(slots=1, fetches=1, timeout_s=0.05)
    hung = await rig.ask(A)
    await asyncio.sleep(10 * MS)
    behind = await rig.ask(B)
    blocked = await rig.ask(A, since=now())
    await asyncio.sleep(55 * MS)
    late = await rig.ask(C)
    assert rig.reader.asked == [[A]]
    await rig.reader.reads[0].answer()
    assert rig.reader.asked == [[A], [C]]
    assert await hung == [rows(A)]
    assert await behind == await blocked == [[UNREAD]]
    await rig.end()
    assert await late == [rows(C)]
    assert repr(rig) == "0 calls wait, 0 keys gather, 0 keys in 0 fetches, 2 fetched, 0 joined, 0 shed"


@in_virtual_time
async def test_a_miss_with_too_little_time_left_is_never_sent() -> None:
    """The last tenth of the timeout is too short for a fetch: one that must fail would be held against the store."""
    rig = Rig(slots=1, fetches=1, timeout_s=0.05)
    hung = await rig.ask(A)
    late = await rig.ask(B)
    await asyncio.sleep(1 * MS)
    in_time = await rig.ask(C)
    await asyncio.sleep(44.5 * MS)
    await rig.reader.reads[0].answer()
    assert rig.reader.asked == [[A], [C]]
    assert await late == [[UNREAD]]
    await rig.end()
    assert (await hung, await in_time) == ([rows(A)], [rows(C)])


@in_virtual_time
async def test_old_misses_behind_young_ones_are_never_sent() -> None:
    """A miss that was blocked until its time was over is left out of the fetch that takes younger ones."""
    rig = Rig(slots=1, fetches=1, timeout_s=0.05)
    hung = await rig.ask(A)
    blocked = await rig.ask(A, since=now())
    await asyncio.sleep(45 * MS)
    young = await rig.ask(B)
    await asyncio.sleep(10 * MS)
    await rig.reader.reads[0].answer()
    assert rig.reader.asked == [[A], [B]]
    assert await blocked == [[UNREAD]]
    await rig.end()
    assert (await hung, await young) == ([rows(A)], [rows(B)])


@in_virtual_time
async def test_what_nobody_waits_for_is_never_sent() -> None:
    """A miss whose callers are all gone is dropped; one that a single caller still wants is sent."""
    rig = Rig(slots=1)
    first = await rig.ask(A)
    gone, given_up, shared, sharer = [await rig.ask(k) for k in (B, C, D, D)]
    short = await rig.ask(E, wait_s=0.1 * MS)
    for call in (gone, shared, given_up):
        call.cancel()
    await asyncio.sleep(0.2 * MS)
    assert await short == [[UNREAD]]
    await rig.reader.reads[0].answer()
    assert rig.reader.asked == [[A], [D]]
    await rig.end()
    assert (await first, await sharer) == ([rows(A)], [rows(D)])
    assert all(c.cancelled() for c in (gone, given_up, shared))
    assert len(rig.reader.reads) == 2


@pytest.mark.parametrize("when", ["begun", "in flight", "gathering", "blocked", "answered"])
@in_virtual_time
async def test_a_callers_cancellation_never_reaches_a_fetch(when: str) -> None:
    """Wherever the cancellation lands, fetches go on and are kept, and others who wait get their rows."""
    rig = Rig(slots=1)
    other = await rig.ask(A, B)
    key, since = {"gathering": (C, 0.0), "blocked": (A, START)}.get(when, (A, 0.0))
    if when == "begun":
        caller = asyncio.create_task(rig.coalescer.fetch([Wanted([key], since)], now() + 1.0))
    else:
        caller = await rig.ask(key, since=since)
    if when == "answered":
        rig.reader.reads[0].end.set_result(rows(A, B))
        while not other.done():
            await asyncio.sleep(0)
            caller.cancel()
    caller.cancel()
    await settle()
    assert caller.cancelled()
    await rig.end()
    assert await other == [rows(A, B)]
    assert rig.reader.asked == [[A, B]]
    assert rig.reader.cancelled == []
    assert rig.kept == [([A, B], rows(A, B), START)]
    assert rig.coalescer.idle


@in_virtual_time
async def test_a_caller_that_fetched_alone_may_go() -> None:
    """A fetch that is under way for nobody ends as any other, and what it found is kept."""
    rig = Rig()
    call = await rig.ask(A)
    call.cancel()
    await settle()
    assert repr(rig).startswith("0 calls wait, 0 keys gather, 1 keys in 1 fetches")
    late = await rig.ask(A)
    await rig.reader.reads[0].answer()
    assert await late == [rows(A)]
    assert rig.kept == [([A], rows(A), START)]


@in_virtual_time
async def test_a_call_ends_at_its_deadline_with_what_is_there() -> None:
    """Rows that came in time are answered, the others are Unread; their fetch goes on and is kept."""
    rig = Rig()
    slow = await rig.ask(A)
    call = await rig.ask(A, B, wait_s=5 * MS)
    await rig.reader.reads[1].answer()
    await asyncio.sleep(4.9 * MS)
    assert not call.done()
    await asyncio.sleep(0.2 * MS)
    assert call.done()
    assert await call == [[UNREAD, row_of(B)]]
    large = await rig.ask(C, wait_s=MS)
    await asyncio.sleep(MS)
    assert await large == [[UNREAD]]
    await rig.end()
    assert await slow == [rows(A)]
    assert sorted(k for k, _, _ in rig.kept) == [[A], [B], [C]]


@in_virtual_time
async def test_a_deadline_that_is_over_is_no_wait() -> None:
    """A call whose time is over gets Unread without time going by, and nothing is asked for it."""
    rig = Rig()
    assert await (await rig.ask(A, wait_s=-1.0)) == [[UNREAD]]
    assert now() == START
    assert rig.coalescer.idle
    assert rig.reader.reads == []


@pytest.mark.parametrize(
    ("limits", "before", "fits", "too_many"),
    [
        ({"waiting_keys": 10}, 8, None, 1),  # 80 % are waiting
        ({"waiting_keys": 10}, 7, 3, 4),  # so many more are over the bound
        ({"waiting_bytes": 50}, 8, None, 1),  # keys of 5 bytes
        ({"waiting_bytes": 50}, 7, 3, 4),
        ({"fetches": 10, "slots": 4, "keys_per_fetch": 1}, 8, None, 1),
    ],
    ids=["keys", "many keys", "bytes", "many bytes", "connections"],
)
@in_virtual_time
async def test_new_misses_are_shed_when_a_bound_is_near(
    limits: dict[str, int], before: int, fits: int | None, too_many: int
) -> None:
    """From 80 % of a bound on, or where they would break it, new misses alone are SATURATED, at once and whole."""
    rig = Rig(**({"gather_s": 0.0} | limits))
    held = [b"held%d" % i for i in range(before)]
    first = await rig.ask(*held)
    await rig.shed(*(b"new-%d" % i for i in range(too_many)))
    assert repr(rig).endswith(f"{too_many} shed")
    if fits is not None:
        call = await rig.ask(*(b"fit-%d" % i for i in range(fits)))
        assert not call.done()
        await rig.shed(b"more!")
    joining = await rig.ask(held[0], b"other", held[1])
    assert not joining.done()
    await rig.end()
    assert await joining == [[row_of(held[0]), Unread.SATURATED, row_of(held[1])]]
    assert await first == [rows(*held)]
    after = await rig.ask(b"after")
    await rig.end()
    assert await after == [rows(b"after")]


@in_virtual_time
async def test_calls_that_wait_are_bounded() -> None:
    """From 80 % of the bound on new misses are shed, joins are not; beyond the bound nobody waits any more."""
    rig = Rig(waiting_calls=10)
    calls = [await rig.ask(A) for _ in range(8)]
    await rig.shed(B)
    calls += [await rig.ask(A) for _ in range(2)]
    await rig.shed(A)
    await rig.shed(A, B)
    assert repr(rig) == "10 calls wait, 0 keys gather, 1 keys in 1 fetches, 0 fetched, 9 joined, 4 shed"
    calls.pop().cancel()
    await settle()
    calls.append(await rig.ask(A))
    await rig.end()
    assert [await c for c in calls] == [[rows(A)]] * 10


@pytest.mark.parametrize(("slots", "fetches", "crowd"), [(4, 32, 26), (4, 5, None), (4, 6, 5), (1, 1, None), (1, 2, 2)])
def test_connections_shed_only_where_more_than_slots_are_taken(slots: int, fetches: int, crowd: int | None) -> None:
    """Fetches in slots alone never shed: with few connections misses wait for a slot."""
    found = CoalesceSettings(slots=slots, fetches=fetches).crowd
    assert found == (float("inf") if crowd is None else crowd)


@in_virtual_time
async def test_where_the_store_refuses_nothing_queues() -> None:
    """New misses are REFUSED before anything queues; what is in flight can still be joined."""
    rig = Rig()
    first = await rig.ask(A)
    rig.reader.refusal = Unread.REFUSED
    assert await (await rig.ask(B, C)) == [[Unread.REFUSED] * 2]
    assert repr(rig) == "1 calls wait, 0 keys gather, 1 keys in 1 fetches, 0 fetched, 0 joined, 0 shed"
    joining = await rig.ask(B, A)
    afresh = await rig.ask(A, since=now())
    assert await afresh == [[Unread.REFUSED]]
    await rig.reader.reads[0].answer()
    assert await joining == [[Unread.REFUSED, row_of(A)]]
    assert await first == [rows(A)]
    assert rig.reader.asked == [[A]]


@pytest.mark.parametrize(
    ("error", "row"), [(None, Unread.NO_ANSWER), (StoreRefusedError("open"), Unread.REFUSED)], ids=["down", "refused"]
)
@in_virtual_time
async def test_a_fetch_that_fails_is_unread_for_all_who_wait(error: BaseException | None, row: Unread) -> None:
    """Everybody is told why, the next call tries again, and nothing of it is left."""
    rig = Rig()
    calls = [await rig.ask(A, B), await rig.ask(B, C)]
    for read in rig.reader.reads:
        await read.fail(error)
    assert [await c for c in calls] == [[[row] * 2]] * 2
    assert rig.coalescer.idle
    again = await rig.ask(A)
    await rig.end()
    assert await again == [rows(A)]


@in_virtual_time
async def test_rows_that_were_not_read_come_through() -> None:
    """Where a part of a fetch did not work, its rows are Unread, and the others are answered and kept."""
    rig = Rig()
    call = await rig.ask(A, B, C)
    await rig.reader.reads[0].answer([b"1", UNREAD, None])
    assert await call == [[b"1", UNREAD, None]]
    assert rig.kept == [([A, B, C], [b"1", UNREAD, None], START)]


@in_virtual_time
async def test_a_surprise_is_logged_and_costs_its_own_fetch(caplog: pytest.LogCaptureFixture) -> None:
    """An error that is no StoreUnavailableError ends the fetch like one, gives its slot back, and is logged."""
    rig = Rig(slots=1)
    calls = [await rig.ask(A), await rig.ask(B)]
    await rig.reader.reads[0].fail(ZeroDivisionError("a bug"))
    assert await calls[0] == [[UNREAD]]
    assert rig.reader.asked == [[A], [B]]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "a bug" in str(record.exc_info[1])
    await rig.end()
    assert await calls[1] == [rows(B)]


@in_virtual_time
async def test_what_may_not_be_kept_is_not() -> None:
    """Rows of wants that say so never reach the sink; others do, with the time at which their fetch was sent."""
    rig = Rig(slots=1)
    call = await rig.ask_all(Wanted([A, B], 0.0, keep=False), Wanted([C], 0.0))
    await asyncio.sleep(MS)
    later = await rig.ask(D)
    await asyncio.sleep(MS)
    await rig.end()
    assert await call == [rows(A, B), rows(C)]
    assert await later == [rows(D)]
    assert rig.kept == [([C], rows(C), START), ([D], rows(D), pytest.approx(START + 2 * MS))]


@in_virtual_time
async def test_close_ends_everything() -> None:
    """In flight, gathering, blocked, or asked for afterwards: Unread at once, and nothing is left."""
    rig = Rig(slots=1)
    calls = [await rig.ask(A), await rig.ask(B), await rig.ask(A, since=now())]
    assert repr(rig) == "3 calls wait, 2 keys gather, 1 keys in 1 fetches, 0 fetched, 0 joined, 0 shed"
    await rig.coalescer.close()
    calls.append(await rig.ask(C))
    assert [await c for c in calls] == [[[UNREAD]]] * 4
    assert now() == START
    assert len(rig.reader.cancelled) == len(rig.reader.reads) == 1
    assert rig.coalescer.idle
    assert repr(rig) == "0 calls wait, 0 keys gather, 0 keys in 0 fetches, 1 fetched, 0 joined, 0 shed"


@pytest.mark.parametrize("turns", [0, 1, 2])
@in_virtual_time
async def test_close_ends_what_has_not_begun(turns: int) -> None:
    """A fetch that is closed before its task first runs, or is not yet made, is over for its callers all the same."""
    rig = Rig()
    call = rig.coalescer.begin([Wanted([A], 0.0)])
    for _ in range(turns):
        await asyncio.sleep(0)
    assert ("in 1 fetches" in repr(rig)) == (turns == 2)
    await rig.coalescer.close()
    await rig.coalescer.finish(call, now() + 1.0)
    assert call.rows() == [[UNREAD]]
    assert now() == START
    assert rig.reader.reads == []
    assert rig.coalescer.idle
    await rig.coalescer.close()


ACTIONS = st.one_of(
    st.tuples(st.just("ask"), st.sets(st.integers(0, 7), min_size=1, max_size=5), st.booleans(), st.integers(1, 60)),
    st.tuples(st.just("answer"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.integers(1, 40)),
)


@given(st.lists(ACTIONS, max_size=30), st.integers(1, 3), st.integers(1, 4))
@MANY
def test_whatever_happens_rows_are_their_keys(actions: list[Any], slots: int, chunk: int) -> None:
    """In any order of calls, ends, failures and cancellations: right rows, one flight per key, and an end to all."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(_play(actions, slots, chunk))
    finally:
        loop.close()
    assert loop.failures == []


async def _play(actions: list[Any], slots: int, chunk: int) -> None:
    rig = Rig(slots=slots, fetches=slots + 2, keys_per_fetch=chunk, timeout_s=0.02, waiting_keys=12, waiting_calls=9)
    calls: list[tuple[list[bytes], float, Call]] = []
    late: list[float] = []
    for name, *details in actions:
        flying = [r for r in rig.reader.reads if not r.end.done()]
        in_flight = [k for r in flying for k in r.keys]
        assert len(set(in_flight)) == len(in_flight)
        assert len(flying) <= slots + 2
        assert all(r.until <= r.came + 0.02 and len(r.keys) <= chunk for r in flying)
        if name == "ask":
            keys = [b"%d" % i for i in details[0]]
            since, until = (now() if details[1] else 0.0), now() + details[2] / 1_000
            call = await rig.ask(*keys, since=since, wait_s=details[2] / 1_000)
            call.add_done_callback(partial(_note, late, until))
            calls.append((keys, since, call))
        elif name in ("answer", "fail") and flying:
            read = flying[details[0] % len(flying)]
            sent = b"@%.6f" % read.came
            await (read.answer([k + sent for k in read.keys]) if name == "answer" else read.fail())
        elif name == "cancel" and calls:
            calls[details[0] % len(calls)][-1].cancel()
        elif name == "wait":
            await asyncio.sleep(details[0] / 1_000)
        await settle()
    await rig.end()
    for keys, since, call in calls:
        with contextlib.suppress(asyncio.CancelledError):
            (found,) = await call
            _check(keys, since, found)
    assert max(late, default=0.0) <= 1e-9
    assert rig.coalescer.idle
    assert repr(rig).startswith("0 calls wait, 0 keys gather, 0 keys in 0 fetches")


def _note(late: list[float], until: float, _: Call) -> None:
    late.append(now() - until)


def _check(keys: list[bytes], since: float, found: Sequence[Row]) -> None:
    for key, row in zip(keys, found, strict=True):
        if isinstance(row, bytes) and row != row_of(key):
            its, _, sent = row.partition(b"@")
            assert its == key
            assert float(sent) >= since - 1e-6


@in_virtual_time
async def test_whoever_joins_a_fetch_is_counted() -> None:
    """How many calls one fetch was for is known when it is back: most may have joined it in flight."""
    rig = Rig()
    calls = [await rig.ask(A, B) for _ in range(5)]
    await rig.end()
    await asyncio.gather(*calls)
    ((_, callers),) = rig.metrics[FETCH_CALLERS].points()
    ((_, keys),) = rig.metrics[FETCH_KEYS].points()
    assert isinstance(callers, Distribution)
    assert isinstance(keys, Distribution)
    assert (sum(callers.counts), callers.sum) == (1, 5.0)
    assert (sum(keys.counts), keys.sum) == (1, 2.0)
