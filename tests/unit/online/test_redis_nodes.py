"""The nodes of a cluster: learning who they are from whoever answers, letting go of those that left, and health."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import RedisCluster

from recsvc.errors import StoreUnavailableError
from recsvc.online import redis_nodes
from recsvc.online.answer import UNREAD
from recsvc.online.redis_connect import ConnectionSettings, connect, parse
from recsvc.online.redis_nodes import ClusterNodes
from recsvc.online.redis_slots import SlotMap
from recsvc.telemetry.counters import Counters
from tests.parts.redis_server import free_port
from tests.parts.scripted_server import HELLO_REPLY, Command, Peer, Scripted, scripted_server
from tests.parts.waiting import eventually

KEYS = [f"fs:{{{i}}}:user:x:v1".encode() for i in range(20)]
WAIT_S = 5.0
ALL = (0, 16_383)


def slots_reply(*owned: tuple[tuple[int, int], int]) -> bytes:
    """Pack what a node answers to CLUSTER SLOTS: ranges of slots, each with the port of its owner."""
    packed = b"*%d\r\n" % len(owned)
    for (first, last), port in owned:
        packed += b"*3\r\n:%d\r\n:%d\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n" % (first, last, port)
    return packed


class FakeNode:
    """What a scripted server answers as a node of a cluster; ``hung`` ones answer nothing."""

    def __init__(self, server: Scripted) -> None:
        self.server = server
        self.port = server.port
        self.name = f"127.0.0.1:{server.port}"
        self.slots = slots_reply((ALL, server.port))
        self.hung = False
        server.answer = self.answer

    async def answer(self, peer: Peer, command: Command) -> None:
        """Answer one command; rows are the node's port."""
        if self.hung:
            return
        if command[0] == b"HELLO":
            peer.say(HELLO_REPLY)
        elif command[0] == b"CLUSTER":
            peer.say(self.slots)
        elif command[0] == b"MGET":
            row = b"$%d\r\n%d\r\n" % (len(str(self.port)), self.port)
            peer.say(b"*%d\r\n%b" % (len(command) - 1, row * (len(command) - 1)))
        else:
            peer.say(b"+PONG\r\n")

    def looks(self) -> int:
        """Return how often it was asked for the topology."""
        return self.server.commands.count([b"CLUSTER", b"SLOTS"])


