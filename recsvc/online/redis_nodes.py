"""The nodes of a cluster as far as rows are read from them: who has which slots now, and a reader for each node."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis.exceptions import ResponseError, SlotNotCoveredError

from recsvc.errors import StoreUnavailableError
from recsvc.online.redis_dial import TcpDialer
from recsvc.online.redis_moved import Follower
from recsvc.online.redis_pool import FAILURES, ChannelPool, reason
from recsvc.online.redis_slots import SLOTS, SlotMap
from recsvc.online.redis_store import RedisNodeStore, usage
from recsvc.telemetry import metrics as m
from recsvc.telemetry.hop import CURRENT

if TYPE_CHECKING:
    from redis.asyncio import RedisCluster
    from redis.asyncio.cluster import ClusterNode

    from recsvc.telemetry.counters import Counters

log = logging.getLogger(__name__)

LOOK_TIMEOUT_S: Final = 1.0
"""How long one look for the topology may take."""
LOOK_PATIENCE_S: Final = 0.05
"""How long a look for the topology may take before reads no longer wait for it."""
LOOK_INTERVAL_S: Final = 0.2
"""How long after the beginning of one look the next may begin."""
PATIENCE_S: Final = 0.03
"""After which time the next node is asked as well."""
MOST_ASKED: Final = 10
"""How many nodes one look asks at most."""
WHOLE: Final = "redis cluster"
"""The place of failures that are no single node's."""
_CLUSTER_SLOTS: Final = hiredis.pack_command(("CLUSTER", "SLOTS"))  # type: ignore[arg-type]  # its stub takes one argument only
_PING: Final = b"*1\r\n$4\r\nPING\r\n"


