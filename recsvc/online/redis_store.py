"""Reads rows from Redis: one MGET from a single server; from a cluster one per hash tag, in one pipeline per node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    AskError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD, Row
from recsvc.online.redis_cluster import ClusterRouter, Group

if TYPE_CHECKING:
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.connection import Connection

    from recsvc.telemetry.counters import Counters

KEYS_PER_COMMAND: Final = 1_000
"""Keys of one MGET: more would keep Redis from other clients for over about half a millisecond."""
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
        self._router = ClusterRouter(client)
        self._refresh: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"RedisClusterRowStore({self._router!r}, {'busy' if self._free.locked() else 'free'})"

    async def read(self, keys: Sequence[bytes], timeout_s: float) -> Sequence[Row]:
        """See RowReader.read."""
        rows: list[Row] = [UNREAD] * len(keys)
        try:
            async with asyncio.timeout(timeout_s), self._free:
                routes = await self._router.routes(keys, most=KEYS_PER_COMMAND)
                if routes.uncovered:
                    self._lost("redis cluster", SlotNotCoveredError())
                await asyncio.gather(*(self._read_node(n, groups, keys, rows) for n, groups in routes.nodes.items()))
        except _FAILURES as error:  # TimeoutError is an OSError; rows that have come are kept
            self._lost("redis cluster", error)
        return rows

    async def _read_node(
        self, node: ClusterNode, groups: Sequence[Group], keys: Sequence[bytes], rows: list[Row]
    ) -> None:
        try:
            results = await _mget(node, groups, keys)
        except _FAILURES as error:
            self._lost(node.name, error)
            return
        for result, group in zip(results, groups, strict=True):
            await self._take(node, result, group, keys, rows)

    async def _take(
        self,
        node: ClusterNode,
        result: Any,  # noqa: ANN401  # rows, or an error
        group: Group,
        keys: Sequence[bytes],
        rows: list[Row],
    ) -> None:
        if isinstance(result, AskError | MovedError | TryAgainError):  # slots are moving: redis-py follows, and learns
            try:
                result = await self._client.mget_nonatomic([keys[k] for k in group])
            except _FAILURES as error:
                result = error
        if isinstance(result, Exception):
            self._lost(node.name, result)
            return
        for index, row in zip(group, result, strict=True):
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
        except (*_FAILURES, IndexError) as error:  # IndexError: a node that knows of no slots
            self._counters.unavailable("redis cluster", _reason(error))

    async def close(self) -> None:
        """End the look for the cluster's new topology, if one is under way."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)


async def _mget(node: ClusterNode, groups: Sequence[Group], keys: Sequence[bytes]) -> list[Any]:
    """Send all groups of a node in one write, and return a list of rows or an error reply for each.

    ``node.execute_pipeline`` does the same with an object and some 20 µs more per command; a user and 500 items are 33.
    """
    connection = node.acquire_connection()
    try:
        # A node that restarted, or a proxy, may have closed it while it was idle; a node's own pool does not look.
        if connection.is_connected and await connection.can_read():
            await connection.disconnect()
        commands = [[b"MGET", *[keys[k] for k in group]] for group in groups]
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        return [await _reply(connection) for _ in groups]
    finally:
        node.release(connection)


async def _reply(connection: Connection) -> Any:  # noqa: ANN401  # rows, or an error
    try:
        return await connection.read_response()
    except ResponseError as error:  # of this command alone: the replies behind it are still to be read
        return error


def _reason(error: BaseException) -> str:
    """Return what kind of failure it was; the text may hold addresses and credentials, so only the type is shown."""
    return type(error).__name__
