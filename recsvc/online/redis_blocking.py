"""From a Redis URL to a blocking redis-py client, for what runs in threads of its own: searches of vectors.

It does nothing behind our back, as `redis_connect` has it for asyncio: no retries, no waiting for a free connection,
no commands of its own beyond the login (a user that may only read is refused at CLIENT SETNAME). Here a timeout of
sockets is right: nobody else can end a call in a thread.
"""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry
from redis.sentinel import Sentinel

from recsvc.errors import ConfigError
from recsvc.online.redis_handshake import RESP_VERSION
from recsvc.online.redis_url import Credentials, RedisTarget, TlsOptions, Topology


def connect_blocking(target: RedisTarget, *, timeout_s: float, connections: int) -> Redis:
    """Make the client of a single server, or of the master that Sentinels name; it connects at the first command.

    ``timeout_s`` is for connecting, and for each wait for an answer. Raises ConfigError for a Cluster: a set of vectors
    is searched on one server.
    """
    if target.topology is Topology.CLUSTER:
        raise ConfigError("vectors in a Redis Cluster cannot be searched: they need a single server, or Sentinels")
    kwargs = {**_login(target.credentials, target.db), **_kwargs(timeout_s)}
    if target.topology is Topology.SENTINEL:
        return _sentinel(target, timeout_s, {**kwargs, "max_connections": connections})
    if target.path is not None:
        pool = ConnectionPool(UnixDomainSocketConnection, connections, path=target.path, **kwargs)
    else:
        host, port = target.nodes[0]
        of_class = SSLConnection if target.tls else Connection
        pool = ConnectionPool(of_class, connections, host=host, port=port, **kwargs, **_tls(target.tls))
    return Redis.from_pool(pool)


def _kwargs(timeout_s: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "protocol": RESP_VERSION,
    }


def _login(credentials: Credentials | None, db: int = 0) -> dict[str, Any]:
    login = {} if credentials is None else {"username": credentials.user, "password": credentials.password}
    return {"db": db, **login}


def _tls(options: TlsOptions | None) -> dict[str, Any]:
    if options is None:
        return {}
    files = {"ssl_ca_certs": options.ca, "ssl_certfile": options.cert, "ssl_keyfile": options.key}
    given = {name: str(path) for name, path in files.items() if path is not None}
    return {**given, "ssl_check_hostname": options.check_hostname}


def _sentinel(target: RedisTarget, timeout_s: float, kwargs: dict[str, Any]) -> Redis:
    tls = {"ssl": True, **_tls(target.tls)} if target.tls else {}
    asking = {**_login(target.sentinel_credentials), **_kwargs(timeout_s), **tls}
    manager = Sentinel(list(target.nodes), sentinel_kwargs=asking)
    client: Redis = manager.master_for(target.service or "", **kwargs, **tls)
    return client
