"""All rows of a mirrored view, from Redis: a scan of the keys of every master, then the change feed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from recsvc.errors import StoreUnavailableError
from recsvc.online.keys import KeyMaker, by_tag, parse
from recsvc.online.redis_changes import RedisChangeFeed
from recsvc.online.whole_view import IdRow, Written
from recsvc.registry.model import FeatureView

KEYS_PER_SCAN: Final = 1_000


class RedisWholeView:
    """See WholeView. The view has one entity."""

    def __init__(self, client: Redis | RedisCluster, view: FeatureView) -> None:
        self._client = client
        self._view = view
        self._feed = RedisChangeFeed(client, view)
        self._keys = KeyMaker(view)

    def __repr__(self) -> str:
        return f"RedisWholeView({self._view.label})"

    async def position(self) -> bytes:
        """See WholeView.position."""
        return await self._feed.position()

    async def scan(self) -> AsyncIterator[Sequence[IdRow]]:
        """See WholeView.scan."""
        entity = self._view.entities[0].name
        pattern = f"fs:*:{entity}:*{self._view.name}:v{self._view.version}".encode()
        for node in await self._masters():
            cursor: Any = 0
            while True:
                scan = node.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_SCAN)
                cursor, keys = await _guarded(scan)
                yield await self._rows(keys)  # none, where others have many keys: who reads can do something else
                if int(cursor) == 0:
                    break

    async def since(self, position: bytes) -> Written:
        """See WholeView.since."""
        changes = await self._feed.since(position)
        keys = dict.fromkeys(change.key for change in changes.changes)
        return Written(await self._rows(list(keys)), changes.last, changes.gap, changes.more)

    async def _rows(self, keys: Sequence[bytes]) -> list[IdRow]:
        """Read rows of keys that are this view's; a key that holds no string has none, as in any other read."""
        ids = self._ids(keys)
        ours = list(ids)
        if not ours:
            return []
        if isinstance(self._client, Redis):
            return list(zip(ids.values(), await _guarded(self._client.mget(ours)), strict=True))
        pipeline: Any = self._client.pipeline()
        groups = list(by_tag(ours).values())
        for group in groups:
            pipeline.execute_command("MGET", *(ours[i] for i in group))  # mget() is blocked, one slot or not
        found = await _guarded(pipeline.execute())
        return [
            (ids[ours[i]], row)
            for group, rows in zip(groups, found, strict=True)
            for i, row in zip(group, rows, strict=True)
        ]

    def _ids(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return the ids in those of the keys under which this view's rows are read: of its entity, and its spread."""
        version, entity = (self._view.name, self._view.version), self._view.entities[0].name
        ids = {
            key: parsed.ids[0][1]
            for key in keys
            if (parsed := parse(key)) is not None
            and (parsed.view, parsed.version) == version
            and [name for name, _ in parsed.ids] == [entity]
        }
        read = self._keys.keys([list(ids.values())]) if ids else []
        return {key: item for (key, item), right in zip(ids.items(), read, strict=True) if key == right}

    async def _masters(self) -> Sequence[Any]:
        """Return what takes commands for each server that has rows of its own."""
        if not isinstance(self._client, RedisCluster):
            return [self._client]
        await _guarded(self._client.initialize())
        return self._client.get_primaries()


async def _guarded(call: Awaitable[Any]) -> Any:  # noqa: ANN401  # whatever redis-py answers
    try:
        return await call
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreUnavailableError(f"reading the rows of a view failed: {error}") from error
