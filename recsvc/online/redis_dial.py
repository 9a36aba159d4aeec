"""Opens connections for reading rows: TCP, TLS or a unix socket, to the master that Sentinels name; logs in."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import hiredis
from redis.asyncio import Redis
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ResponseError

from recsvc.online.redis_channel import Channel
from recsvc.online.redis_handshake import Handshake
from recsvc.telemetry.calls import StorePlace

KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence before the system asks, seconds between questions, and how many without an answer end it."""

OnLost = Callable[[Channel], None]


class Dialer(Protocol):
    """Opens connections to one place."""

    @property
    def place(self) -> StorePlace:
        """What the place is called in metrics and spans."""
        ...

    async def open(self, on_lost: OnLost) -> Channel:
        """Open a connection and log in. Raises OSError (TimeoutError, ConnectionError, …) and RedisError."""
        ...


@dataclass(frozen=True, slots=True)
class TcpDialer:
    """Opens TCP connections, with TLS where there is a context for it."""

    host: str
    port: int
    handshake: Handshake
    tls: ssl.SSLContext | None = None

    @property
    def place(self) -> StorePlace:
        """See Dialer."""
        return StorePlace(self.host, str(self.port))

    async def open(self, on_lost: OnLost) -> Channel:
        """See Dialer."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.handshake.timeout_s):
            transport, channel = await loop.create_connection(
                lambda: Channel(on_lost), self.host, self.port, ssl=self.tls
            )
        try:
            _keep_alive(transport.get_extra_info("socket"))
        except OSError:  # it is closed already
            channel.abort()
            raise
        return await _logged_in(channel, self.handshake)


@dataclass(frozen=True, slots=True)
class UnixDialer:
    """Opens connections to a unix socket."""

    path: str
    handshake: Handshake

    @property
    def place(self) -> StorePlace:
        """See Dialer."""
        return StorePlace(self.path, "")

    async def open(self, on_lost: OnLost) -> Channel:
        """See Dialer."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.handshake.timeout_s):
            _, channel = await loop.create_unix_connection(lambda: Channel(on_lost), self.path)
        return await _logged_in(channel, self.handshake)


@dataclass(frozen=True, slots=True)
class SentinelDialer:
    """Opens TCP connections to the master of a service, asking the Sentinels each time who that is."""

    pool: SentinelConnectionPool
    handshake: Handshake
    tls: ssl.SSLContext | None = None

    @property
    def place(self) -> StorePlace:
        """See Dialer."""
        return StorePlace(self.pool.service_name, "")

    async def open(self, on_lost: OnLost) -> Channel:
        """See Dialer."""
        host, port = await self.pool.sentinel_manager.discover_master(self.pool.service_name)
        return await TcpDialer(host, int(port), self.handshake, self.tls).open(on_lost)


def dialer_of(client: Redis) -> Dialer:
    """Return what opens connections like those of a client that ``connect`` made for a single server or Sentinels."""
    pool = client.connection_pool
    kwargs: Mapping[str, Any] = pool.connection_kwargs
    handshake, tls = kwargs["handshake"], kwargs.get("tls")
    if isinstance(pool, SentinelConnectionPool):
        return SentinelDialer(pool, handshake, tls)
    if "path" in kwargs:
        return UnixDialer(kwargs["path"], handshake)
    return TcpDialer(kwargs["host"], kwargs["port"], handshake, tls)


def _keep_alive(sock: socket.socket) -> None:
    """Let the system notice a peer that vanished while nothing is asked; TCP_NODELAY is set by asyncio."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _logged_in(channel: Channel, handshake: Handshake) -> Channel:
    commands = handshake.commands()
    packed = b"".join(hiredis.pack_command(c) for c in commands)  # type: ignore[arg-type]  # its stub takes one argument only
    until = asyncio.get_running_loop().time() + handshake.timeout_s
    replies = await channel.ask(packed, len(commands), until)
    for reply in replies:
        if isinstance(reply, ResponseError):
            channel.abort()
            raise reply
    return channel
