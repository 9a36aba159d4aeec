"""Opens the online store that a setting names, with a private Redis where it says so; closes all of it at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from recsvc.errors import ConfigError, StartupError
from recsvc.online.redis_connect import ConnectionSettings, connect, parse, probe
from recsvc.online.redis_embedded import EmbeddedRedis
from recsvc.online.redis_nodes import ClusterNodes
from recsvc.online.redis_store import RedisRowStore
from recsvc.online.redis_writer import RedisRowWriter
from recsvc.telemetry.counters import Counters

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenStore:
    """What rows are read from: a single server, or the nodes of a cluster; the other is None."""

    single: RedisRowStore | None
    router: ClusterNodes | None


@dataclass(frozen=True, slots=True)
class OpenRedis:
    """An open store: what reads, writes and asks whether it is there. ``url`` is how others of this user reach it."""

    client: Redis | RedisCluster
    settings: ConnectionSettings
    url: str = field(repr=False)
    _routers: list[ClusterNodes] = field(default_factory=list, repr=False, compare=False)

    @contextlib.asynccontextmanager
    async def reader(self, counters: Counters, *, connections: int | None = None) -> AsyncIterator[OpenStore]:
        """Give what reads rows, and at the end close its connections and end what it has under way.

        It opens up to ``connections`` of its own, as reads need them, to each node of a cluster; by default as many as
        the settings allow.
        """
        connections = connections or self.settings.max_connections
        if not isinstance(self.client, RedisCluster):
            store = RedisRowStore(self.client, counters, connections=connections)
            try:
                yield OpenStore(store, None)
            finally:
                await store.close()
            return
        router = ClusterNodes(self.client, counters, connections=connections)
        self._routers.append(router)
        try:
            yield OpenStore(None, router)
        finally:
            self._routers.remove(router)
            await router.close()

    def writer(self) -> RedisRowWriter:
        """Give the writer of rows."""
        return RedisRowWriter(self.client)

    async def answers(self, timeout_s: float) -> bool:
        """Whether the store answers within ``timeout_s`` seconds; of a cluster, every node that has slots.

        A cluster is asked on the connections of its reader.
        """
        if self._routers:
            return await self._routers[-1].answer(asyncio.get_running_loop().time() + timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self.client.ping()
        except (RedisError, RedisClusterException, OSError):  # TimeoutError is an OSError
            return False
        return True


@contextlib.asynccontextmanager
async def open_redis(url: str, settings: ConnectionSettings, *, required: bool = True) -> AsyncIterator[OpenRedis]:
    """Open ``url`` (or ``embedded``, or ``embedded:DIR``).

    Where not ``required``, a store that does not answer is only logged.
    Raises ConfigError and StartupError, each one line without a credential.
    """
    async with contextlib.AsyncExitStack() as stack:
        if url == "embedded" or url.startswith("embedded:"):
            embedded = await asyncio.to_thread(_embedded, url)
            stack.push_async_callback(asyncio.to_thread, embedded.close)
            url = embedded.url
        client = connect(parse(url), settings=settings)
        stack.push_async_callback(client.aclose)
        try:
            await probe(client)
        except StartupError as error:
            if required:
                raise
            log.error("%s; starting without it", error)  # noqa: TRY400  # one line says it all
        yield OpenRedis(client, settings, url)


def _embedded(url: str) -> EmbeddedRedis:
    directory = url.removeprefix("embedded").removeprefix(":")
    if url.endswith(":"):
        raise ConfigError(
            "`embedded:` names no directory: write embedded:DIR, or embedded for a store that is thrown away"
        )
    return EmbeddedRedis.shared(Path(directory)) if directory else EmbeddedRedis.throwaway()
