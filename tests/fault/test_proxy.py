"""The fault proxy does to a conversation what it was told, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.fault.proxy import _LONGER_ONES, LOOPBACK, NONE, Cut, Fault, FaultProxy, proxying
from tests.parts.redis_server import free_port
from tests.parts.waiting import eventually

REPLY = bytes(range(200))
LONG_S = 3600.0


@dataclass
class Talk:
    """A connection through the proxy to a server that answers each request with REPLY."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes = b"MGET") -> bytes:
        """Return the whole reply; what came of it until the connection ended raises IncompleteReadError."""
        self.writer.write(request)
        return await self.reader.readexactly(len(REPLY))

    async def asked_until_reset(self) -> int:
        """Return how many bytes of a reply came before the connection was reset."""
        self.writer.write(b"MGET")
        got = 0
        try:
            while await self.reader.read(1):
                got += 1
        except ConnectionResetError:
            return got
        raise AssertionError("the connection was closed, not reset")


@contextlib.asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Talk]:
    """Open a connection and close it."""
    reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
    try:
        yield Talk(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """A proxy in front of that server."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(4096):
                writer.write(REPLY)
                await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(answer, LOOPBACK, 0) as server,
        proxying(server.sockets[0].getsockname()[1]) as made,
    ):
        yield made


async def test_without_a_fault_everything_passes(proxy: FaultProxy) -> None:
    """Replies come whole, the client's close closes the other side, and the proxy keeps nothing."""
    async with connected(proxy) as talk:
        assert [await talk.ask() for _ in range(3)] == [REPLY] * 3
        assert len(proxy.connections) == 1
    await eventually(lambda: not proxy.connections)
    assert "0 connections" in repr(proxy)


async def test_a_delayed_reply_comes_not_before_its_time(proxy: FaultProxy) -> None:
    """By the loop's clock no reply is earlier than delay_s, nor with jitter; the order is kept."""
    loop = asyncio.get_running_loop()
    async with connected(proxy) as talk:
        for fault in (Fault(delay_s=0.02), Fault(delay_s=0.01, jitter_s=0.02)):
            proxy.fault = fault
            before = loop.time()
            assert await talk.ask() == REPLY
            assert loop.time() - before >= fault.delay_s


async def test_a_fault_is_over_when_it_is_taken_back(proxy: FaultProxy) -> None:
    """What was already late stays so, what comes later is not."""
    async with connected(proxy) as talk, connected(proxy) as other:
        await other.ask()
        proxy.fault = Fault(delay_s=LONG_S)
        late = asyncio.create_task(talk.ask())
        await eventually(lambda: any(c._replies._waiting for c in proxy.connections))
        proxy.fault = NONE
        assert await other.ask() == REPLY
        assert not late.done()
        late.cancel()


async def test_a_black_hole_holds_back_and_forgets_nothing(proxy: FaultProxy) -> None:
    """Nothing passes, open and new connections stay open; at the end everything comes."""
    async with connected(proxy) as old:
        await old.ask()
        proxy.fault = Fault(black_hole=True)
        async with connected(proxy) as new:
            answers = [asyncio.create_task(talk.ask()) for talk in (old, new)]
            await eventually(lambda: sum(bool(c._requests._waiting) for c in proxy.connections) == 2)
            assert not any(answer.done() for answer in answers)
            proxy.fault = NONE
            assert await asyncio.gather(*answers) == [REPLY, REPLY]


async def test_replies_are_reset_at_every_offset(proxy: FaultProxy) -> None:
    """Exactly the bytes before the cut arrive, then a reset: at 0, at each byte, and behind the last one."""
    for at in range(len(REPLY) + 1):
        proxy.fault = Fault(cut=Cut(at=at, reset=True))
        async with connected(proxy) as talk:
            assert await talk.asked_until_reset() == at
    assert proxy.cuts == dict.fromkeys(range(len(REPLY) + 1), 1)


async def test_a_walking_cut_passes_every_offset(proxy: FaultProxy) -> None:
    """Sliced one byte further with each reply, replies are whole, and behind the end it begins anew."""
    proxy.fault = Fault(cut=Cut(pause_s=0.0))
    async with connected(proxy) as talk:
        for _ in range(2 * (len(REPLY) + 1 + _LONGER_ONES)):
            assert await talk.ask() == REPLY
    assert set(proxy.cuts) == set(range(len(REPLY) + 1))
    assert min(proxy.cuts.values()) >= 2


async def test_only_the_replies_that_are_meant_are_cut(proxy: FaultProxy) -> None:
    """Other commands pass, and of those meant one in so many is cut."""
    proxy.fault = Fault(cut=Cut(at=5, one_in=3))
    async with connected(proxy) as talk:
        for request in (b"PING", b"MGET", b"MGET", b"PING", b"MGET", b"MGET"):
            assert await talk.ask(request) == REPLY
    assert proxy.cuts == {5: 1}


async def test_pieces_come_one_by_one(proxy: FaultProxy) -> None:
    """With piece=1 and with little bandwidth a reply is many writes, and whole."""
    for fault in (Fault(piece=1), Fault(bytes_per_s=1_000.0)):
        proxy.fault = fault
        async with connected(proxy) as talk:
            talk.writer.write(b"MGET")
            first = await talk.reader.read(len(REPLY))
            assert 0 < len(first) < len(REPLY)
            assert first + await talk.reader.readexactly(len(REPLY) - len(first)) == REPLY


async def test_refusing_and_taking_again(proxy: FaultProxy) -> None:
    """While it refuses, new connections are refused and old ones serve; then it takes them on the same port."""
    async with connected(proxy) as talk:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, proxy.port)
        assert await talk.ask() == REPLY
        await proxy.accept()
        async with connected(proxy) as new:
            assert await new.ask() == REPLY


async def test_reset_ends_all_connections(proxy: FaultProxy) -> None:
    """All clients see a reset."""
    async with connected(proxy) as one, connected(proxy) as other:
        await asyncio.gather(one.ask(), other.ask())
        proxy.reset()
        for talk in (one, other):
            with pytest.raises(ConnectionResetError):
                await talk.reader.readexactly(1)


async def test_a_target_that_is_gone_is_a_reset(proxy: FaultProxy) -> None:
    """Where nobody listens behind the proxy, the client is reset; another target takes the next connection."""
    target, proxy.target = proxy.target, free_port()
    async with connected(proxy) as talk:
        assert await talk.asked_until_reset() == 0
    proxy.target = target
    async with connected(proxy) as talk:
        assert await talk.ask() == REPLY
