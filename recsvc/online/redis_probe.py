"""The question asked once at start-up: is it a Redis, of the kind that the URL says, and may we in.

HELLO answers it all without any permission: version, mode (standalone, cluster, sentinel) and role. INFO would need a
right that a read-only user does not have.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import redis.exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool

from recsvc.errors import StartupError
from recsvc.online.redis_handshake import RESP_VERSION, Handshake
from recsvc.online.redis_url import RedisTarget, Topology

OLDEST_VERSION = (6, 2)
PROBE_TIMEOUT_S = 5.0
_READ_RULES = "+@read +ping ~fs:*"
_CLUSTER_RULES = "+@read +ping +cluster|slots +command ~fs:*"


# RedisClusterException is not a RedisError; TimeoutError is an OSError.
_FAILURES = (redis.exceptions.RedisError, redis.exceptions.RedisClusterException, OSError)


class _Server(Protocol):
    """A Redis or a ClusterNode."""

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - redis-py's signature
        """Send a command and return the answer."""
        ...


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself.

    `mode` is standalone, cluster or sentinel; `role` is master or replica, empty for a Sentinel.
    """

    version: str
    mode: str
    role: str


async def probe(client: Redis | RedisCluster, *, timeout_s: float = PROBE_TIMEOUT_S) -> ServerInfo:
    """Ask the server behind a client of `connect` what it is; of a Cluster, also find all its nodes.

    Raises StartupError, one line without the password: nobody there, login refused, no Redis, one that is too old, or
    another kind of Redis than the URL says.
    """
    target = _handshake(client).target
    try:
        async with asyncio.timeout(timeout_s):
            return await _probe(client, target)
    except _FAILURES as error:
        raise StartupError(f"Redis at {target.safe} {_explain(error, target)}") from None


async def _probe(client: Redis | RedisCluster, target: RedisTarget) -> ServerInfo:
    if isinstance(client, RedisCluster):
        return await _probe_cluster(client, target)
    if isinstance(client.connection_pool, SentinelConnectionPool):
        await _probe_sentinels(client.connection_pool.sentinel_manager.sentinels, target)
    return _expect(await _hello(client), "standalone", target)


async def _probe_cluster(client: RedisCluster, target: RedisTarget) -> ServerInfo:
    info = _expect(await _first_answer(list(client.startup_nodes)), "cluster", target)
    try:
        await client.initialize()
    except IndexError:  # How redis-py says that CLUSTER SLOTS is empty.
        raise StartupError(
            f"Redis at {target.safe} is a Cluster whose slots are not assigned yet: finish `redis-cli --cluster create`"
        ) from None
    return info


async def _probe_sentinels(sentinels: list[Redis], target: RedisTarget) -> None:
    try:
        _expect(await _first_answer(sentinels), "sentinel", target)
    except redis.exceptions.AuthenticationError:
        raise StartupError(
            f"the Sentinels of {target.safe} do not let us in: their own login is ?sentinel_user=…&sentinel_password=…"
        ) from None


async def _first_answer(servers: Sequence[_Server]) -> ServerInfo:
    """Return the answer of the first server that gives one, else the error of the last."""
    for server in servers[:-1]:
        try:
            return await _hello(server)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            continue
    return await _hello(servers[-1])


async def _hello(server: _Server) -> ServerInfo:
    answer = await server.execute_command("HELLO", RESP_VERSION)
    pairs = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=False))
    return ServerInfo(*(pairs.get(name, b"").decode() for name in (b"version", b"mode", b"role")))


_KINDS = {
    "standalone": "a single server: its URL is redis://host:port",
    "cluster": "a node of a Cluster: its URL is redis+cluster://host:port",
    "sentinel": "a Sentinel: its URL is redis+sentinel://host:port/SERVICE",
}


def _expect(info: ServerInfo, mode: str, target: RedisTarget) -> ServerInfo:
    """Return `info` if it is of the right kind and new enough."""
    if info.mode != mode:
        raise StartupError(f"Redis at {target.safe} is {_KINDS.get(info.mode, 'of an unknown kind')}")
    numbers = re.match(r"(\d+)\.(\d+)", info.version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_VERSION:
        raise StartupError(f"Redis at {target.safe} has version {info.version}: 6.2 or later is needed")
    return info


def _handshake(client: Redis | RedisCluster) -> Handshake:
    holder = client.nodes_manager if isinstance(client, RedisCluster) else client.connection_pool
    handshake: Handshake = holder.connection_kwargs["handshake"]
    return handshake


def _explain(error: BaseException, target: RedisTarget) -> str:
    """Words for a failure; nothing of an exception's own text, which may quote what was sent."""
    links = list(_chain(error))
    if any(_errno(link) == errno.ECONNREFUSED for link in links):
        return "refuses connections: is it running there?"
    for kind, words in _WORDS.items():
        if any(isinstance(link, kind) for link in links):
            return words
    for link in links:
        if (words_of := _explain_one(link, target)) is not None:
            return words_of
    if isinstance(error, redis.exceptions.ConnectionError):
        return _CLOSED
    return f"failed with {type(error).__name__}"


_CLOSED = "closed the connection: is it a Redis, and does it want TLS (rediss://) or a client's certificate?"
_WORDS: dict[type[BaseException], str] = {
    FileNotFoundError: "has no socket at that path: is it running?",
    PermissionError: "has a socket that this system user may not open",
    socket.gaierror: "has a host name that cannot be resolved",
    MasterNotFoundError: "has no healthy master: its Sentinels know none of that name that is up",
    redis.exceptions.BusyLoadingError: "is still loading its data: try again shortly",
    redis.exceptions.InvalidResponse: "does not speak the protocol of Redis: is it another server's port?",
}


def _explain_one(error: BaseException, target: RedisTarget) -> str | None:
    words = None
    match error:
        case ssl.SSLCertVerificationError():
            words = f"has a certificate that is not trusted ({error.verify_message}): name its authority with ?ca=PATH"
        case ssl.SSLError():
            words = f"failed the TLS handshake ({error.reason}): does it speak TLS, and does it want a cert= and key=?"
        case redis.exceptions.AuthenticationError() if target.credentials is None:
            words = "asks for a password: write user:password@ before the host"
        case redis.exceptions.AuthenticationError():
            words = "refuses the user or the password of the URL"
        case redis.exceptions.NoPermissionError():
            rules = _CLUSTER_RULES if target.topology is Topology.CLUSTER else _READ_RULES
            words = f"does not let this user in fully: to read it needs `{rules}`, and +select for a database but 0"
        case redis.exceptions.ResponseError():
            words = _explain_response(str(error))
        case redis.exceptions.TimeoutError() | TimeoutError():
            # A Redis without TLS takes a TLS greeting for the beginning of a command and waits for its end.
            words = "did not answer in time" + (": does it speak TLS there?" if target.tls else "")
        case ConnectionResetError() | BrokenPipeError():
            words = _CLOSED
    return words


def _explain_response(text: str) -> str:
    if "unknown command" in text:
        return "does not know the command HELLO: Redis 6.2 or later is needed"
    if "protected mode" in text:
        return "is in protected mode: give it a password, or connect from its own host"
    code = re.match(r"[A-Z]+\b", text)
    return f"answered with an error ({code[0] if code else 'ERR'})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _errno(error: BaseException) -> int | None:
    """Return the system's error number; asyncio hides it in the text where a host has several addresses."""
    if not isinstance(error, OSError):
        return None
    hidden = re.search(r"\[Errno (\d+)\]", str(error))
    return error.errno or (int(hidden[1]) if hidden else None)