@contextlib.asynccontextmanager
async def nodes_of(ports: Sequence[int]) -> AsyncIterator[tuple[ClusterNodes, Counters]]:
    """Yield the nodes of a cluster whose URL names these ports."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    settings = ConnectionSettings(connect_timeout_s=WAIT_S)
    client = connect(parse(f"redis+cluster://{hosts}"), settings=settings)
    assert isinstance(client, RedisCluster)
    counters = Counters(monotonic=time.monotonic)
    nodes = ClusterNodes(client, counters, connections=4)
    try:
        yield nodes, counters
    finally:
        await nodes.close()
        await client.aclose()


@contextlib.asynccontextmanager
async def fakes(n: int) -> AsyncIterator[list[FakeNode]]:
    """Yield n fake nodes, each of which says that it has all slots."""
    async with contextlib.AsyncExitStack() as stack:
        yield [FakeNode(await stack.enter_async_context(scripted_server())) for _ in range(n)]


def soon() -> float:
    """Return when a read must have ended that must succeed."""
    return asyncio.get_running_loop().time() + WAIT_S


async def test_the_topology_is_learned_once() -> None:
    """Before it is known nothing is routed; whoever waits at once waits for one look."""
    async with fakes(1) as (node,), nodes_of([node.port]) as (nodes, counters):
        assert nodes.route(KEYS) is None
        await asyncio.gather(*(nodes.ready(soon()) for _ in range(5)))
        await nodes.ready(soon())
        assert node.looks() == 1
        assert nodes.nodes() == {node.name}
        routed = nodes.route(KEYS)
        assert routed is not None
        assert {name: sorted(indices) for name, indices in routed[0].items()} == {node.name: list(range(len(KEYS)))}
        assert nodes.reader(node.name) is nodes.reader(node.name)
        assert nodes.reader(node.name).refuses() is None
        assert await nodes.reader(node.name).read(KEYS, soon()) == [str(node.port).encode()] * len(KEYS)
        assert await nodes.reader(node.name).read([], soon()) == []
        assert counters.store_unavailable == 0


async def test_a_node_that_hangs_does_not_hide_the_others() -> None:
    """Whichever node is asked first, one that hangs, refuses or talks nonsense costs a moment, not the topology."""
    async with fakes(3) as (hung, wrong, right):
        hung.hung, wrong.slots = True, b"*0\r\n"
        for ports in ([hung.port, wrong.port, free_port(), right.port], [right.port, hung.port]):
            async with nodes_of(ports) as (nodes, counters):
                for turn in range(len(ports)):
                    nodes._turn = turn
                    nodes._next_look = 0.0
                    nodes._slots = SlotMap()
                    await nodes.ready(soon())
                    assert nodes.nodes() == {right.name}
                assert counters.store_unavailable == 0


async def test_nodes_that_nobody_knows_are_unavailable() -> None:
    """Where no node answers, whoever waits is told in time and counted once, and looks are not repeated at once."""
    async with nodes_of([free_port()]) as (nodes, counters):
        for n in range(1, 4):
            with pytest.raises(StoreUnavailableError, match="not known yet"):
                await nodes.ready(soon())
            assert counters.store_unavailable == n
        assert not await nodes.answer(soon())
    async with fakes(1) as (node,), nodes_of([node.port]) as (nodes, _):
        node.hung = True
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailableError, match="not known yet"):
            await nodes.ready(began + 0.05)
        assert asyncio.get_running_loop().time() < began + 0.5
        assert nodes._look is not None
        assert not nodes._look.done()  # it goes on for others; close() ends it


async def test_failures_cause_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many reads fail, the topology is asked for once in an interval, and each failure is counted once."""
    monkeypatch.setattr(redis_nodes, "LOOK_INTERVAL_S", 3600)
    async with fakes(2) as (node, gone), nodes_of([node.port]) as (nodes, counters):
        await nodes.ready(soon())
        gone.hung = True
        nodes._next_look = 0.0
        reads = [nodes.reader(gone.name).read(KEYS, soon() - WAIT_S + 0.05) for _ in range(10)]
        results = await asyncio.gather(*reads, return_exceptions=True)
        assert {type(e) for e in results} == {StoreUnavailableError}
        await eventually(lambda: node.looks() == 2)
        assert counters.store_unavailable == 10


async def test_a_node_that_left_is_let_go() -> None:
    """After a look its connections are closed, and its name gets a new reader if it returns."""
    async with fakes(2) as (old, new), nodes_of([old.port, new.port]) as (nodes, _):
        old.slots = new.slots = slots_reply((ALL, old.port))
        await nodes.ready(soon())
        reader = nodes.reader(old.name)
        await reader.read(KEYS, soon())
        assert old.server.peers
        old.slots = new.slots = slots_reply((ALL, new.port))
        nodes._next_look = 0.0
        nodes._look_soon()
        await eventually(lambda: nodes.nodes() == {new.name} and nodes._look is not None and nodes._look.done())
        await eventually(lambda: reader.pool.is_empty)
        with pytest.raises(StoreUnavailableError):
            await reader.read(KEYS, soon())
        assert nodes.reader(old.name) is not reader
        await nodes._learn("")
        await eventually(lambda: not nodes._retired or all(store.pool.is_empty for store in nodes._retired))


async def test_keys_that_no_node_has_are_counted_and_looked_for() -> None:
    """They are listed apart, and the topology is asked for again."""
    async with fakes(1) as (node,), nodes_of([node.port]) as (nodes, counters):
        node.slots = slots_reply(((0, 5), node.port))
        await nodes.ready(soon())
        nodes._next_look = 0.0
        assert nodes.route(KEYS) == ({}, sorted(range(len(KEYS))))
        assert counters.store_unavailable == 1
        await eventually(lambda: node.looks() == 2)


