"""What a new connection to Redis says first, and the connection classes that say it.

redis-py 8.1 by itself sends up to six commands, one after another: HELLO or AUTH, CLIENT MAINT_NOTIFICATIONS, CLIENT
SETNAME, twice CLIENT SETINFO, SELECT; over a unix socket all of them twice (`_connect` and `connect_check_health`
both do it). A user that may only read is refused at CLIENT SETNAME. HELLO needs no permission, and logs in and sets
the name in the same command: so one HELLO, with SELECT behind it in the same write where a database is asked for, is
one round trip and all that is sent here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import hiredis
import redis.exceptions
from redis.asyncio.connection import AbstractConnection, Connection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.typing import EncodableT

from recsvc.online.redis_url import Credentials, RedisTarget

CLIENT_NAME = "recsvc"
RESP_VERSION = 2  # RESP 3 has nothing for us, and with it redis-py turns on its maintenance notifications.


@dataclass(frozen=True, slots=True)
class Handshake:
    """The first words on a connection to `target`: log in, set the name, select a database, all within `timeout_s`."""

    target: RedisTarget
    credentials: Credentials | None
    db: int
    timeout_s: float

    def commands(self) -> list[tuple[str | int, ...]]:
        """Return the commands to send in one go."""
        login = ("AUTH", self.credentials.user, self.credentials.password) if self.credentials else ()
        hello = ("HELLO", RESP_VERSION, *login, "SETNAME", CLIENT_NAME)
        return [hello, ("SELECT", self.db)] if self.db else [hello]


class _OurConnection(AbstractConnection):
    """A connection that opens with our handshake instead of redis-py's, and packs commands in C.

    redis-py's asyncio connections pack in Python: writing 10 features cost 4.0 µs of CPU per row, and costs 2.6.
    """

    def __init__(self, *, handshake: Handshake, **kwargs: Any) -> None:  # noqa: ANN401 - passed on to redis-py
        super().__init__(**kwargs)
        self.handshake = handshake

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        """Pack one command; those whose name has a space (`CONFIG GET`) are redis-py's to split."""
        name = args[0]
        if (" " if isinstance(name, str) else b" ") in name:  # type: ignore[operator]  # a name is a text
            return super().pack_command(*args)
        return [hiredis.pack_command(args)]  # type: ignore[arg-type]  # its stub takes one argument only

    def pack_commands(self, commands: Iterable[Iterable[EncodableT]]) -> list[bytes]:
        """Pack several commands into one write."""
        return [b"".join(chunk for command in commands for chunk in self.pack_command(*command))]

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - as redis-py has it
        # Without name, password, database and driver_info this only sets up the parser.
        await super().on_connect_check_health(check_health=check_health)
        try:
            async with asyncio.timeout(self.handshake.timeout_s):
                await self._say_hello()
        except TimeoutError:
            raise redis.exceptions.TimeoutError("no answer to HELLO in time") from None

    async def _say_hello(self) -> None:
        commands = self.handshake.commands()
        for command in commands:
            await self.send_command(*command, check_health=False)
        for _ in commands:
            await self.read_response()


class _TlsConnection(Connection):
    """TCP connection over a TLS context made beforehand.

    redis-py makes a context per connection, on the event loop, and reads all CA certificates for each.
    """

    def __init__(self, *, tls: ssl.SSLContext, **kwargs: Any) -> None:  # noqa: ANN401 - passed on to redis-py
        super().__init__(**kwargs)
        self._tls = tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._tls}

    async def disconnect(
        self,
        nowait: bool = False,  # noqa: FBT001, FBT002 - redis-py's signature
        error: Exception | None = None,
        failure_count: int | None = None,
        health_check_failed: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Close; at once where redis-py does not wait for it.

        It does not wait after an error, and asyncio would keep the socket for the TLS farewell, up to 30 s with a
        server that hangs.
        """
        if nowait and self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(nowait, error, failure_count, health_check_failed)


class TcpConnection(_OurConnection, Connection):
    """TCP, our handshake."""


class TlsConnection(_OurConnection, _TlsConnection):
    """TLS, our handshake."""


class UnixConnection(_OurConnection, UnixDomainSocketConnection):
    """Unix socket, our handshake, once."""

    async def on_connect(self) -> None:
        """Do nothing: `_connect` calls this, and `connect_check_health` does the handshake right after."""


class SentinelTcpConnection(_OurConnection, SentinelManagedConnection):
    """TCP to the master that Sentinel names, our handshake."""


class SentinelTlsConnection(_OurConnection, SentinelManagedConnection, _TlsConnection):
    """TLS to the master that Sentinel names, our handshake."""
