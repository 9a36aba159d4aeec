"""Each node of a cluster has a lane of its own: one that does not answer costs its own keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD, Row, Unread
from recsvc.online.by_node import ByNode, Places
from recsvc.online.coalesce import Coalescer, CoalesceSettings
from recsvc.online.reader import RowReader, Wanted
from tests.simulation.loop import START, VirtualLoop
from tests.unit.online.held_reader import HeldRead, HeldReader, in_virtual_time, now, row_of, settle
from tests.unit.online.strategies import FEW

MS = 0.001
Call = asyncio.Task[list[Sequence[Row]]]


class Cluster:
    """A Router over HeldReaders: the first byte of a key says which node has it, and none has those in ``uncovered``.

    Places come in the reverse of the order asked: a router may name them in any.
    """

    def __init__(self, names: str = "xyz") -> None:
        self.readers = {name: HeldReader() for name in names}
        self.uncovered = ""
        self.known = asyncio.Event()
        self.known.set()
        self.failed = False
        self.asked_for_topology = 0

    def __repr__(self) -> str:
        return f"Cluster({sorted(self.readers)})"

    def route(self, keys: Sequence[bytes]) -> tuple[Places, Sequence[int]] | None:
        """See Router.route."""
        if not self.known.is_set():
            return None
        places: dict[str, list[int]] = {}
        for index, key in reversed(list(enumerate(keys))):
            places.setdefault(chr(key[0]), []).append(index)
        return {n: p for n, p in places.items() if n not in self.uncovered}, [
            i for n in self.uncovered for i in places.get(n, [])
        ]

    async def ready(self, until: float) -> None:
        """See Router.ready."""
        self.asked_for_topology += 1
        try:
            async with asyncio.timeout_at(until):
                await self.known.wait()
        except TimeoutError:
            self.failed = True
        if self.failed:
            raise StoreUnavailableError("the nodes are not known")

    def nodes(self) -> frozenset[str]:
        """See Router.nodes."""
        return frozenset(self.readers)

    def reader(self, name: str) -> RowReader:
        """See Router.reader."""
        return self.readers[name]

    def reads(self, name: str) -> list[HeldRead]:
        """Return what was asked of a node."""
        return self.readers[name].reads


class Rig:
    """A ByNode over a Cluster; ``lanes`` are the names that a lane was made for."""

    def __init__(self, names: str = "xyz") -> None:
        self.cluster = Cluster(names)
        self.lanes: list[str] = []
        self.by_node = ByNode(self.cluster, self._lane)

    def _lane(self, name: str, reader: RowReader) -> Coalescer:
        self.lanes.append(name)
        return Coalescer(reader, CoalesceSettings(), lambda *_: None, clock=now)

    def __repr__(self) -> str:
        return repr(self.by_node)

    async def ask(self, *keys: bytes, wait_s: float = 0.05, **options: bool) -> Call:
        """Begin a call that wants keys."""
        return await self.ask_all([Wanted(keys, 0.0, **options)], wait_s=wait_s)

    async def ask_all(self, wanted: Sequence[Wanted], wait_s: float = 0.05) -> Call:
        """Begin a call with several wants."""
        task = asyncio.create_task(self.by_node.fetch(wanted, now() + wait_s))
        await settle()
        return task

    async def answer(self, name: str) -> None:
        """Answer all that is asked of a node."""
        for read in self.cluster.reads(name):
            if not read.end.done():
                await read.answer()


def rows(*keys: bytes) -> list[Row]:
    """Return the rows of keys."""
    return [row_of(k) for k in keys]


@in_virtual_time
async def test_nodes_are_asked_at_the_same_time() -> None:
    """Each node gets its own keys in one read, all at once, and the rows come back in the order asked."""
    rig = Rig()
    call = await rig.ask_all([Wanted([b"x1", b"y1", b"z1", b"x2"], 0.0), Wanted([b"y2"], 0.0), Wanted([b"x3"], 0.0)])
    assert rig.lanes == ["x", "z", "y"]
    assert {n: [sorted(k) for k in r.asked] for n, r in rig.cluster.readers.items()} == {
        "x": [[b"x1", b"x2", b"x3"]],
        "y": [[b"y1", b"y2"]],
        "z": [[b"z1"]],
    }
    for name in "zyx":
        assert not call.done()
        await rig.answer(name)
    assert await call == [rows(b"x1", b"y1", b"z1", b"x2"), rows(b"y2"), rows(b"x3")]
    assert now() == START


@in_virtual_time
async def test_places_may_come_in_any_order() -> None:
    """Where one node has all keys of a want, rows are not mixed up, though the router groups keys by tag."""
    rig = Rig("x")
    call = await rig.ask(b"x1", b"x2", b"x3")
    await rig.answer("x")
    assert await call == [rows(b"x1", b"x2", b"x3")]


@given(st.lists(st.lists(st.tuples(st.sampled_from("wxyz"), st.integers(0, 99)), unique=True), max_size=3))
@FEW
def test_rows_are_their_keys_however_they_are_split(wants: list[list[tuple[str, int]]]) -> None:
    """Any keys on any nodes: each row comes in its place, and keys that no node has are Unread."""
    asked = [[f"{name}{want}-{i}".encode() for name, i in keys] for want, keys in enumerate(wants)]

    async def play() -> list[Sequence[Row]]:
        rig = Rig()
        rig.cluster.uncovered = "w"
        call = await rig.ask_all([Wanted(keys, 0.0) for keys in asked])
        for name in "xyz":
            await rig.answer(name)
        return await call

    loop = VirtualLoop()
    found = loop.run_until_complete(play())
    loop.close()
    assert found == [[UNREAD if k[:1] == b"w" else row_of(k) for k in keys] for keys in asked]


@in_virtual_time
async def test_a_node_that_hangs_costs_its_own_keys() -> None:
    """At the deadline its keys are Unread, and those of the others are answered."""
    rig = Rig()
    call = await rig.ask(b"x1", b"y1", b"z1", b"y2")
    await rig.answer("x")
    await rig.answer("z")
    await asyncio.sleep(49 * MS)
    assert not call.done()
    await asyncio.sleep(MS)
    await settle()
    assert call.done()
    assert await call == [[row_of(b"x1"), UNREAD, row_of(b"z1"), UNREAD]]
    await rig.by_node.close()


@in_virtual_time
async def test_nodes_that_hang_together_cost_one_deadline() -> None:
    """Waiting for one node after the other takes no longer than waiting for one."""
    rig = Rig()
    call = await rig.ask(b"x1", b"y1", b"z1", wait_s=0.02)
    assert await call == [[UNREAD] * 3]
    assert now() == START + 0.02
    await rig.by_node.close()


@in_virtual_time
async def test_each_node_says_for_itself_why_it_was_not_read() -> None:
    """A node that failed, one whose breaker is open and one that answers give three different kinds of rows."""
    rig = Rig()
    rig.cluster.readers["y"].refusal = Unread.REFUSED
    call = await rig.ask(b"x1", b"y1", b"z1")
    await rig.cluster.reads("x")[0].fail()
    await rig.answer("z")
    assert await call == [[Unread.NO_ANSWER, Unread.REFUSED, row_of(b"z1")]]
    assert rig.cluster.reads("y") == []


@in_virtual_time
async def test_wants_keep_what_they_say() -> None:
    """How fresh, and whether to keep, goes on to every node."""
    seen: list[tuple[str, Wanted]] = []

    class Noting(Coalescer):
        def begin(self, wanted: Sequence[Wanted]) -> object:  # type: ignore[override]  # a Call
            seen.extend((repr(self._reader), want) for want in wanted)
            return super().begin(wanted)

    cluster = Cluster("xy")
    by_node = ByNode(cluster, lambda _, r: Noting(r, CoalesceSettings(), lambda *_: None, clock=now))
    wanted = [Wanted([b"x1", b"y1"], 5.0, keep=False), Wanted([b"y2"], 6.0)]
    call = asyncio.create_task(by_node.fetch(wanted, now() + 0.01))
    await call
    assert sorted((list(w.keys), w.since, w.keep) for _, w in seen) == [
        ([b"x1"], 5.0, False),
        ([b"y1"], 5.0, False),
        ([b"y2"], 6.0, True),
    ]
    await by_node.close()


@in_virtual_time
async def test_keys_that_no_node_has_are_unread_at_once() -> None:
    """Slots that are not covered wait for nothing; the others are answered."""
    rig = Rig()
    rig.cluster.uncovered = "xz"
    call = await rig.ask(b"x1", b"y1", b"z1")
    await rig.answer("y")
    assert await call == [[UNREAD, row_of(b"y1"), UNREAD]]
    assert await (await rig.ask(b"x1")) == [[UNREAD]]
    assert now() == START


@in_virtual_time
async def test_calls_wait_until_the_nodes_are_known() -> None:
    """A call before the topology is known goes on as soon as it is."""
    rig = Rig()
    rig.cluster.known.clear()
    call = await rig.ask(b"x1", b"y1")
    await asyncio.sleep(10 * MS)
    assert rig.lanes == []
    rig.cluster.known.set()
    await settle()
    for name in "xy":
        await rig.answer(name)
    assert await call == [rows(b"x1", b"y1")]
    assert rig.cluster.asked_for_topology == 1


@in_virtual_time
async def test_nodes_that_stay_unknown_are_a_store_that_does_not_answer() -> None:
    """Where the topology cannot be found out in time all rows are Unread, at the deadline."""
    rig = Rig()
    rig.cluster.known.clear()
    assert await (await rig.ask_all([Wanted([b"x1", b"y1"], 0.0), Wanted([b"z1"], 0.0)])) == [[UNREAD] * 2, [UNREAD]]
    assert now() == START + 0.05
    assert rig.lanes == []


@in_virtual_time
async def test_nodes_unknown_again_are_unread() -> None:
    """Where the topology is lost again in the moment it was found, all rows are Unread and nothing fails."""
    rig = Rig()

    async def lost_again(until: float) -> None:
        pass

    rig.cluster.known.clear()
    rig.cluster.ready = lost_again  # type: ignore[method-assign]
    assert await (await rig.ask(b"x1")) == [[UNREAD]]


@pytest.mark.parametrize("after", ["", "x", "xy"])
@in_virtual_time
async def test_a_caller_that_goes_leaves_all_fetches_alone(after: str) -> None:
    """Whichever node it waits for, its cancellation reaches no fetch, and those who joined get their rows."""
    rig = Rig()
    call = await rig.ask(b"x1", b"y1", b"z1")
    other = await rig.ask(b"z1", b"y1")
    for name in after:
        await rig.answer(name)
    call.cancel()
    await settle()
    assert call.cancelled()
    for name in "xyz":
        await rig.answer(name)
    assert await other == [rows(b"z1", b"y1")]
    assert [r.cancelled for r in rig.cluster.readers.values()] == [[]] * 3
    assert repr(rig).count("0 calls wait, 0 keys gather, 0 keys in 0 fetches") == 3


@in_virtual_time
async def test_a_caller_that_goes_is_waited_for_by_no_node() -> None:
    """What still waits to be sent to other nodes for it alone is dropped."""
    rig = Rig()
    busy = [await rig.ask(b"y%d" % i) for i in range(4)]
    call = await rig.ask(b"x9", b"y9")
    call.cancel()
    await asyncio.sleep(2 * MS)
    assert [r.keys for r in rig.cluster.reads("y")] == [[b"y0"], [b"y1"], [b"y2"], [b"y3"]]
    for name in "xy":
        await rig.answer(name)
    assert [await c for c in busy] == [[rows(b"y%d" % i)] for i in range(4)]
    assert call.cancelled()


@in_virtual_time
async def test_a_lane_is_made_once_per_node() -> None:
    """Its breaker and its counts stay from call to call."""
    rig = Rig()
    for _ in range(3):
        call = await rig.ask(b"x1", b"y1")
        for name in "xy":
            await rig.answer(name)
        await call
    assert sorted(rig.lanes) == ["x", "y"]


@in_virtual_time
async def test_nodes_that_leave_are_let_go() -> None:
    """When a new node comes, lanes of nodes that are no longer there go, as soon as nothing is under way in them."""
    rig = Rig("xy")
    hung = await rig.ask(b"x1", b"y1")
    del rig.cluster.readers["x"], rig.cluster.readers["y"]
    rig.cluster.readers |= {"z": HeldReader(), "w": HeldReader()}
    third = await rig.ask(b"z1")
    assert repr(rig).startswith("ByNode({'z': Coalescer(")
    assert repr(rig).endswith(", 2 left)")
    await rig.answer("z")
    assert await third == [rows(b"z1")]
    assert await hung == [[UNREAD] * 2]
    fourth = await rig.ask(b"w1")
    await rig.by_node.close()
    assert await fourth == [[UNREAD]]


@in_virtual_time
async def test_a_node_that_comes_back_is_read_through_its_new_reader() -> None:
    """After a failover there and back the reader of before is closed, and must not be asked again."""
    rig = Rig("xy")
    hung = await rig.ask(b"x1")
    before = rig.cluster.readers["x"]
    rig.cluster.readers["x"] = HeldReader()
    call = await rig.ask(b"x2")
    assert before.asked == [[b"x1"]]
    await rig.answer("x")
    assert await call == [rows(b"x2")]
    assert repr(rig).endswith(", 1 left)")
    await before.reads[0].answer()
    assert await hung == [rows(b"x1")]
    await rig.ask(b"y1")
    assert repr(rig).endswith(", 0 left)")
    await rig.by_node.close()


@in_virtual_time
async def test_close_ends_the_fetches_of_all_nodes() -> None:
    """Also of those that have left; callers get Unread at once."""
    rig = Rig("xy")
    old = await rig.ask(b"x1", b"y1")
    rig.cluster.readers["x"] = HeldReader()
    new = await rig.ask(b"x2")
    await rig.by_node.close()
    assert await old == [[UNREAD] * 2]
    assert await new == [[UNREAD]]
    assert now() == START


@in_virtual_time
async def test_after_close_nothing_is_asked() -> None:
    """Calls that come, or that still wait for the nodes to be known, get Unread, and no lane is made."""
    rig = Rig("xy")
    rig.cluster.known.clear()
    waiting = await rig.ask(b"x1")
    await rig.by_node.close()
    rig.cluster.known.set()
    assert await waiting == [[UNREAD]]
    assert await (await rig.ask(b"x1", b"y1")) == [[UNREAD] * 2]
    assert rig.lanes == []
