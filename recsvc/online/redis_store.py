"""Reads rows from Redis: one MGET from a single server; from a node of a cluster one per hash tag, in one write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD, Row, Unread
from recsvc.online.keys import tag_runs
from recsvc.online.redis_dial import dialer_of
from recsvc.online.redis_moved import Follower, has_moved
from recsvc.online.redis_pool import FAILURES, ChannelPool, reason
from recsvc.online.redis_wire import mgets, split
from recsvc.telemetry import metrics as m
from recsvc.telemetry.series import Point

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from recsvc.telemetry.counters import Counters


class RedisRowStore:
    """Reads from one server (also behind Sentinel), on at most ``connections`` connections."""

    def __init__(self, client: Redis, counters: Counters, *, connections: int) -> None:
        dialer = dialer_of(client)
        self._pool = ChannelPool(dialer, limit=connections, calls=counters.calls)
        self._counters = counters
        counters.metrics[m.CONNECTIONS].observe(lambda: usage({":".join(filter(None, dialer.place)): self._pool}))

    def __repr__(self) -> str:
        return f"RedisRowStore({self._pool!r})"

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return None

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read."""
        if not keys:
            return []
        runs = split([len(keys)])
        try:
            return _rows(await self._pool.ask(mgets(keys, runs), len(runs), until), runs)
        except FAILURES as error:
            self._counters.unavailable("redis", reason(error))
            raise StoreUnavailableError("the store did not answer") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()


class RedisNodeStore:
    """Reads from one node of a cluster, and from others what has moved there; what cannot be followed is UNREAD.

    ``on_failure`` is called once for each read that failed, also if only in part.
    """

    def __init__(
        self, name: str, pool: ChannelPool, follower: Follower, on_failure: Callable[[str, BaseException], None]
    ) -> None:
        self.name = name
        self.pool = pool
        self._follower = follower
        self._on_failure = on_failure

    def __repr__(self) -> str:
        return f"RedisNodeStore({self.name}, {self.pool!r})"

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return None

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read; keys of one hash tag are one command."""
        if not keys:
            return []
        order, runs = tag_runs(keys)
        if order is None:
            return await self._read(keys, split(runs), until)
        found = await self._read([keys[i] for i in order], split(runs), until)
        rows: list[Row] = [UNREAD] * len(keys)
        for index, row in zip(order, found, strict=True):
            rows[index] = row
        return rows

    async def _read(self, keys: Sequence[bytes], runs: Sequence[int], until: float) -> Sequence[Row]:
        """Read keys by a command for each of ``runs``, numbers of keys of one hash tag."""
        try:
            replies = await self.pool.ask(mgets(keys, runs), len(runs), until)
            if ResponseError not in map(type, replies):
                return _rows(replies, runs)
        except FAILURES as error:
            self._on_failure(self.name, error)
            raise StoreUnavailableError("a node of the store did not answer") from error
        return await self._read_rest(keys, runs, replies, until)

    async def _read_rest(
        self, keys: Sequence[bytes], runs: Sequence[int], replies: Sequence[Any], until: float
    ) -> Sequence[Row]:
        """Return the rows, where some replies are errors."""
        rows: list[Row] = [UNREAD] * len(keys)
        failure: BaseException | None = None
        moved = []
        end = 0
        for run, reply in zip(runs, replies, strict=True):
            start, end = end, end + run
            if has_moved(reply):
                moved.append((range(start, end), reply))
                continue
            try:
                rows[start:end] = _rows([reply], [run])
            except FAILURES as error:
                failure = error
        if moved:
            failure = await self._follower.follow(keys, moved, rows, until) or failure
        if failure is not None:
            self._on_failure(self.name, failure)
            if all(row is UNREAD for row in rows):
                raise StoreUnavailableError("a node of the store did not answer") from failure
        return rows


def usage(pools: Mapping[str, ChannelPool]) -> list[Point]:
    """Return how many connections are used and idle, for metrics."""
    counts = {name: pool.usage for name, pool in pools.items()}
    return [((n, state), c) for n, found in counts.items() for state, c in zip(("used", "idle"), found, strict=True)]


def _rows(replies: Sequence[Any], runs: Sequence[int]) -> Sequence[Row]:
    """Return the rows of all replies. Raises ResponseError where one is an error, ConnectionError for no rows."""
    rows: list[Row] = []
    for reply, run in zip(replies, runs, strict=True):
        if isinstance(reply, ResponseError):
            raise reply
        if not isinstance(reply, list) or len(reply) != run:
            raise ConnectionError("the reply to MGET is none")
        rows += reply
    return rows
