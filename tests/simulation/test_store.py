"""The simulated store does what its phases say and writes down what happened."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD
from tests.simulation.loop import START, VirtualLoop
from tests.simulation.store import (
    NO_ROW_OF,
    Behaviour,
    Ledger,
    Phase,
    Places,
    SimulatedCluster,
    SimulatedNode,
    origin,
    row_of,
)

KEYS = [b"v0:%d" % i for i in range(40)]


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """Return a loop in virtual time."""
    made = VirtualLoop()
    yield made
    made.close()


def _node(loop: VirtualLoop, *phases: Phase, ledger: Ledger | None = None) -> tuple[SimulatedNode, Ledger]:
    ledger = ledger or Ledger(loop.time)
    return SimulatedNode("only", phases, ledger, random.Random(5), start=START), ledger


def test_rows_tell_their_key_and_their_read() -> None:
    """A row leads back to its key and its read; the keys that have no row have none in any read."""
    for key in KEYS:
        row = row_of(key, 12)
        assert row is None or origin(row) == (key, 12)
        assert (row is None) == (row_of(key, 99) is None)
    assert 0 < sum(row_of(k, 0) is None for k in KEYS) < len(KEYS) * 3 / NO_ROW_OF


def test_a_healthy_node_answers_in_order(loop: VirtualLoop) -> None:
    """Each key gets its row, and the ledger has the read with its times."""
    node, ledger = _node(loop, Phase(0.0, Behaviour.HEALTHY))
    rows = loop.run_until_complete(node.read(KEYS, START + 0.05))
    assert rows == [row_of(k, 0) for k in KEYS]
    (read,) = ledger.reads
    assert (read.outcome, read.sent_at, read.ended_at) == ("answered", START, loop.time())
    assert START < loop.time() < START + 0.004
    assert ledger.under_way == []


@pytest.mark.parametrize("behaviour", [Behaviour.HANGING, Behaviour.FAILING])
def test_a_node_in_trouble_raises_in_time(loop: VirtualLoop, behaviour: Behaviour) -> None:
    """A node that hangs or fails says so by the deadline."""
    node, ledger = _node(loop, Phase(0.0, behaviour))
    with pytest.raises(StoreUnavailableError):
        loop.run_until_complete(node.read(KEYS, START + 0.05))
    assert loop.time() <= START + 0.05
    assert ledger.reads[0].outcome == "failed"
    assert ledger.reads[0].unread == set(KEYS)


def test_a_partial_answer_leaves_single_rows_unread(loop: VirtualLoop) -> None:
    """Some rows are Unread, and the ledger knows which."""
    node, ledger = _node(loop, Phase(0.0, Behaviour.PARTIAL))
    rows = loop.run_until_complete(node.read(KEYS, START + 0.05))
    unread = {k for k, row in zip(KEYS, rows, strict=True) if row is UNREAD}
    assert ledger.reads[0].unread == unread
    assert 0 < len(unread) < len(KEYS)


def test_a_late_node_keeps_no_deadline(loop: VirtualLoop) -> None:
    """A late node answers when it can, however long ago it should have."""
    node, _ = _node(loop, Phase(0.0, Behaviour.LATE))
    loop.run_until_complete(node.read(KEYS, START + 0.001))
    assert loop.time() > START + 0.001


def test_a_broken_node_raises_what_nobody_expects(loop: VirtualLoop) -> None:
    """A mistake in a store's code comes up as it would."""
    node, ledger = _node(loop, Phase(0.0, Behaviour.BROKEN))
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(node.read(KEYS, START + 0.05))
    assert ledger.reads[0].outcome == "broken"


def test_phases_follow_each_other(loop: VirtualLoop) -> None:
    """A node behaves as its latest phase says, and well after it was healed."""
    node, _ = _node(loop, Phase(0.0, Behaviour.SLOW), Phase(1.0, Behaviour.FAILING))
    seen = [node.behaviour]
    loop.jump(1.0)
    seen.append(node.behaviour)
    node.heal()
    seen.append(node.behaviour)
    assert seen == [Behaviour.SLOW, Behaviour.FAILING, Behaviour.HEALTHY]


def test_reads_may_end_out_of_order(loop: VirtualLoop) -> None:
    """Reads of one node overlap, and some later ones end before earlier ones."""
    node, ledger = _node(loop, Phase(0.0, Behaviour.SLOW))

    async def main() -> None:
        await asyncio.gather(*(node.read([k], START + 1) for k in KEYS))

    loop.run_until_complete(main())
    ends = [read.ended_at or 0.0 for read in ledger.reads]
    assert ends != sorted(ends)


def test_a_cancelled_read_is_written_down(loop: VirtualLoop) -> None:
    """A read whose task is cancelled ends as such."""
    node, ledger = _node(loop, Phase(0.0, Behaviour.HANGING))

    async def main() -> None:
        task = asyncio.create_task(node.read(KEYS, START + 1))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(main())
    assert ledger.reads[0].outcome == "cancelled"
    assert ledger.under_way == []


def _cluster(loop: VirtualLoop, places: Places, known_at: float = START) -> SimulatedCluster:
    ledger = Ledger(loop.time)
    nodes = {n: SimulatedNode(n, [], ledger, random.Random(1), start=START) for n in "abcd"}
    return SimulatedCluster(nodes, places, loop.time, known_at=known_at)


def test_a_cluster_knows_its_nodes_from_a_time_on(loop: VirtualLoop) -> None:
    """A cluster routes each key to one node, once that is known, and says when that cannot be known in time."""
    places = Places("abc")
    cluster = _cluster(loop, places, known_at=START + 0.1)
    assert cluster.route(KEYS) is None
    with pytest.raises(StoreUnavailableError):
        loop.run_until_complete(cluster.ready(START + 0.05))
    loop.run_until_complete(cluster.ready(START + 0.5))
    routed = cluster.route(KEYS)
    assert routed is not None
    assert sorted(i for indices in routed[0].values() for i in indices) == list(range(len(KEYS)))
    assert all(places.of(KEYS[i]) == name for name, indices in routed[0].items() for i in indices)


def test_a_node_is_replaced_by_another(loop: VirtualLoop) -> None:
    """All keys of the old node, and no others, are on the new one from then on."""
    places = Places("abc")
    before = {k: places.of(k) for k in KEYS}
    places.replace("b", "d")
    assert {k: places.of(k) for k in KEYS} == {k: "d" if n == "b" else n for k, n in before.items()}
    assert all(sorted(places.ever(k)) == (["b", "d"] if n == "b" else [n]) for k, n in before.items())
    assert _cluster(loop, places).nodes() == {"a", "c", "d"}


def test_some_keys_may_be_on_no_node(loop: VirtualLoop) -> None:
    """In a cluster with holes the router names the keys that no node has."""
    routed = _cluster(loop, Places("abc", holes=True)).route(KEYS)
    assert routed is not None
    assert 0 < len(routed[1]) < len(KEYS) / 2
    assert len(routed[1]) + sum(map(len, routed[0].values())) == len(KEYS)


def test_reprs_tell_the_state(loop: VirtualLoop) -> None:
    """Node, cluster and ledger say what they do now."""
    node, ledger = _node(loop, Phase(0.0, Behaviour.SLOW))
    assert repr(node) == "SimulatedNode(only: slow)"
    assert repr(ledger) == "Ledger(0 reads, 0 under way)"
    cluster = SimulatedCluster({"only": node}, Places(["only"]), loop.time, known_at=0)
    assert repr(cluster) == "SimulatedCluster([SimulatedNode(only: slow)])"
    assert repr(Places("ab")) == "Places(['a', 'b'], replaced {})"
