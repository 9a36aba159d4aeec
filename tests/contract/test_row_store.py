"""Rows that the writer writes are read back, from every Redis that recsvc serves from; and what if they cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import numpy as np
import pytest
import uvloop
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import RedisError

from recsvc import INT64, STRING, Entity, Feature, FeatureView, Registry
from recsvc.errors import StoreUnavailableError
from recsvc.online import redis_writer
from recsvc.online.answer import UNREAD, Row
from recsvc.online.keys import KeyMaker
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_eraser import RedisEraser
from recsvc.online.redis_open import OpenRedis, open_redis
from recsvc.online.redis_writer import WriteResult
from recsvc.online.row import RowCodec
from recsvc.registry.schema import Schema
from recsvc.telemetry.counters import Counters
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import free_port, running_redis
from tests.parts.rows import StoreRows
from tests.parts.topologies import PASSWORD, Endpoint, cluster, unix_socket
from tests.parts.waiting import eventually

SETTINGS = ConnectionSettings(connect_timeout_s=2.0)
GetEndpoint = Callable[[str], Endpoint]
USER = Entity("user", "user_id")
ITEM = Entity("item", "item_id", spread=32)
FEATURES = [Feature("n", INT64), Feature("s", STRING[16])]
PROFILE = FeatureView("profile", [USER], FEATURES, freshness=timedelta(hours=8))
FILM = FeatureView("film", [ITEM], FEATURES)
RATED = FeatureView("rated", [USER, ITEM], FEATURES)
CODEC = RowCodec(Schema.of(FEATURES))
NOW = 1_800_000_000_000_000
WAIT_S = 5.0
"""What a read may take that must succeed, on a slow machine."""
PAUSE_MS = 600
"""How long a server is made to hang; Sentinels would take it for dead after a second."""
CONNECTIONS = 4


def counters() -> Counters:
    """Return fresh counters."""
    return Counters(monotonic=time.monotonic)


@contextlib.asynccontextmanager
async def reading(store: OpenRedis, counts: Counters | None = None) -> AsyncIterator[StoreRows]:
    """Yield what reads rows of the store."""
    async with store.reader(counts or counters(), connections=CONNECTIONS) as opened:
        yield StoreRows(opened)


def rows_of(n: int) -> list[bytes]:
    """Return n different rows, with bytes of all kinds in them."""
    times = np.full(n, NOW)
    texts = [f"{i}\0\r\n{chr(0x1F600 + i % 64)}".encode() for i in range(n)]
    return CODEC.encode(times, times, [(np.arange(n) - n // 2, None), (texts, None)])


def keys_of(view: FeatureView, *columns: list[str]) -> list[bytes]:
    """Return the keys of rows of a view."""
    return KeyMaker(view).keys(columns)


async def written(store: OpenRedis, view: FeatureView, keys: list[bytes]) -> list[bytes]:
    """Write a row under each key, whatever is there."""
    rows = rows_of(len(keys))
    assert await store.writer().write(view, keys, rows, force=True) == WriteResult(len(keys), 0)
    return rows


async def test_rows_come_in_the_order_asked(store_endpoint: Endpoint) -> None:
    """Rows of users, of items and of pairs come back as written, each in its place, in whatever order one asks."""
    ids = [f"{i} é:{{{i}}}" for i in range(50)]
    keys = [(PROFILE, keys_of(PROFILE, ids)), (FILM, keys_of(FILM, ids)), (RATED, keys_of(RATED, ["7"] * 50, ids))]
    stored: dict[bytes, bytes] = {}
    async with open_redis(store_endpoint.admin_url, SETTINGS) as admin:
        for view, its in keys:
            await admin.writer().prepare(view, Schema.of(view.features))
            stored |= dict(zip(its, await written(admin, view, its), strict=True))
    order = sorted(stored, key=lambda k: k[::-1])
    async with open_redis(store_endpoint.url, SETTINGS) as store, reading(store) as reader:
        assert await reader.read(order, WAIT_S) == [stored[k] for k in order]
        assert await reader.read(order[::-1], WAIT_S) == [stored[k] for k in order[::-1]]
        assert await reader.read(order[:1], WAIT_S) == [stored[order[0]]]


async def test_a_row_that_there_is_not_is_none(store_endpoint: Endpoint) -> None:
    """Missing rows stand between those that there are; a key of another kind of value is no row."""
    keys = keys_of(PROFILE, ["there", "gone", "never", "too"])
    async with open_redis(store_endpoint.admin_url, SETTINGS) as admin:
        rows = await written(admin, PROFILE, [keys[0], keys[3]])
        await admin.client.delete(keys[1])
        await admin.client.delete(keys[2])
        await admin.client.hset(keys[2].decode(), "a", "b")
    async with open_redis(store_endpoint.url, SETTINGS) as store, reading(store) as reader:
        assert await reader.read(keys, WAIT_S) == [rows[0], None, None, rows[1]]
        assert await reader.read(keys[1:3], WAIT_S) == [None, None]
    async with open_redis(store_endpoint.admin_url, SETTINGS) as admin:
        await admin.client.delete(keys[2])


async def test_five_thousand_rows_are_read_at_once(store_endpoint: Endpoint) -> None:
    """As many rows as one call may need, of spread items and of users, come in one read."""
    items, users = keys_of(FILM, [f"m{i}" for i in range(2_500)]), keys_of(PROFILE, [f"m{i}" for i in range(2_500)])
    async with open_redis(store_endpoint.admin_url, SETTINGS) as admin:
        stored = dict(zip(items, await written(admin, FILM, items), strict=True))
        stored |= dict(zip(users, await written(admin, PROFILE, users), strict=True))
    mixed = [k for pair in zip(items, users, strict=True) for k in pair]
    async with open_redis(store_endpoint.url, SETTINGS) as store, reading(store) as reader:
        assert await reader.read(mixed, WAIT_S) == [stored[k] for k in mixed]


async def test_reads_in_flight_do_not_mix(store_endpoint: Endpoint) -> None:
    """Forty reads at once, on few connections, each get their own rows."""
    keys = keys_of(PROFILE, [f"c{i}" for i in range(200)])
    async with open_redis(store_endpoint.admin_url, SETTINGS) as admin:
        stored = dict(zip(keys, await written(admin, PROFILE, keys), strict=True))
    async with open_redis(store_endpoint.url, SETTINGS) as store, reading(store) as reader:
        picks = [keys[i : i + 60 : 3] for i in range(40)]
        answers = await asyncio.gather(*(reader.read(p, WAIT_S) for p in picks))
    assert answers == [[stored[k] for k in p] for p in picks]


async def test_rows_written_while_open_are_seen(store_endpoint: Endpoint) -> None:
    """A reader sees a row as soon as it is written, and the later one as soon as it is replaced."""
    (key,) = keys_of(PROFILE, ["fresh"])
    first, second = rows_of(2)
    async with (
        open_redis(store_endpoint.admin_url, SETTINGS) as admin,
        open_redis(store_endpoint.url, SETTINGS) as store,
        reading(store) as reader,
    ):
        await admin.client.delete(key)
        assert await reader.read([key], WAIT_S) == [None]
        for row in (first, second):
            await admin.writer().write(PROFILE, [key], [row], force=True)
            assert await reader.read([key], WAIT_S) == [row]


@pytest.mark.parametrize("name", ["redis-8.2", "cluster"])
async def test_nothing_waits_for_ever_for_a_server_that_hangs(
    name: str, redis_endpoint: GetEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preparing, writing and erasing end with one error of ours that says so."""
    monkeypatch.setattr(redis_writer, "ANSWER_TIMEOUT_S", 0.1)
    keys = keys_of(PROFILE, [f"w{i}" for i in range(50)])
    async with open_redis(redis_endpoint(name).url, SETTINGS) as store:
        eraser = RedisEraser(store.client, store.writer(), Registry(views=[PROFILE]), now_micros=lambda: NOW)
        nodes = store.client.get_primaries() if isinstance(store.client, RedisCluster) else [store.client]
        for call in (
            lambda: store.writer().prepare(PROFILE, Schema.of(FEATURES)),
            lambda: store.writer().write(PROFILE, keys, rows_of(50)),
            lambda: eraser.erase(USER, "w1"),
        ):
            for node in nodes:
                await node.execute_command("CLIENT", "PAUSE", PAUSE_MS)
            with pytest.raises(StoreUnavailableError, match=r"no answer within 0\.1 s"):
                await call()
            await eventually(lambda: store.answers(WAIT_S))


