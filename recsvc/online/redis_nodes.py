"""The nodes of a cluster as far as rows are read from them: who has which slots now, and a reader for each node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisClusterException, SlotNotCoveredError

from recsvc.errors import StoreUnavailableError
from recsvc.online.redis_cluster import ClusterRouter
from recsvc.online.redis_dial import TcpDialer
from recsvc.online.redis_pool import FAILURES, ChannelPool
from recsvc.online.redis_store import RedisNodeStore, reason

if TYPE_CHECKING:
    from redis.asyncio import RedisCluster

    from recsvc.online.answer import Row
    from recsvc.telemetry.counters import Counters

TOPOLOGY_TIMEOUT_S: Final = 1.0
"""How long one look for the topology may take: a node that hangs must not keep us from asking others."""
TOPOLOGY_INTERVAL_S: Final = 0.2
"""How long after the beginning of one look the next may begin."""
WHOLE: Final = "redis cluster"
"""The place of failures that are no single node's."""


class ClusterNodes:
    """Routes keys to nodes, has a reader for each, on at most ``connections``, and learns when slots have moved."""

    def __init__(self, client: RedisCluster, counters: Counters, *, connections: int) -> None:
        self._client = client
        self._counters = counters
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._router = ClusterRouter(client)
        self._stores: dict[str, RedisNodeStore] = {}
        self._retired: list[RedisNodeStore] = []
        self._look: asyncio.Task[None] | None = None
        self._next_look = 0.0

    def __repr__(self) -> str:
        return f"ClusterNodes({self._router!r}, {list(self._stores.values())})"

    def route(self, keys: Sequence[bytes]) -> tuple[dict[str, list[int]], list[int]] | None:
        """Return node names with the indices of their keys, and the indices of keys whose slot no node has.

        None where the topology is not known yet: ``ready`` learns it.
        """
        if not self._client.nodes_manager.slots_cache:
            return None
        nodes, uncovered = self._router.route(keys)
        if uncovered:
            self._failed(WHOLE, SlotNotCoveredError())
        return nodes, uncovered

    async def ready(self, until: float) -> None:
        """Learn the topology where it is not known yet. Raises StoreUnavailableError."""
        if self._client.nodes_manager.slots_cache:
            return
        look = self._look_soon()
        if look is not None:
            await asyncio.wait([look], timeout=until - self._loop.time())
        if not self._client.nodes_manager.slots_cache:
            self._counters.unavailable(WHOLE, "unknown topology")
            raise StoreUnavailableError("the nodes of the store are not known yet")

    def nodes(self) -> frozenset[str]:
        """Return the names of the nodes that have slots."""
        return frozenset(node.name for node in self._client.get_primaries())

    def reader(self, name: str) -> RedisNodeStore:
        """Return the reader of the node ``name``, HOST:PORT; the same for as long as the node has slots."""
        store = self._stores.get(name)
        if store is None:
            store = self._stores[name] = self._store(name)
        return store

    async def close(self) -> None:
        """End what is under way, and close all connections."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
        await asyncio.gather(*(store.pool.close() for store in [*self._stores.values(), *self._retired]))

    def _store(self, name: str) -> RedisNodeStore:
        host, _, port = name.rpartition(":")
        kwargs = self._client.nodes_manager.connection_kwargs
        dialer = TcpDialer(host, int(port), kwargs["handshake"], kwargs.get("tls"))
        return RedisNodeStore(name, ChannelPool(dialer, limit=self._connections), self._follow, self._failed)

    async def _follow(self, keys: Sequence[bytes]) -> Sequence[Row]:
        self._look_soon()
        rows: Sequence[Row] = await self._client.mget_nonatomic(keys)
        return rows

    def _failed(self, place: str, error: BaseException) -> None:
        """Count what did not answer, and look whether the cluster has moved its slots."""
        self._counters.unavailable(place, reason(error))
        self._look_soon(place)

    def _look_soon(self, failed: str | None = None) -> asyncio.Task[None] | None:
        """Begin to learn the topology, unless it was tried a moment ago; return the look that is under way."""
        if self._look is None or self._look.done():
            now = self._loop.time()
            if now < self._next_look:
                return None
            self._next_look = now + TOPOLOGY_INTERVAL_S
            self._look = self._loop.create_task(self._learn(failed))
        return self._look

    async def _learn(self, failed: str | None) -> None:
        manager = self._client.nodes_manager
        for node in self._client.startup_nodes:  # redis-py forgets those of the URL, and addresses may all be new
            manager.startup_nodes.setdefault(node.name, node)
        # What fails is not counted: the reads that led here are. IndexError: a node that knows of no slots.
        with contextlib.suppress(*FAILURES, RedisClusterException, IndexError):
            async with asyncio.timeout(TOPOLOGY_TIMEOUT_S):
                await manager.initialize(last_failed_node_name=failed)
        self._drop_others()

    def _drop_others(self) -> None:
        """Let go of nodes that have no slots any more."""
        self._retired = [store for store in self._retired if not store.pool.is_empty]
        for name in self._stores.keys() - self.nodes():
            store = self._stores.pop(name)
            store.pool.retire()
            self._retired.append(store)
