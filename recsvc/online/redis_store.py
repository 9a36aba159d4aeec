"""Reads rows from Redis: one MGET from a single server; from a node of a cluster one per hash tag, in one write."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisClusterException, ResponseError

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD, Row, Unread
from recsvc.online.keys import by_tag
from recsvc.online.redis_dial import dialer_of
from recsvc.online.redis_pool import FAILURES, ChannelPool
from recsvc.online.redis_wire import in_commands, mget

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from recsvc.telemetry.counters import Counters

_MOVED: Final = ("MOVED ", "ASK ", "TRYAGAIN ")
"""What a node says first of a slot that it no longer has, or is giving away."""

Follow = Callable[[Sequence[bytes]], Awaitable[Sequence[Row]]]
"""Reads rows from wherever their slots have moved to."""


class RedisRowStore:
    """Reads from one server (also behind Sentinel), on at most ``connections`` connections."""

    def __init__(self, client: Redis, counters: Counters, *, connections: int) -> None:
        self._pool = ChannelPool(dialer_of(client), limit=connections)
        self._counters = counters

    def __repr__(self) -> str:
        return f"RedisRowStore({self._pool!r})"

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return None

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read."""
        commands = [mget(part) for part in in_commands(keys)]
        try:
            replies = await self._pool.ask(b"".join(commands), len(commands), until)
            for reply in replies:
                if isinstance(reply, ResponseError):
                    raise reply  # a refusal is as good as no answer
        except FAILURES as error:
            self._counters.unavailable("redis", reason(error))
            raise StoreUnavailableError("the store did not answer") from error
        return replies[0] if len(replies) == 1 else list(chain.from_iterable(replies))

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()


class RedisNodeStore:
    """Reads from one node of a cluster. Rows of slots that are moving, and cannot be followed, are UNREAD.

    ``follow`` reads where slots have moved to; ``on_failure`` is called once for each read that failed, or in part.
    """

    def __init__(
        self, name: str, pool: ChannelPool, follow: Follow, on_failure: Callable[[str, BaseException], None]
    ) -> None:
        self.name = name
        self.pool = pool
        self._follow = follow
        self._on_failure = on_failure

    def __repr__(self) -> str:
        return f"RedisNodeStore({self.name}, {self.pool!r})"

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return None

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read."""
        groups = [part for indices in by_tag(keys).values() for part in in_commands(indices)]
        try:
            commands = b"".join([mget([keys[i] for i in group]) for group in groups])
            replies = await self.pool.ask(commands, len(groups), until)
            rows: list[Row] = [UNREAD] * len(keys)
            failure: BaseException | None = _place(rows, groups, replies)
            moved = [i for group, reply in zip(groups, replies, strict=True) if _has_moved(reply) for i in group]
            if moved:
                failure = await self._read_moved(keys, rows, moved, until) or failure
        except FAILURES as error:
            self._on_failure(self.name, error)
            raise StoreUnavailableError("a node of the store did not answer") from error
        if failure is not None:
            self._on_failure(self.name, failure)
            if all(row is UNREAD for row in rows):
                raise StoreUnavailableError("a node of the store did not answer") from failure
        return rows

    async def _read_moved(
        self, keys: Sequence[bytes], rows: list[Row], moved: Sequence[int], until: float
    ) -> BaseException | None:
        try:
            async with asyncio.timeout_at(until):
                found = await self._follow([keys[i] for i in moved])
        except (*FAILURES, RedisClusterException, KeyError) as error:  # KeyError: redis-py, of a slot it does not know
            return error
        for index, row in zip(moved, found, strict=True):
            rows[index] = row
        return None


def _place(rows: list[Row], groups: Sequence[Sequence[int]], replies: Sequence[Any]) -> ResponseError | None:
    """Put the replies where their keys are; return the last that is an error other than of a moved slot."""
    failure = None
    for group, reply in zip(groups, replies, strict=True):
        first, end = group[0], group[-1] + 1
        if isinstance(reply, ResponseError):
            failure = failure if _has_moved(reply) else reply
        elif end - first == len(group):  # a user's pairs come in a row
            rows[first:end] = reply
        else:
            for index, row in zip(group, reply, strict=True):
                rows[index] = row
    return failure


def _has_moved(reply: object) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith(_MOVED)


def reason(error: BaseException) -> str:
    """Return what kind of failure it was: Redis' own code, else the type; texts may hold addresses and credentials."""
    code = re.match(r"[A-Z]+\b", str(error)) if isinstance(error, ResponseError) else None
    return code[0] if code else type(error).__name__
