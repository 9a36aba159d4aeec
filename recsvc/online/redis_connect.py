"""From a Redis URL to a redis.asyncio client that does nothing behind our back: no retries, waits or extra commands.

What redis-py 8.1 does with timeouts, and what is chosen here (figures: one GET on an open connection, 2 cores, uvloop):

* `socket_timeout` set: each command is written inside `asyncio.wait_for` (on Python 3.11 a task of its own) and read
  inside an `asyncio.timeout` (a timer): 50 µs of CPU against 25. So it is None on data connections, and **callers put
  one `asyncio.timeout` around a command**. When that fires redis-py closes the connection of the command cut short, so
  that its late reply is never somebody else's. Rows are read on connections of our own (`redis_channel`).
* The default, 5 s and ten retries with back-off, would hang for seconds while Redis is down: `Retry(NoBackoff(), 0)`.
* `socket_connect_timeout` bounds opening (TCP and TLS) and closing; the handshake has the same bound of its own.
* `ConnectionPool` refuses at once when all connections are busy (`MaxConnectionsError`); `BlockingConnectionPool`
  would wait 20 s.
* Sentinels are asked only when a connection is made: their clients have a `socket_timeout`, so that a hung one does not
  hide the next. It is that of opening a connection: asking is a part of it, which no read waits for longer than it may.

`health_check_interval` is 0 (no PING before commands), `driver_info` None (no CLIENT SETINFO), RESP 2 (no maintenance
notifications, no push messages). redis-py's OpenTelemetry hooks do nothing unless its own
`get_observability_instance().init()` is called; it is not.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from recsvc.errors import ConfigError
from recsvc.online.redis_handshake import (
    RESP_VERSION,
    Handshake,
    SentinelTcpConnection,
    SentinelTlsConnection,
    TcpConnection,
    TlsConnection,
    UnixConnection,
)
from recsvc.online.redis_probe import ServerInfo, probe
from recsvc.online.redis_url import RedisTarget, TlsOptions, Topology, parse

__all__ = ["ConnectionSettings", "RedisTarget", "ServerInfo", "connect", "parse", "probe"]


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How connections behave.

    `connect_timeout_s` bounds opening one, again its login, and a question to a Sentinel; `max_connections` is per
    server, and per node of a Cluster.
    """

    connect_timeout_s: float = 0.5
    max_connections: int = 64


def connect(target: RedisTarget, *, settings: ConnectionSettings) -> Redis | RedisCluster:
    """Make the client of `target`; it opens connections as they are needed, and `aclose()` closes them all.

    Raises ConfigError for TLS files that cannot be read. Sends nothing: `probe` finds out whether the server answers.
    """
    tls = _tls_context(target.tls) if target.tls else None
    if target.topology is Topology.CLUSTER:
        return _cluster(target, settings, tls)
    if target.topology is Topology.SENTINEL:
        return _sentinel(target, settings, tls)
    kwargs = _data_kwargs(target, settings)
    if target.path is not None:
        return _client(UnixConnection, settings, **kwargs, path=target.path)
    return _client(_tcp_class(tls), settings, **kwargs, **_address(target.nodes[0], tls))


def _client(
    connection_class: type[AbstractConnection],
    settings: ConnectionSettings,
    **kwargs: Any,  # noqa: ANN401 - passed on to redis-py
) -> Redis:
    pool = ConnectionPool(connection_class=connection_class, max_connections=settings.max_connections, **kwargs)
    return Redis.from_pool(pool)


def _data_kwargs(target: RedisTarget, settings: ConnectionSettings) -> dict[str, Any]:
    """Return what every data connection is made with; name, password and database are in the handshake alone."""
    return {
        **_kwargs(settings),
        "socket_timeout": None,
        "handshake": Handshake(target, target.credentials, target.db, settings.connect_timeout_s),
    }


def _kwargs(settings: ConnectionSettings) -> dict[str, Any]:
    return {
        "socket_connect_timeout": settings.connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "driver_info": None,
        "protocol": RESP_VERSION,
        "decode_responses": False,
    }


def _address(node: tuple[str, int], tls: ssl.SSLContext | None) -> dict[str, Any]:
    return {"host": node[0], "port": node[1]} | _tls_kwargs(tls)


def _tls_kwargs(tls: ssl.SSLContext | None) -> dict[str, Any]:
    return {"tls": tls} if tls else {}


def _tcp_class(tls: ssl.SSLContext | None) -> type[Connection]:
    return TlsConnection if tls else TcpConnection


def _tls_context(options: TlsOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca)
        if options.cert:
            context.load_cert_chain(options.cert, options.key)
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(f"{name}={path}" for name, path in _files(options))
        raise ConfigError(
            f"the TLS files of the Redis URL ({names}) cannot be used: {_reason(error)}; PEM files are needed"
        ) from None
    context.check_hostname = options.check_hostname
    return context


def _files(options: TlsOptions) -> list[tuple[str, object]]:
    return [(name, path) for name in ("ca", "cert", "key") if (path := getattr(options, name)) is not None]


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


class _MasterPool(SentinelConnectionPool):
    """The pool of a master, which closes the clients of the Sentinels with it."""

    async def aclose(self) -> None:
        """Close all connections."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def _sentinel(target: RedisTarget, settings: ConnectionSettings, tls: ssl.SSLContext | None) -> Redis:
    login = Handshake(target, target.sentinel_credentials, 0, settings.connect_timeout_s)
    asking = _kwargs(settings) | {"socket_timeout": settings.connect_timeout_s, "handshake": login}
    manager = Sentinel([])  # It would make its clients without our handshake.
    manager.sentinels = [_client(_tcp_class(tls), settings, **asking, **_address(node, tls)) for node in target.nodes]
    client: Redis = manager.master_for(
        target.service or "",
        connection_pool_class=_MasterPool,
        connection_class=SentinelTlsConnection if tls else SentinelTcpConnection,
        max_connections=settings.max_connections,
        **_data_kwargs(target, settings),
        **_tls_kwargs(tls),
    )
    return client


class _Cluster(RedisCluster):
    """A Cluster client whose `aclose` closes: redis-py's does nothing before the first command or after a lost node."""

    async def aclose(self) -> None:
        """Close all connections, also of the nodes that the client began with and may have dropped since."""
        await super().aclose()
        manager = self.nodes_manager
        for node in [*manager.nodes_cache.values(), *manager.startup_nodes.values(), *self.startup_nodes]:
            await node.disconnect()


def _cluster(target: RedisTarget, settings: ConnectionSettings, tls: ssl.SSLContext | None) -> RedisCluster:
    kwargs = _data_kwargs(target, settings)
    ours = {"handshake": kwargs.pop("handshake"), **_tls_kwargs(tls)}
    client = _Cluster(
        startup_nodes=[ClusterNode(host, port) for host, port in target.nodes],
        max_connections=settings.max_connections,
        # A shard without an owner costs its own keys, not those of the others.
        require_full_coverage=False,
        # By default every fifth MOVED closes all connections, also those in use; patching the moved slot is enough.
        reinitialize_steps=0,
        **kwargs,
    )
    # RedisCluster takes no connection class, so it is put where redis-py keeps it: the template for nodes still to be
    # found, and the nodes that it begins with.
    client.nodes_manager.connection_kwargs.update(ours, connection_class=_tcp_class(tls))
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_class = _tcp_class(tls)
        node.connection_kwargs.update(ours)
    return client