SINGLE = ["redis-6.2", "redis-7.0", "redis-8.2", "unix", "tls", "sentinel"]


@pytest.mark.parametrize("name", SINGLE)
async def test_a_server_that_hangs_is_unavailable_in_time(name: str, redis_endpoint: GetEndpoint) -> None:
    """A read ends at its timeout with one error of ours and is counted; afterwards nothing of it is left over."""
    (key,) = keys_of(PROFILE, ["hung"])
    counts = counters()
    async with open_redis(redis_endpoint(name).url, SETTINGS) as store, reading(store, counts) as reader:
        (row,) = await written(store, PROFILE, [key])
        await store.client.execute_command("CLIENT", "PAUSE", PAUSE_MS)
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="did not answer"):
            await reader.read([key], 0.05)
        assert time.monotonic() - began < PAUSE_MS / 1000
        assert counts.store_unavailable == 1
        assert await reader.read([key], WAIT_S) == [row]


async def test_reads_wait_for_a_connection_no_longer_than_their_timeout(redis_endpoint: GetEndpoint) -> None:
    """More reads than connections behind a server that hangs all end at their timeouts."""
    (key,) = keys_of(PROFILE, ["queued"])
    counts = counters()
    async with open_redis(redis_endpoint("redis-8.2").url, SETTINGS) as store, reading(store, counts) as reader:
        await store.client.execute_command("CLIENT", "PAUSE", PAUSE_MS)
        began = time.monotonic()
        reads = [reader.read([key], 0.1) for _ in range(3 * CONNECTIONS)]
        ends = await asyncio.gather(*reads, return_exceptions=True)
        assert time.monotonic() - began < PAUSE_MS / 1000
        assert {type(e) for e in ends} == {StoreUnavailableError}
        assert counts.store_unavailable == 3 * CONNECTIONS
        await reader.read([key], WAIT_S)


