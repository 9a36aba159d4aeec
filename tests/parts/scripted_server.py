"""A TCP server whose answers a test writes: for what a real Redis does not do on demand, such as answering garbage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import hiredis

HELLO_REPLY = b"*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n"
Command = list[bytes]


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader()

    async def command(self) -> Command | None:
        """Return the next command; None once the client has closed."""
        while (command := self._parser.gets()) is False:
            try:
                data = await self._reader.read(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._parser.feed(data)
        assert isinstance(command, list)
        return command

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    def hang_up(self) -> None:
        """Close the connection."""
        self._writer.close()


Answer = Callable[[Peer, Command], Awaitable[None]]


async def say_hello(peer: Peer, command: Command) -> None:
    """Answer HELLO, and everything else with OK."""
    peer.say(HELLO_REPLY if command[0] == b"HELLO" else b"+OK\r\n")


class Scripted:
    """The server: ``answer`` is called for each command, and may be replaced; ``commands`` are those that came."""

    def __init__(self) -> None:
        self.answer: Answer = say_hello
        self.commands: list[Command] = []
        self.peers: list[Peer] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        peer = Peer(reader, writer)
        self.peers.append(peer)
        while (command := await peer.command()) is not None:
            self.commands.append(command)
            await self.answer(peer, command)
        writer.close()
        self.peers.remove(peer)


@contextlib.asynccontextmanager
async def scripted_server() -> AsyncIterator[Scripted]:
    """Yield a server on a port of its own that lets everybody in."""
    scripted = Scripted()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await scripted.serve(reader, writer)
        except asyncio.CancelledError:  # by the end of the test; asyncio would log it
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        scripted.port = server.sockets[0].getsockname()[1]
        try:
            yield scripted
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