async def test_health_is_that_of_every_node() -> None:
    """A cluster answers if each node that has slots does; one that does not makes it look who has taken its place."""
    async with fakes(3) as (first, second, third), nodes_of([first.port]) as (nodes, counters):
        first.slots = slots_reply(((0, 8_000), first.port), ((8_001, 16_383), second.port))
        assert await nodes.answer(soon())
        second.hung = True
        first.slots = slots_reply(((0, 8_000), first.port), ((8_001, 16_383), third.port))
        nodes._next_look = 0.0
        assert not await nodes.answer(soon() - WAIT_S + 0.05)
        await eventually(lambda: third.name in nodes.nodes())
        assert await nodes.answer(soon())
        assert counters.store_unavailable == 0


async def test_only_some_slots_may_fail() -> None:
    """Rows of commands that Redis refuses are UNREAD; where it refuses all of them, nothing was read."""
    async with fakes(1) as (node,), nodes_of([node.port]) as (nodes, counters):
        refused = 1

        async def answer(peer: Peer, command: Command) -> None:
            nonlocal refused
            if command[0] == b"MGET" and refused:
                refused -= 1
                peer.say(b"-CLUSTERDOWN Hash slot not served\r\n")
            else:
                await node.answer(peer, command)

        node.server.answer = answer
        row = str(node.port).encode()
        rows = await nodes.reader(node.name).read(KEYS, soon())
        assert [r == row for r in rows] == [False] + [True] * (len(KEYS) - 1)
        assert counters.store_unavailable == 1
        refused = len(KEYS)
        with pytest.raises(StoreUnavailableError):
            await nodes.reader(node.name).read(KEYS, soon())
        assert counters.store_unavailable == 2


@pytest.mark.parametrize("said", [b"+OK\r\n", b"*1\r\n$1\r\nx\r\n", b"*0\r\n"])
async def test_what_is_no_reply_to_mget_is_not_taken_for_rows(said: bytes) -> None:
    """Rows are never put under the wrong keys, whatever comes: such a read is UNREAD, or fails as a whole."""
    keys = [key for one in KEYS[:3] for key in (one, one.replace(b":x:", b":y:"))]
    async with fakes(1) as (node,), nodes_of([node.port]) as (nodes, counters):
        strange = [said, said, said, b"-CLUSTERDOWN\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", said]

        async def answer(peer: Peer, command: Command) -> None:
            if command[0] == b"MGET":
                peer.say(strange.pop(0))
            else:
                await node.answer(peer, command)

        node.server.answer = answer
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await nodes.reader(node.name).read(keys[:4], soon())
        strange.insert(0, b"-CLUSTERDOWN\r\n")
        rows = await nodes.reader(node.name).read(keys, soon())
        assert rows == [UNREAD, UNREAD, b"a", b"b", UNREAD, UNREAD]
        assert counters.store_unavailable == 3


async def test_keys_of_one_tag_are_one_command_however_they_come() -> None:
    """Keys that gathered from many calls are sorted by hash tag: one MGET for each, and each key gets its own row."""
    keys = [f"fs:{{{i % 3}}}:user:{i}:v1".encode() for i in range(12)]

    async def echo(peer: Peer, command: Command) -> None:
        if command[0] == b"MGET":
            rows = b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in command[1:])
            peer.say(b"*%d\r\n%b" % (len(command) - 1, rows))
        else:
            await node.answer(peer, command)

    async with fakes(1) as (node,), nodes_of([node.port]) as (nodes, _):
        node.server.answer = echo
        await nodes.ready(soon())
        assert await nodes.reader(node.name).read(keys, soon()) == keys
        reads = [command for command in node.server.commands if command[0] == b"MGET"]
        assert [sorted(read[1:]) for read in reads] == [sorted(keys[i::3]) for i in range(3)]
