"""What Redis says of itself, for metrics: evicted keys, memory, hits and misses of all who use it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError

from recsvc.telemetry import metrics as m
from recsvc.telemetry.series import Instrument, Point

log = logging.getLogger(__name__)

INTERVAL_S: Final = 10.0
TIMEOUT_S: Final = 2.0
SINGLE: Final = "redis"
"""What a single server is called; those of a cluster are HOST:PORT."""
_FACTS: Final[tuple[tuple[Instrument, tuple[str, ...], str], ...]] = (
    (m.REDIS_EVICTED, (), "evicted_keys"),
    (m.REDIS_MEMORY, (), "used_memory"),
    (m.REDIS_MAX_MEMORY, (), "maxmemory"),
    (m.REDIS_LOOKUPS, ("hit",), "keyspace_hits"),
    (m.REDIS_LOOKUPS, ("miss",), "keyspace_misses"),
)


class RedisInfo:
    """Asks every so often, and keeps the last answer; while nobody answers, or may ask, there are no such metrics."""

    def __init__(self, client: Redis | RedisCluster, metrics: m.Metrics) -> None:
        self._client = client
        self._known: dict[str, Mapping[str, Any]] = {}
        self._told = ""
        for instrument in dict.fromkeys(instrument for instrument, _, _ in _FACTS):
            metrics[instrument].observe(partial(self._points, instrument))

    def __repr__(self) -> str:
        return f"RedisInfo({sorted(self._known)})"

    async def watch(self) -> None:
        """Ask for ever, unless this user may not."""
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    self._known = await self._ask()
                self._told = ""
            except NoPermissionError:
                log.info("no metrics of Redis itself: its user may not ask, +info lets it")
                return
            except (RedisError, RedisClusterException, OSError) as error:
                self._known = {}
                kind = type(error).__name__
                if kind != self._told:
                    self._told = kind
                    log.warning("no metrics of Redis itself: INFO fails (%s)", kind)
            await asyncio.sleep(INTERVAL_S)

    async def _ask(self) -> dict[str, Mapping[str, Any]]:
        if not isinstance(self._client, RedisCluster):
            return {SINGLE: await self._client.info()}
        found = await self._client.info(target_nodes=RedisCluster.PRIMARIES)
        return found if all(isinstance(value, dict) for value in found.values()) else {SINGLE: found}

    def _points(self, of: Instrument) -> list[Point]:
        return [
            ((node, *labels), float(facts[name]))
            for node, facts in self._known.items()
            for instrument, labels, name in _FACTS
            if instrument is of and name in facts
        ]
