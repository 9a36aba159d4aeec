"""What is seen of waiting for the store: how long each node was waited for, and which commands brought the rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from recsvc.online.answer import Row
from recsvc.online.coalesce import Coalescer, CoalesceSettings
from recsvc.online.reader import Fetcher, Wanted
from recsvc.telemetry import names
from recsvc.telemetry.calls import Calls, Command, StorePlace, Tracing
from recsvc.telemetry.hop import Hop
from recsvc.telemetry.metrics import HOP_DURATION, Metrics
from recsvc.telemetry.series import Distribution
from recsvc.telemetry.trace_context import Sampling
from tests.unit.online.held_reader import HeldReader, in_virtual_time, now, settle
from tests.unit.online.test_by_node import MS
from tests.unit.online.test_by_node import Rig as Nodes
from tests.unit.telemetry.test_hops import Kept


class Commands(Kept):
    """Keeps commands too."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Hop] = []

    def command(self, hop: Hop) -> None:
        """See Spans."""
        self.sent.append(hop)


class Rig:
    """Calls that are measured, with the time of the loop."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.kept, self.metrics = Commands(), Metrics()
        tracing = Tracing(Sampling(ratio), self.kept, late_s=9, late_per_s=0, random=Random(1))
        self.calls = Calls(self.metrics, tracing, clock=now)

    async def ask(self, fetcher: Fetcher, *keys: bytes, wait_s: float = 0.05) -> asyncio.Task[None]:
        """Begin a call that reads keys."""

        async def call() -> None:
            made = self.calls.begin("service/Method", now(), list)
            assert made is not None
            await fetcher.fetch([Wanted(keys, 0.0)], now() + wait_s)
            self.calls.end(made, "OK")

        task = asyncio.create_task(call())
        await settle()
        return task

    def waits(self) -> list[float]:
        """Return how long all waits took together, and how many there were."""
        found = dict(self.metrics[HOP_DURATION].points())[names.WAIT,]
        assert isinstance(found, Distribution)
        return [found.sum, sum(found.counts)]


class Reader(HeldReader):
    """A store that is asked by commands, each to a host that is named after its keys."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read."""
        command = Command(self._calls, StorePlace(b" ".join(keys).decode(), ""), "MGET")
        try:
            return await super().read(keys, until)
        finally:
            command.end()


def linked(rig: Rig, wait: Hop) -> list[str]:
    """Return which keys the commands were for that a wait links to."""
    sent = {command.id: str(command.attributes[names.SERVER_ADDRESS]) for command in rig.kept.sent}
    return [sent[place.span_id] for place in wait.links]


@pytest.mark.parametrize("ratio", [1.0, 0.0])
@in_virtual_time
async def test_each_node_is_waited_for_until_its_rows_are_there(ratio: float) -> None:
    """However slow another node is; and the metric says the same whether the call is sampled or not."""
    rig, nodes = Rig(ratio), Nodes()
    nodes.cluster.readers = {name: Reader(rig.calls) for name in "xyz"}
    call = await rig.ask(nodes.by_node, b"x1", b"y1", b"z1")
    for after, name in ((5 * MS, "y"), (1 * MS, "z"), (20 * MS, "x")):
        await asyncio.sleep(after)
        await nodes.answer(name)
    await call
    assert rig.waits() == pytest.approx([(5 + 6 + 26) * MS, 3])
    spans = [hop for hops in rig.kept.hops for hop in hops if hop.name == names.WAIT]
    seen = {tuple(linked(rig, hop)): (hop.ended or 0.0) - hop.began for hop in spans}
    sampled = {("x1",): 26 * MS, ("y1",): 5 * MS, ("z1",): 6 * MS}
    assert seen == pytest.approx(sampled if ratio else {})


@in_virtual_time
async def test_a_node_that_hangs_is_waited_for_until_the_deadline() -> None:
    """The others' waits end when their rows are there, and the next hop begins where the last wait ends."""
    rig, nodes = Rig(), Nodes("xy")
    call = await rig.ask(nodes.by_node, b"x1", b"y1", wait_s=0.03)
    await asyncio.sleep(5 * MS)
    await nodes.answer("y")
    await call
    assert rig.waits() == pytest.approx([(5 + 30) * MS, 2])
    assert rig.kept.calls[0].mark - rig.kept.calls[0].began == pytest.approx(30 * MS)
    assert sum(took for name, took in rig.kept.calls[0].laps if name == names.ENCODE) == 0
    await nodes.by_node.close()


@in_virtual_time
async def test_a_wait_links_to_what_brought_its_own_rows() -> None:
    """A caller that joins one of two fetches of another one has no link to the other fetch."""
    rig = Rig()
    reader = Reader(rig.calls)
    coalescer = Coalescer(reader, CoalesceSettings(keys_per_fetch=1), lambda *_: None, clock=now)
    first = await rig.ask(coalescer, b"k1", b"k2")
    await asyncio.sleep(MS)
    second = await rig.ask(coalescer, b"k1")
    for read in reader.reads:
        await read.answer()
    await asyncio.gather(first, second)
    assert sorted(len(hops) for hops in rig.kept.hops) == [1, 1]
    waits = {hop.attributes[names.JOINED]: hop for (hop,) in rig.kept.hops}
    assert linked(rig, waits[False]) == ["k1", "k2"]
    assert linked(rig, waits[True]) == ["k1"]
    assert {command.parent for command in rig.kept.sent} == {waits[False].id}
