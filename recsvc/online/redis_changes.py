"""The change feed of mirrored views: writers announce each row after it is written, servers follow.

The stream ``fs:changes:VIEW`` has entries with the fields ``key`` (of the row), ``version`` (of the view) and
``event_time_us``. It is bounded, so a follower can fall behind; it notices by the id of the last entry that it saw,
and scans the rows again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from recsvc.errors import StoreUnavailableError
from recsvc.online.keys import ParsedKey, parse
from recsvc.registry.model import FeatureView

MAX_ENTRIES: Final = 100_000
"""About how many entries a stream keeps (about 10 MB)."""
START: Final = b"0-0"
"""Where to begin in a stream that has no entry yet."""
_MICROS: Final = re.compile(rb"-?[0-9]{1,19}")


def stream_key(view: str) -> str:
    """Return the name of the change feed of a view."""
    return f"fs:changes:{view}"


async def announce(client: Redis | RedisCluster, view: FeatureView, rows: Sequence[tuple[bytes, bytes]]) -> None:
    """Append an entry per (key, row) that was written."""
    stream = stream_key(view.name)
    pipeline = client.pipeline(transaction=False) if isinstance(client, Redis) else client.pipeline()
    for key, row in rows:
        fields = {
            "key": key,
            "version": view.version,
            "event_time_us": int.from_bytes(row[8:16], "little", signed=True),
        }
        pipeline.xadd(stream, fields, maxlen=MAX_ENTRIES, approximate=True)  # type: ignore[arg-type]  # fields are invariant
    await pipeline.execute()


@dataclass(frozen=True, slots=True)
class Change:
    """One row that was written (or deleted: then the row is a tombstone)."""

    key: bytes
    parsed: ParsedKey
    event_micros: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What was announced since: ``last`` is where to go on; ``gap`` says that entries were lost before these.

    ``more``: there may be others after ``last``, for these are as many as were to come.
    """

    changes: tuple[Change, ...]
    last: bytes
    gap: bool
    more: bool


class RedisChangeFeed:
    """Follows the change feed of one view; keeps no state, the caller keeps ``last``."""

    def __init__(self, client: Redis | RedisCluster, view: FeatureView) -> None:
        self._client = client
        self._stream = stream_key(view.name)

    def __repr__(self) -> str:
        return f"RedisChangeFeed({self._stream})"

    async def position(self) -> bytes:
        """Return the id of the newest entry: where to begin when the rows are about to be scanned.

        Raises StoreUnavailableError.
        """
        newest = await _guarded(self._client.xrevrange(self._stream, count=1))
        return bytes(newest[0][0]) if newest else START

    async def since(self, last: bytes, *, count: int = 1_000) -> Changes:
        """Return up to ``count`` changes after entry ``last``, without waiting. Raises StoreUnavailableError.

        The entry ``last`` itself is read too: where it is no longer there, what followed it may be gone as well, and
        that is a gap. After a gap, take ``position()`` anew and scan the rows.
        """
        entries = await _guarded(self._client.xrange(self._stream, min=last, count=count + 1))
        if last == START:  # no entry that could be missing: the stream must be too short to have lost any
            gap = len(entries) > 0 and await _guarded(self._client.xlen(self._stream)) >= MAX_ENTRIES
        else:
            gap = not entries or entries[0][0] != last
        fresh = [e for e in entries if e[0] != last][:count]
        found = tuple(c for c in map(_change, fresh) if c is not None)
        return Changes(found, fresh[-1][0] if fresh else last, gap, len(fresh) == count)


async def _guarded(call: Awaitable[Any]) -> Any:  # noqa: ANN401  # what redis-py returns is typed loosely
    try:
        return await call
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreUnavailableError(f"reading the change feed failed: {error}") from error


def _change(entry: tuple[bytes, dict[bytes, bytes]]) -> Change | None:
    """Return what an entry announces; None for one that is not as the format has it, which a scan makes good for."""
    fields = entry[1]
    parsed = parse(fields.get(b"key", b""))
    event_time = fields.get(b"event_time_us", b"")
    if parsed is None or _MICROS.fullmatch(event_time) is None:
        return None
    return Change(fields[b"key"], parsed, int(event_time))
