"""Writes rows so that, in whatever order they come, the one of the latest event time stays.

The comparison runs inside Redis, in one script per cluster slot: an older event time never replaces a newer one; at
equal event time the later write wins; at equal write time the row with the larger SHA-1, so that two writers always
leave the same row behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import PipelineCommand
from redis.exceptions import (
    AskError,
    MovedError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
    TryAgainError,
)

from recsvc.errors import DefinitionError, StoreUnavailableError
from recsvc.online.redis_changes import announce
from recsvc.online.redis_cluster import ClusterRouter, Group
from recsvc.online.redis_schemas import record_key, recorded
from recsvc.online.row import tombstone
from recsvc.registry.model import FeatureView
from recsvc.registry.schema import Schema, misfit

if TYPE_CHECKING:
    from redis.asyncio.cluster import ClusterNode

_FAILURES: Final = (RedisError, RedisClusterException, OSError)
_AGAIN: Final = (MovedError, AskError, TryAgainError)
_T = TypeVar("_T")
_Done = list[tuple[Group, bytes | Exception]]

ROWS_PER_SCRIPT: Final = 500
"""Rows that one script call compares: it keeps Redis busy for about 1 ms, and other clients wait meanwhile."""
ANSWER_TIMEOUT_S: Final = 10.0
"""How long one command, or one pipeline of them, may take; a server that hangs must not hold its caller for ever."""
WRITES_AT_ONCE: Final = 8
"""Writes in flight, each on one connection per node; others wait for their turn."""

_SCRIPT: Final = """
local ttl, force = tonumber(ARGV[1]), ARGV[2] == '1'
local done = {}
for i, key in ipairs(KEYS) do
  local new = ARGV[i + 2]
  local old = not force and redis.call('GET', key)
  local write = true
  if old and #old >= 24 then
    local oel, oeh, owl, owh = struct.unpack('<I4i4I4i4', old, 9)
    local nel, neh, nwl, nwh = struct.unpack('<I4i4I4i4', new, 9)
    if old:byte(1) > new:byte(1) then write = false
    elseif neh ~= oeh then write = neh > oeh
    elseif nel ~= oel then write = nel > oel
    elseif nwh ~= owh then write = nwh > owh
    elseif nwl ~= owl then write = nwl > owl
    elseif old ~= new then write = redis.sha1hex(new) > redis.sha1hex(old)
    end
  end
  if write then
    if ttl > 0 then redis.call('SET', key, new, 'PX', ttl) else redis.call('SET', key, new) end
  end
  done[i] = write and '1' or '0'
