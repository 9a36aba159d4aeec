"""Erases an entity: every row of it, and of pairs with it, becomes a tombstone, also in views that the registry lost.

Rows are found by a scan of all keys on every master: an entity can be the second of a pair, whose tag is then that of
the first. A tombstone's event time is when it was deleted, and it goes through the writer's ordering: while it lasts,
loading older data does not bring the row back, newer data does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from recsvc.errors import StoreUnavailableError
from recsvc.online.keys import KeyMaker, ParsedKey, escape, parse
from recsvc.online.layout import HEADER_BYTES, TOMBSTONE
from recsvc.online.redis_writer import WriteResult, in_time
from recsvc.registry.model import Entity, FeatureView
from recsvc.registry.registry import Registry
from recsvc.registry.types import INT64_MAX

DEFAULT_TTL: Final = timedelta(days=30)
"""How long a tombstone lasts where its view has no TTL, or is not in the registry."""
KEYS_PER_SCAN: Final = 1_000
ATTEMPTS: Final = 3
"""How often a row is looked at again that was written anew between being read and being erased."""


class Burier(Protocol):
    """Writes tombstones; RedisRowWriter does."""

    async def bury(
        self, view: FeatureView, keys: Sequence[bytes], event_micros: int, write_micros: int, ttl_ms: int
    ) -> WriteResult:
        """Replace rows by tombstones, where these are later."""
        ...


@dataclass(slots=True)
class Erased:
    """Rows that were erased, by view label. ``left`` are keys of those that stayed: of a newer row format than ours."""

    rows: Counter[str] = field(default_factory=Counter)
    left: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Found:
    """A key to erase. ``live``: it has a row that is no tombstone; ``event_micros``: that of the tombstone to write."""

    key: bytes
    view: FeatureView
    live: bool
    event_micros: int


class RedisEraser:
    """Erases entities in one store. ``now_micros`` is the clock."""

    def __init__(
        self, client: Redis | RedisCluster, writer: Burier, registry: Registry, *, now_micros: Callable[[], int]
    ) -> None:
        self._client = client
        self._writer = writer
        self._registry = registry
        self._now_micros = now_micros

    def __repr__(self) -> str:
        return f"RedisEraser({self._registry!r})"

    async def erase(
        self, entity: Entity, text: str, on_progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> Erased:
        """Erase the entity with id ``text``. ``on_progress`` gets about how many keys were looked at, of how many.

        New pairs that a load writes meanwhile can be missed. Raises StoreUnavailableError; what was erased stays so.
        """
        now = self._now_micros()
        erased = Erased()
        done: set[bytes] = set()
        async for keys in self._scan(text, on_progress):
            fresh = [k for k in keys if k not in done]
            done.update(fresh)
            await self._bury([(k, self._view(p)) for k in fresh if (p := _names(k, entity, text))], now, erased)
        direct = [
            (KeyMaker(view).keys([[text]])[0], view)
            for view in self._registry.views.values()
            if list(view.entities) == [entity]
        ]
        await self._bury([(key, view) for key, view in direct if key not in done], now, erased)
        return erased

    def _view(self, parsed: ParsedKey) -> FeatureView:
        """Return the view of a row; one that stands for it where the registry no longer knows it."""
        known = self._registry.views.get((parsed.view, parsed.version))
        if known is not None:
            return known
        mirrored = any(v.mirrored for (name, _), v in self._registry.views.items() if name == parsed.view)
        return FeatureView(parsed.view, (), (), version=parsed.version, mirrored=mirrored)

    async def _scan(self, text: str, on_progress: Callable[[int, int], None]) -> AsyncIterator[list[bytes]]:
        # In a key an id stands between braces or colons; escaped, it has no character that Redis' patterns know.
        pattern = f"fs:*[{{:]{escape(text)}[}}:]*".encode()
        nodes = await self._masters()
        total = sum([int(await _guarded(node.execute_command("DBSIZE"))) for node in nodes])
        looked = 0
        for node in nodes:
            cursor: Any = 0
            while True:
                scan = node.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_SCAN)
                cursor, keys = await _guarded(scan)
                looked += KEYS_PER_SCAN
                on_progress(min(looked, total), total)
                if keys:
                    yield keys
                if int(cursor) == 0:
                    break

    async def _masters(self) -> Sequence[Any]:
        """Return what takes commands for each server that has rows of its own."""
        if not isinstance(self._client, RedisCluster):
            return [self._client]
        await _guarded(self._client.initialize())
        return self._client.get_primaries()

    async def _bury(self, keys: Sequence[tuple[bytes, FeatureView]], now: int, erased: Erased) -> None:
        """Turn rows into tombstones, looking again at those that were written anew meanwhile."""
        labels: dict[bytes, str] = {}
        for _ in range(ATTEMPTS):
            found = await self._look(keys, now) if keys else []
            labels.update((row.key, row.view.label) for row in found if row.live)
            await self._write(found)
            keys = [(row.key, row.view) for row in await self._look(keys, now) if row.live] if keys else []
        erased.left += [key for key, _ in keys]
        erased.rows.update(label for key, label in labels.items() if key not in erased.left)

    async def _look(self, keys: Sequence[tuple[bytes, FeatureView]], now: int) -> list[_Found]:
        """Read the headers of rows. One whose event time is ahead of the clock needs a tombstone further ahead."""
        pipeline: Any = self._client.pipeline(False) if isinstance(self._client, Redis) else self._client.pipeline()  # noqa: FBT003
        for key, _ in keys:
            pipeline.getrange(key, 0, HEADER_BYTES - 1)
        headers = await _guarded(pipeline.execute())
        found = []
        for (key, view), header in zip(keys, headers, strict=True):
            whole = len(header) == HEADER_BYTES
            live = len(header) > 0 and not (whole and header[1] & TOMBSTONE)
            event = int.from_bytes(header[8:16], "little", signed=True) if whole else now
            found.append(_Found(key, view, live, min(max(now, event + 1 if live else event), INT64_MAX)))
        return found

    async def _write(self, found: Sequence[_Found]) -> None:
        groups: defaultdict[tuple[str, int], list[_Found]] = defaultdict(list)
        for row in found:
            groups[row.view.label, row.event_micros].append(row)
        for (_, event_micros), rows in groups.items():
            view = rows[0].view
            ttl_ms = round((view.effective_ttl or DEFAULT_TTL).total_seconds() * 1000)
            await self._writer.bury(view, [r.key for r in rows], event_micros, self._now_micros(), ttl_ms)


def _names(key: bytes, entity: Entity, text: str) -> ParsedKey | None:
    """Return what a key names, if it is a row of the entity or of a pair with it."""
    parsed = parse(key)
    return parsed if parsed is not None and (entity.name, text) in parsed.ids else None


async def _guarded(call: Awaitable[Any]) -> Any:  # noqa: ANN401  # whatever redis-py answers
    try:
        return await in_time(call)
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreUnavailableError(f"erasing in the store failed: {error}") from error