async def test_a_server_that_is_gone_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Refused connections are one error of ours, for reads and for writes, without the address in its text."""
    with unix_socket() as endpoint:
        async with open_redis(endpoint.url, SETTINGS) as store, reading(store) as reader:
            (key,) = keys_of(PROFILE, ["x"])
            await written(store, PROFILE, [key])
            with contextlib.suppress(RedisError):
                await store.client.execute_command("SHUTDOWN", "NOSAVE")
            for _ in range(2):
                with pytest.raises(StoreUnavailableError) as caught:
                    await reader.read([key], WAIT_S)
                assert str(caught.value) == "the store did not answer"
            with pytest.raises(StoreUnavailableError, match="writing to the store failed"):
                await store.writer().write(PROFILE, [key], rows_of(1))


async def test_a_server_that_comes_back_is_used_again() -> None:
    """After a restart the next read is answered, without a new client."""
    server, port = redis_server(REDIS_8_2), free_port()
    options = {"port": port, "bind": "127.0.0.1"}
    (key,) = keys_of(PROFILE, ["x"])
    async with contextlib.AsyncExitStack() as stack:
        with running_redis(server, options):
            opened = open_redis(f"redis://127.0.0.1:{port}", SETTINGS, required=False)
            await eventually(lambda: _listens(port))
            store = await stack.enter_async_context(opened)
            reader = await stack.enter_async_context(reading(store))
            assert await reader.read([key], WAIT_S) == [None]
        with pytest.raises(StoreUnavailableError):
            await reader.read([key], WAIT_S)
        with running_redis(server, options):
            await eventually(lambda: store.answers(0.5))
            assert await reader.read([key], WAIT_S) == [None]


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.fixture(scope="module")
def lost_cluster() -> Iterator[Endpoint]:
    """A Cluster of its own, for tests that take nodes from it."""
    with cluster() as endpoint:
        yield endpoint


def node_of(store: OpenRedis, key: bytes) -> str:
    """Return the name of the node that has a key."""
    assert isinstance(store.client, RedisCluster)
    node = store.client.get_node_from_key(key.decode())
    assert node is not None
    return str(node.name)


async def test_a_cluster_node_that_hangs_costs_its_own_rows(redis_endpoint: GetEndpoint) -> None:
    """Rows of a node that hangs are UNREAD at the timeout, others are answered, and health is bad; then all is well."""
    keys = keys_of(PROFILE, [f"h{i}" for i in range(60)])
    counts = counters()
    async with open_redis(redis_endpoint("cluster").url, SETTINGS) as store, reading(store, counts) as reader:
        stored = dict(zip(keys, await written(store, PROFILE, keys), strict=True))
        assert isinstance(store.client, RedisCluster)
        hung = node_of(store, keys[0])
        node = store.client.get_node(node_name=hung)
        assert node is not None
        await node.execute_command("CLIENT", "PAUSE", PAUSE_MS)
        began = time.monotonic()
        rows = await reader.read(keys, 0.15)
        assert time.monotonic() - began < PAUSE_MS / 1000
        expected: list[Row] = [UNREAD if node_of(store, k) == hung else stored[k] for k in keys]
        assert rows == expected
        assert 0 < sum(r is UNREAD for r in rows) < 60
        assert counts.store_unavailable == 1
        assert not await store.answers(0.1)
        assert await reader.read(keys, WAIT_S) == [stored[k] for k in keys]
        assert await store.answers(WAIT_S)


async def test_a_cluster_that_loses_nodes_answers_what_it_can(lost_cluster: Endpoint) -> None:
    """A stopped node costs its own rows; who never knew the nodes is told so."""
    settings = ConnectionSettings(connect_timeout_s=0.5)
    async with open_redis(lost_cluster.url, settings) as store:
        assert isinstance(store.client, RedisCluster)
        for node in store.client.get_primaries():
            await node.execute_command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        keys = keys_of(PROFILE, [f"l{i}" for i in range(60)])
        stored = dict(zip(keys, await written(store, PROFILE, keys), strict=True))
        homes = {k: node_of(store, k) for k in keys}
        counts = counters()
        async with reading(store, counts) as reader:
            gone: set[str] = set()
            for node in store.client.get_primaries():
                gone.add(str(node.name))
                with contextlib.suppress(RedisError):
                    await node.execute_command("SHUTDOWN", "NOSAVE")
                for _ in range(3):
                    rows = await reader.read(keys, WAIT_S)
                    assert rows == [UNREAD if homes[k] in gone else stored[k] for k in keys]
        assert counts.store_unavailable >= 9
        with pytest.raises(StoreUnavailableError, match="writing to the store failed"):
            await store.writer().write(PROFILE, keys, rows_of(60))
    async with open_redis(lost_cluster.url, settings, required=False) as store, reading(store) as reader:
        with pytest.raises(StoreUnavailableError, match="not known yet"):
            await reader.read(keys, WAIT_S)


@contextlib.asynccontextmanager
async def replica_of(store: OpenRedis, primary: ClusterNode) -> AsyncIterator[None]:
    """Add a replica of a node to its cluster, until it has all of its rows."""
    port = free_port()
    options = {
        "port": port,
        "bind": "127.0.0.1",
        "requirepass": PASSWORD,
        "masterauth": PASSWORD,
        "cluster-enabled": "yes",
        "cluster-port": free_port(),
        "cluster-node-timeout": 1000,
        "repl-diskless-sync-delay": 0,
    }
    identity = (await primary.execute_command("CLUSTER", "MYID")).decode()
    with running_redis(redis_server(REDIS_8_2), options):
        await eventually(lambda: _listens(port))
        async with contextlib.aclosing(Redis(port=port, password=PASSWORD)) as replica:
            await replica.execute_command("CLUSTER", "MEET", primary.host, primary.port, await _bus_port(primary))
            await eventually(lambda: _done(replica, "CLUSTER", "REPLICATE", identity), 30)
            await eventually(lambda: _is_in_sync(replica), 30)
        yield


async def _bus_port(node: ClusterNode) -> int:
    """Return the port on which a node speaks with others of its cluster."""
    port: bytes = (await node.execute_command("CONFIG", "GET", "cluster-port"))[1]
    return int(port)


async def _done(server: Redis, *command: str) -> bool:
    try:
        await server.execute_command(*command)
    except RedisError:
        return False
    return True


async def _is_in_sync(replica: Redis) -> bool:
    return (await replica.info("replication")).get("master_link_status") == "up"


async def test_a_replica_that_takes_over_is_read_from() -> None:
    """After a node has died and its replica has taken its place, its rows are answered, without a new client."""
    with cluster() as endpoint:
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_redis(endpoint.url, SETTINGS))
            assert isinstance(store.client, RedisCluster)
            keys = keys_of(PROFILE, [f"f{i}" for i in range(60)])
            stored = await written(store, PROFILE, keys)
            primary = store.client.get_node(node_name=node_of(store, keys[0]))
            assert primary is not None
            await stack.enter_async_context(replica_of(store, primary))
            reader = await stack.enter_async_context(reading(store))
            assert await reader.read(keys, WAIT_S) == stored
            with contextlib.suppress(RedisError):
                await primary.execute_command("SHUTDOWN", "NOSAVE")

            async def all_there() -> bool:
                return await reader.read(keys, 0.2) == stored

            assert not await all_there()
            await eventually(all_there, 30)
            assert await store.answers(WAIT_S)
            assert reader.store.router is not None
            assert primary.name not in reader.store.router.nodes()


async def test_slots_that_move_are_followed(redis_endpoint: GetEndpoint) -> None:
    """Rows of a slot that went to another node, or is on its way there, are found for as long as that lasts."""
    (key, other) = keys_of(PROFILE, ["moves"]) + keys_of(FeatureView("other", [USER], FEATURES), ["moves"])
    async with open_redis(redis_endpoint("cluster").url, SETTINGS) as store, reading(store) as reader:
        client = store.client
        assert isinstance(client, RedisCluster)
        rows = await written(store, PROFILE, [key]) + await written(store, PROFILE, [other])
        slot = client.keyslot(key)
        source = client.get_node_from_key(key.decode())
        assert source is not None
        target = next(n for n in client.get_primaries() if n.name != source.name)
        names = {n.name: (await n.execute_command("CLUSTER", "MYID")).decode() for n in (source, target)}
        for end, begin in ((target, source), (source, target)):  # there, and back again for the other tests
            await end.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[begin.name])
            await begin.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[end.name])
            assert await reader.read([key, other], WAIT_S) == rows
            for each in (key, other):
                await begin.execute_command("MIGRATE", end.host, end.port, each, 0, 2_000, "AUTH", PASSWORD)
            assert await reader.read([key, other], WAIT_S) == rows
            for node in client.get_primaries():
                await node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[end.name])
            assert await reader.read([key, other], WAIT_S) == rows
            assert await store.writer().write(PROFILE, [key], [rows[0]], force=True) == WriteResult(1, 0)


async def test_stores_show_their_state(redis_endpoint: GetEndpoint) -> None:
    """repr() says how many connections are open and busy, and of a cluster how many tags it knows, and its nodes."""
    async with open_redis(redis_endpoint("redis-8.2").url, SETTINGS) as store, reading(store) as reader:
        assert reader.store.single is not None
        assert reader.store.single.refuses() is None
        assert await reader.read([], WAIT_S) == []
        assert repr(reader.store.single) == "RedisRowStore(ChannelPool(0 busy, 0 idle, 0 opening, limit 4))"
        await reader.read([b"fs:{a}:user:x:v1"], WAIT_S)
        assert repr(reader.store.single) == "RedisRowStore(ChannelPool(0 busy, 1 idle, 0 opening, limit 4))"
    async with open_redis(redis_endpoint("cluster").url, SETTINGS) as store, reading(store) as reader:
        (key,) = keys_of(PROFILE, ["a"])
        await reader.read([key], WAIT_S)
        shown = repr(reader.store.router)
        assert shown.startswith("ClusterNodes(SlotMap(3 nodes, TagSlots(1 tags)), [RedisNodeStore(")
        assert f"RedisNodeStore({node_of(store, key)}, ChannelPool(0 busy, 1 idle, 0 opening, limit 4))" in shown


async def test_connections_that_were_closed_while_idle_cost_nothing(store_endpoint: Endpoint) -> None:
    """After every node has closed all its connections, the next reads are answered all the same."""
    keys = [f"fs:{{{i}}}:user:gone:v1".encode() for i in range(50)]
    counts = counters()
    async with open_redis(store_endpoint.url, SETTINGS) as opened, reading(opened, counts) as reader:
        await asyncio.gather(*(reader.read(keys, 5.0) for _ in range(CONNECTIONS)))
        assert "idle" in repr(reader.store)
        async with open_redis(store_endpoint.admin_url, SETTINGS) as admin:
            where = {"target_nodes": "primaries"} if isinstance(admin.client, RedisCluster) else {}
            await admin.client.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes", **where)
        await eventually(lambda: " 0 idle" in repr(reader.store))
        for _ in range(2 * CONNECTIONS):
            assert set(await reader.read(keys, 5.0)) == {None}
    assert counts.store_unavailable == 0


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_reply_that_is_there_counts_although_its_time_is_over(
    loop: Callable[[], asyncio.AbstractEventLoop], redis_endpoint: GetEndpoint
) -> None:
    """Where this process was held up, the timer and the reply are found together, and the reply wins."""
    keys = keys_of(PROFILE, ["late"])

    async def read_while_held_up() -> None:
        async with open_redis(redis_endpoint("redis-8.2").url, SETTINGS) as store, reading(store) as reader:
            await reader.read(keys, WAIT_S)
            read = asyncio.create_task(reader.read(keys, 0.05))
            await asyncio.sleep(0)  # now it is sent
            began = time.monotonic()
            while time.monotonic() < began + 0.2:
                pass
            assert len(await read) == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(read_while_held_up())