end
return table.concat(done)
"""
_WRITTEN: Final = ord("1")
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_RECORD_SCRIPT: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
"""Records a schema where the record is still what was read."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """How many rows were written, and how many were not because the store has a later one."""

    written: int
    stale: int


class RedisRowWriter:
    """Writes rows through the ordering script; any number of writes may be in flight."""

    def __init__(self, client: Redis | RedisCluster) -> None:
        self._client = client
        self._router = ClusterRouter(client) if isinstance(client, RedisCluster) else None
        self._turns = asyncio.Semaphore(WRITES_AT_ONCE)

    def __repr__(self) -> str:
        return f"RedisRowWriter({self._router or 'standalone'})"

    async def prepare(self, view: FeatureView, schema: Schema) -> None:
        """Make sure that rows of ``schema`` fit those that are stored, and record it where it is the longest so far.

        The record is ``fs:schema:VIEW:vN``, a JSON list of ``name:LAYOUT``. Raises DefinitionError where neither
        schema is a prefix of the other, StoreUnavailableError.
        """
        key = record_key(view)
        ours = list(schema.lines)
        while True:
            stored = await _guarded(self._client.get(key)) or b""
            theirs = recorded(view, stored)
            if (wrong := misfit(theirs, ours)) is not None:
                raise DefinitionError([f"view {view.label}: {wrong}"])
            if len(ours) <= len(theirs):
                return
            swap = self._client.execute_command("EVAL", _RECORD_SCRIPT, 1, key, stored, json.dumps(ours))
            if await _guarded(swap):
                return  # else somebody else recorded theirs meanwhile, which must fit too

    async def write(
        self, view: FeatureView, keys: Sequence[bytes], rows: Sequence[bytes], *, force: bool = False
    ) -> WriteResult:
        """Write ``rows`` of ``view`` under ``keys``, with the view's TTL; ``force`` writes whatever the store has.

        Raises StoreUnavailableError; what was written until then stays.
        """
        return await self.put(view, keys, rows, _milliseconds(view.effective_ttl), force=force)

    async def bury(
        self, view: FeatureView, keys: Sequence[bytes], event_micros: int, write_micros: int, ttl_ms: int
    ) -> WriteResult:
        """Replace rows by tombstones, so that nothing older than ``event_micros`` can come back while they last."""
        row = tombstone(event_micros, write_micros)
        return await self.put(view, keys, [row] * len(keys), ttl_ms)

    async def put(
        self,
        view: FeatureView,
        keys: Sequence[bytes],
        rows: Sequence[bytes],
        ttl_ms: int | None,
        *,
        force: bool = False,
    ) -> WriteResult:
        """Write rows with a TTL of their own (None: for ever), and announce those of mirrored views."""
        done = await self._run(keys, rows, ttl_ms, force=force)
        written = [i for group, flags in done for i in _written(group, flags)]  # is announced, whatever else failed
        if view.mirrored and written:
            await _guarded(announce(self._client, view, [(keys[i], rows[i]) for i in written]))
        for _, failure in done:
            if isinstance(failure, Exception):
                raise _unavailable(failure) from failure
        return WriteResult(len(written), len(keys) - len(written))

    async def _run(self, keys: Sequence[bytes], rows: Sequence[bytes], ttl_ms: int | None, *, force: bool) -> _Done:
        """Run the script over all rows, a group of one slot at a time; what fails of it is in the results."""

        def arguments(group: Group) -> list[bytes | int]:
            picked = [keys[i] for i in group], [rows[i] for i in group]
            return [len(group), *picked[0], ttl_ms or 0, int(force), *picked[1]]

        async with self._turns:
            if self._router is not None:
                return await self._run_in_cluster(self._router, keys, arguments)
            groups = [range(i, min(i + ROWS_PER_SCRIPT, len(keys))) for i in range(0, len(keys), ROWS_PER_SCRIPT)]
            return [(group, await _result(self._one(arguments(group)))) for group in groups]

    async def _one(self, arguments: Sequence[bytes | int]) -> bytes:
        try:
            return bytes(await self._client.execute_command("EVALSHA", _SHA, *arguments))
        except NoScriptError:
            return bytes(await self._client.execute_command("EVAL", _SCRIPT, *arguments))

    async def _run_in_cluster(
        self, router: ClusterRouter, keys: Sequence[bytes], arguments: Callable[[Group], list[bytes | int]]
    ) -> _Done:
        """Send each node its groups in one pipeline; those whose slot has moved go again, alone: redis-py follows."""
        routes = await _guarded(router.routes(keys, most=ROWS_PER_SCRIPT))
        pipelines = [self._pipeline(node, groups, arguments) for node, groups in routes.nodes.items()]
        done = [pair for pairs in await asyncio.gather(*pipelines) for pair in pairs]
        done += [(group, SlotNotCoveredError()) for group in routes.uncovered]
        again = {i: self._one(arguments(group)) for i, (group, flags) in enumerate(done) if isinstance(flags, _AGAIN)}
        for i, call in again.items():
            done[i] = (done[i][0], await _result(call))
        return done

    async def _pipeline(
        self, node: ClusterNode, groups: Sequence[Group], arguments: Callable[[Group], list[bytes | int]]
    ) -> _Done:
        commands = [PipelineCommand(i, "EVALSHA", _SHA, *arguments(group)) for i, group in enumerate(groups)]
        try:
            await in_time(node.execute_pipeline(commands))
            if any(isinstance(c.result, NoScriptError) for c in commands):
                # None was written: the script was not there. EVAL keeps it, and needs no right but that to write.
                commands = [PipelineCommand(i, "EVAL", _SCRIPT, *arguments(group)) for i, group in enumerate(groups)]
                await in_time(node.execute_pipeline(commands))
        except _FAILURES as error:
            return [(group, error) for group in groups]
        return [(group, command.result) for group, command in zip(groups, commands, strict=True)]


def _written(group: Group, flags: bytes | Exception) -> list[int]:
    """Return the indices of those rows of a group that the script wrote."""
    if isinstance(flags, Exception):
        return []
    return [index for index, flag in zip(group, flags, strict=True) if flag == _WRITTEN]


def _milliseconds(ttl: timedelta | None) -> int | None:
    """Return a TTL as Redis takes it; 0 would be for ever."""
    return None if ttl is None else max(1, ttl // timedelta(milliseconds=1))


async def in_time(call: Awaitable[_T]) -> _T:
    """Return what ``call`` of redis-py returns, or raise what it raises, in words where it has none.

    Raises TimeoutError where that takes too long, SlotNotCoveredError where no node of a cluster has the key.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await call
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {ANSWER_TIMEOUT_S:g} s") from error
    except KeyError as error:
        raise SlotNotCoveredError(f"no node has the slot {error}") from error


async def _guarded(call: Awaitable[Any]) -> Any:  # noqa: ANN401  # what redis-py returns is typed loosely
    try:
        return await in_time(call)
    except _FAILURES as error:
        raise _unavailable(error) from error


async def _result(call: Awaitable[bytes]) -> bytes | Exception:
    try:
        return await in_time(call)
    except _FAILURES as error:
        return error


def _unavailable(error: Exception) -> StoreUnavailableError:
    return StoreUnavailableError(f"writing to the store failed: {error}")
