"""Reads rows from Redis: one MGET from a single server; from a cluster one per hash tag, in one pipeline per node."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import PipelineCommand
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    MovedError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
    TryAgainError,
)

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD, Row
from recsvc.online.keys import tag_of

if TYPE_CHECKING:
    from redis.asyncio.cluster import ClusterNode

    from recsvc.telemetry.counters import Counters

KEYS_PER_COMMAND: Final = 1_000
"""Keys of one MGET: more would keep Redis from other clients for over about half a millisecond."""
TAGS_KEPT: Final = 65_536
"""Hash tags whose slot is remembered; a slot costs 1 µs to compute in Python."""
TOPOLOGY_TIMEOUT_S: Final = 1.0
"""How long one look for a cluster's new topology may take: a node that hangs must not keep us from asking others."""
_FAILURES: Final = (RedisError, RedisClusterException, OSError)
"""What redis-py raises where a server does not answer; the cluster's own errors are no RedisError."""


class RedisRowStore:
    """Reads from one server (also behind Sentinel), on at most ``connections`` connections; others wait for one."""

    def __init__(self, client: Redis, counters: Counters, *, connections: int) -> None:
        self._client = client
        self._counters = counters
        self._free = asyncio.Semaphore(connections)

    def __repr__(self) -> str:
        return f"RedisRowStore({'busy' if self._free.locked() else 'free'})"

    async def read(self, keys: Sequence[bytes], timeout_s: float) -> Sequence[Row]:
        """See RowReader.read."""
        try:
            async with asyncio.timeout(timeout_s), self._free:
                rows: list[Row] = []
                for start in range(0, len(keys), KEYS_PER_COMMAND):
                    rows += await self._client.execute_command("MGET", *keys[start : start + KEYS_PER_COMMAND])
                return rows
        except _FAILURES as error:  # TimeoutError is an OSError
            self._counters.unavailable("redis", _reason(error))
            raise StoreUnavailableError("the store did not answer") from error


class RedisClusterRowStore:
    """Reads from a cluster, on at most ``connections`` per node.

    Keys of a node that does not answer are UNREAD, the others are answered.
    """

    def __init__(self, client: RedisCluster, counters: Counters, *, connections: int) -> None:
        self._client = client
        self._counters = counters
        self._free = asyncio.Semaphore(connections)
        self._slots: dict[bytes, int] = {}
        self._refresh: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"RedisClusterRowStore({len(self._slots)} tags)"

    async def read(self, keys: Sequence[bytes], timeout_s: float) -> Sequence[Row]:
        """See RowReader.read."""
        rows: list[Row] = [UNREAD] * len(keys)
        try:
            async with asyncio.timeout(timeout_s), self._free:
                await self._client.initialize()
                by_node = self._by_node(keys)
                await asyncio.gather(*(self._read_node(node, tags, keys, rows) for node, tags in by_node.items()))
        except _FAILURES as error:  # TimeoutError is an OSError; rows that have come are kept
            self._lost("redis cluster", error)
        return rows

    def _by_node(self, keys: Sequence[bytes]) -> dict[ClusterNode, list[list[int]]]:
        """Group the indices of keys by tag, at most KEYS_PER_COMMAND, and those by the node that has the tag's slot."""
        tags: dict[bytes, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            tags[tag_of(key)].append(index)
        nodes: dict[ClusterNode, list[list[int]]] = defaultdict(list)
        for tag, indices in tags.items():
            try:
                node = self._client.nodes_manager.get_node_from_slot(self._slot(tag))
            except SlotNotCoveredError as error:
                self._lost("redis cluster", error)
            else:
                nodes[node] += [indices[i : i + KEYS_PER_COMMAND] for i in range(0, len(indices), KEYS_PER_COMMAND)]
        return nodes

    def _slot(self, tag: bytes) -> int:
        slot = self._slots.get(tag)
        if slot is None:
            if len(self._slots) >= TAGS_KEPT:
                self._slots.clear()
            slot = self._slots[tag] = key_slot(tag)
        return slot

    async def _read_node(
        self, node: ClusterNode, tags: Sequence[Sequence[int]], keys: Sequence[bytes], rows: list[Row]
    ) -> None:
        commands = [PipelineCommand(i, "MGET", *[keys[k] for k in indices]) for i, indices in enumerate(tags)]
        try:
            await node.execute_pipeline(commands)
        except _FAILURES as error:
            self._lost(node.name, error)
            return
        for command, indices in zip(commands, tags, strict=True):
            await self._take(node, command, indices, keys, rows)

    async def _take(
        self,
        node: ClusterNode,
        command: PipelineCommand,
        indices: Sequence[int],
        keys: Sequence[bytes],
        rows: list[Row],
    ) -> None:
        result = command.result
        if isinstance(result, AskError | MovedError | TryAgainError):  # slots are moving: redis-py follows, and learns
            try:
                result = await self._client.mget_nonatomic([keys[k] for k in indices])
            except _FAILURES as error:
                result = error
        if isinstance(result, Exception):
            self._lost(node.name, result)
            return
        for index, row in zip(indices, result, strict=True):
            rows[index] = row

    def _lost(self, place: str, error: Exception) -> None:
        """Count what did not answer, and look once whether the cluster has moved its slots."""
        self._counters.unavailable(place, _reason(error))
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(self._learn_topology())

    async def _learn_topology(self) -> None:
        try:
            async with asyncio.timeout(TOPOLOGY_TIMEOUT_S):
                await self._client.nodes_manager.initialize()
        except _FAILURES as error:
            self._counters.unavailable("redis cluster", _reason(error))

    async def close(self) -> None:
        """End the look for the cluster's new topology, if one is under way."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)


def _reason(error: BaseException) -> str:
    """Return what kind of failure it was; the text may hold addresses and credentials, so only the type is shown."""
    return type(error).__name__