class ClusterNodes:
    """Routes keys to nodes, has a reader for each, on at most ``connections``, and learns when slots have moved.

    Of redis-py's client it takes how connections are made, the nodes of the URL, and what it has learned so far.
    """

    def __init__(self, client: RedisCluster, counters: Counters, *, connections: int) -> None:
        self._kwargs: Mapping[str, Any] = client.nodes_manager.connection_kwargs
        self._first = tuple(node.name for node in client.startup_nodes)
        self._counters = counters
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._slots = SlotMap()
        known: Mapping[int, Sequence[ClusterNode]] = client.nodes_manager.slots_cache
        if known:
            self._slots.adopt([known[slot][0].name if slot in known else None for slot in range(SLOTS)])
        self._stores: dict[str, RedisNodeStore] = {}
        self._retired: list[RedisNodeStore] = []
        self._look: asyncio.Task[None] | None = None
        self._looked_at = -math.inf
        self._next_look = 0.0
        self._turn = 0
        counters.metrics[m.CONNECTIONS].observe(lambda: usage({n: s.pool for n, s in self._stores.copy().items()}))

    def __repr__(self) -> str:
        return f"ClusterNodes({self._slots!r}, {list(self._stores.values())})"

    def route(self, keys: Sequence[bytes]) -> tuple[dict[str, list[int]], list[int]] | None:
        """Return node names with the indices of their keys, and the indices of keys whose slot no node has.

        None where the topology is not known yet: ``ready`` learns it.
        """
        if not self._slots.known:
            return None
        nodes, nowhere = self._slots.route(keys)
        if nowhere:
            self._failed(WHOLE, SlotNotCoveredError())
        return nodes, nowhere

    async def ready(self, until: float) -> None:
        """Learn the topology where it is not known yet. Raises StoreUnavailableError.

        Who comes to a look that takes long already does not wait for it: nobody answers.
        """
        if not self._slots.known:
            look = self._look_soon()
            if self._loop.time() < self._looked_at + LOOK_PATIENCE_S:
                await self._wait_for(look, until)
        if not self._slots.known:
            self._counters.unavailable(WHOLE, "its nodes are not known")
            raise StoreUnavailableError("the nodes of the store are not known yet")

    def nodes(self) -> frozenset[str]:
        """Return the names of the nodes that have slots."""
        return self._slots.nodes

    def reader(self, name: str) -> RedisNodeStore:
        """Return the reader of the node ``name``, HOST:PORT; the same for as long as the node has slots."""
        store = self._stores.get(name)
        if store is None:
            host, _, port = name.rpartition(":")
            dialer = TcpDialer(host, int(port), self._kwargs["handshake"], self._kwargs.get("tls"))
            pool = ChannelPool(dialer, limit=self._connections, calls=self._counters.calls)
            store = RedisNodeStore(name, pool, Follower(name, self._ask, self._moved), self._failed)
            self._stores[name] = store
        return store

    async def answer(self, until: float) -> bool:
        """Whether every node that has slots answers a PING by ``until``."""
        if not self._slots.known:
            await self._wait_for(self._look_soon(), until)
        answers = await asyncio.gather(*(self._answers(name, until) for name in self._slots.nodes))
        return bool(answers) and all(answers)

    async def close(self) -> None:
        """End what is under way, and close all connections."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
        await asyncio.gather(*(store.pool.close() for store in [*self._stores.values(), *self._retired]))

    async def _ask(self, name: str, commands: bytes, count: int, until: float, operation: str = "MGET") -> list[Any]:
        return await self.reader(name).pool.ask(commands, count, until, operation)

    def _moved(self, slot: int, name: str) -> None:
        self._slots.move(slot, name)
        self._look_soon()

    def _failed(self, place: str, error: BaseException) -> None:
        """Count what did not answer, and look whether the cluster has moved its slots."""
        self._counters.unavailable(place, reason(error))
        self._look_soon(place)

    def _look_soon(self, failed: str = "") -> asyncio.Task[None] | None:
        """Begin to learn the topology, unless that was tried a moment ago; return the look that is under way."""
        if self._look is None or self._look.done():
            now = self._loop.time()
            if now < self._next_look:
                return None
            self._looked_at = now
            self._next_look = now + LOOK_INTERVAL_S
            self._look = self._loop.create_task(self._learn(failed))
            self._look.add_done_callback(self._looked)
        return self._look

    def _looked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a look for the topology failed for a reason nobody thought of", exc_info=error)

    async def _wait_for(self, look: asyncio.Task[None] | None, until: float) -> None:
        if look is not None:  # it goes on in any case: others may wait for it
            await asyncio.wait([look], timeout=until - self._loop.time())

    async def _learn(self, failed: str) -> None:
        """Ask one node after another, the one that failed last; the next one too where one takes its time."""
        CURRENT.set(None)  # it is not for the call that noticed, nor over when that is
        until = self._loop.time() + LOOK_TIMEOUT_S
        asked: set[asyncio.Task[bool]] = set()
        names = self._in_turn(failed)
        learned = False
        try:
            while (names or asked) and not learned:
                if names:
                    asked.add(self._loop.create_task(self._learn_from(names.pop(0), until)))
                patience = PATIENCE_S if names else None
                done, asked = await asyncio.wait(asked, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                learned = any(task.result() for task in done)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        self._drop_others()

    def _in_turn(self, failed: str) -> list[str]:
        """Return whom to ask, beginning with another one each time."""
        names = sorted(self._slots.nodes.union(self._first))
        self._turn = (self._turn + 1) % len(names)
        names = names[self._turn :] + names[: self._turn]
        return sorted(names, key=failed.__eq__)[:MOST_ASKED]

    async def _learn_from(self, name: str, until: float) -> bool:
        """Ask one node. What fails is not counted: the reads that led here are."""
        try:
            (reply,) = await self._ask(name, _CLUSTER_SLOTS, 1, until, "CLUSTER SLOTS")
            self._slots.learn(reply, name.rpartition(":")[0])
        except (*FAILURES, ValueError):
            return False
        return True

    async def _answers(self, name: str, until: float) -> bool:
        try:
            (reply,) = await self._ask(name, _PING, 1, until, "PING")
        except FAILURES:
            self._look_soon(name)  # another may have taken its place, and perhaps nobody reads and finds out
            return False
        return not isinstance(reply, ResponseError)

    def _drop_others(self) -> None:
        """Let go of nodes that have no slots any more."""
        self._retired = [store for store in self._retired if not store.pool.is_empty]
        for name in self._stores.keys() - self._slots.nodes:
            store = self._stores.pop(name)
            store.pool.retire()
            self._retired.append(store)
