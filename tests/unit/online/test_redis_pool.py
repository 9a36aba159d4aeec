"""Connections for rows: who opens them, who gets them, and that a late or strange reply is never anybody's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis.exceptions import ResponseError

from recsvc.online import redis_pool
from recsvc.online.redis_channel import Channel
from recsvc.online.redis_dial import OnLost, TcpDialer
from recsvc.online.redis_handshake import Handshake
from recsvc.online.redis_pool import FAILURES, ChannelPool
from recsvc.online.redis_url import Credentials, parse
from recsvc.telemetry.calls import Calls, StorePlace
from recsvc.telemetry.metrics import DB_DURATION, Metrics
from tests.parts.redis_server import free_port
from tests.parts.scripted_server import HELLO_REPLY, Command, Peer, Scripted, scripted_server
from tests.parts.waiting import eventually

PING = b"*1\r\n$4\r\nPING\r\n"
WAIT_S = 5.0
SOON_S = 0.02
"""A time in which no reply comes that a test holds back."""


def dialer_to(port: int, *, timeout_s: float = WAIT_S, login: Credentials | None = None) -> TcpDialer:
    """Return what opens connections to a port of this machine."""
    target = parse(f"redis://127.0.0.1:{port}/3")
    return TcpDialer("127.0.0.1", port, Handshake(target, login, target.db, timeout_s))


def pool_to(port: int, *, limit: int = 4, timeout_s: float = WAIT_S, login: Credentials | None = None) -> ChannelPool:
    """Return a pool of connections to a port of this machine."""
    return ChannelPool(dialer_to(port, timeout_s=timeout_s, login=login), limit=limit)


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[Scripted, ChannelPool]]:  # noqa: ANN401  # those of pool_to
    """Yield a server and a pool of connections to it."""
    async with scripted_server() as server:
        pool = pool_to(server.port, **options)
        try:
            yield server, pool
        finally:
            await pool.close()
            assert pool.is_empty


async def ask(pool: ChannelPool, count: int = 1, timeout_s: float = WAIT_S) -> list[Any]:
    """Ask for so many PONGs."""
    return await pool.ask(PING * count, count, asyncio.get_running_loop().time() + timeout_s)


def state(pool: ChannelPool) -> str:
    """Return what the pool says of itself, without the words around it."""
    return repr(pool).removeprefix("ChannelPool(").partition(", limit")[0]


async def test_a_connection_is_opened_once_and_used_again() -> None:
    """Reads one after another share a connection, which logs in and selects its database first."""
    async with served(login=Credentials("u", "p")) as (server, pool):
        assert [await ask(pool) for _ in range(3)] == [[b"OK"]] * 3
        assert state(pool) == "0 busy, 1 idle, 0 opening"
        hello = [b"HELLO", b"2", b"AUTH", b"u", b"p", b"SETNAME", b"recsvc"]
        assert server.commands == [hello, [b"SELECT", b"3"], *[[b"PING"]] * 3]


@pytest.mark.parametrize(
    ("reply", "told"),
    [(b"+PONG", ""), (b"-LOADING not yet", "LOADING"), (b"-NOPERM no", "NOPERM"), (b"-MOVED 1 h:1", "")],
)
async def test_what_redis_refuses_is_told(reply: bytes, told: str) -> None:
    """An error reply is no success in metrics; that keys are elsewhere is no error of the node."""
    metrics = Metrics()

    async def answer(peer: Peer, command: Command) -> None:
        peer.say(HELLO_REPLY if command[0] == b"HELLO" else b"+OK\r\n" if command[0] == b"SELECT" else reply + b"\r\n")

    async with scripted_server() as server:
        server.answer = answer
        pool = ChannelPool(dialer_to(server.port), limit=1, calls=Calls(metrics))
        await ask(pool)
        await pool.close()
    ((labels, _),) = metrics[DB_DURATION].points()
    assert labels == ("redis", "MGET", "127.0.0.1", str(server.port), told)


async def test_reads_at_once_have_a_connection_each_up_to_the_limit() -> None:
    """No more connections are open than the limit; whoever waits longest gets the next one that is free."""
    held: asyncio.Queue[Peer] = asyncio.Queue()

    async def answer(peer: Peer, command: Command) -> None:
        if command[0] == b"PING":
            held.put_nowait(peer)
        else:
            peer.say(HELLO_REPLY)

    async with served(limit=2) as (server, pool):
        server.answer = answer
        reads = [asyncio.create_task(ask(pool)) for _ in range(5)]
        for n in range(5):
            peer = await held.get()
            assert len(server.peers) <= 2
            peer.say(b"+%d\r\n" % n)
        assert sorted(await asyncio.gather(*reads)) == [[b"%d" % n] for n in range(5)]
        assert state(pool) == "0 busy, 2 idle, 0 opening"


async def test_opening_goes_on_when_the_read_gives_up() -> None:
    """Where opening takes longer than a read may, reads time out, but one opening leaves its connection to others."""
    let_in = asyncio.Event()

    async def answer(peer: Peer, command: Command) -> None:
        if command[0] == b"HELLO":
            await let_in.wait()
        peer.say(b"+OK\r\n")

    async with served() as (server, pool):
        server.answer = answer
        for _ in range(3):
            with pytest.raises(TimeoutError, match="no connection in time"):
                await ask(pool, timeout_s=SOON_S)
            assert state(pool) == "0 busy, 0 idle, 1 opening"
        let_in.set()
        await eventually(lambda: state(pool) == "0 busy, 1 idle, 0 opening")
        assert await ask(pool, timeout_s=WAIT_S) == [b"OK"]
        assert [c[0] for c in server.commands] == [b"HELLO", b"SELECT", b"PING"]


async def test_openings_are_bounded_and_end() -> None:
    """A server that lets nobody in costs no more openings than the limit, each for its timeout; closing ends them."""

    async def answer(peer: Peer, command: Command) -> None:
        pass

    async with served(limit=2, timeout_s=0.2) as (server, pool):
        server.answer = answer
        reads = [ask(pool, timeout_s=SOON_S) for _ in range(5)]
        assert {type(e) for e in await asyncio.gather(*reads, return_exceptions=True)} == {TimeoutError}
        assert state(pool) == "0 busy, 0 idle, 2 opening"
        await eventually(lambda: state(pool) == "0 busy, 0 idle, 0 opening")
        with pytest.raises(TimeoutError):
            await ask(pool, timeout_s=SOON_S)
        assert state(pool) == "0 busy, 0 idle, 1 opening"  # which close() ends


async def test_nobody_there_is_told_at_once() -> None:
    """A refused connection is the error of the read that wanted it, and of nobody else's."""
    pool = pool_to(free_port())
    for _ in range(2):
        results = await asyncio.gather(*(ask(pool) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(error, ConnectionRefusedError) for error in results)
    await pool.close()


async def test_a_login_that_is_refused_is_the_error() -> None:
    """What Redis answers to HELLO is the error, and the connection is closed."""

    async def answer(peer: Peer, command: Command) -> None:
        peer.say(b"-WRONGPASS no\r\n")

    async with served() as (server, pool):
        server.answer = answer
        with pytest.raises(ResponseError, match="WRONGPASS"):
            await ask(pool)
        await eventually(lambda: not server.peers)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"+one\r\n+two\r\n", "more came"),
        (b"+one\r\n+tw", "more came"),
        (b"HTTP/1.1 400\r\n", "no reply of Redis"),
        (b"", "was closed"),
    ],
)
async def test_anything_unusual_closes_the_connection(said: bytes, words: str) -> None:
    """Too much, garbage or an end instead of a reply is an error of this read; the next has a new connection."""

    async def answer(peer: Peer, command: Command) -> None:
        if command[0] == b"PING":
            peer.say(said)
            peer.hang_up()
        else:
            peer.say(HELLO_REPLY)

    async with served() as (server, pool):
        usual, server.answer = server.answer, answer
        with pytest.raises(ConnectionError, match=words):
            await ask(pool)
        server.answer = usual
        assert await ask(pool) == [b"OK"]
        assert [c[0] for c in server.commands].count(b"HELLO") == 2


async def test_a_connection_closed_as_soon_as_it_is_open_is_an_error() -> None:
    """One that is lost between its login and its first use costs the read that wanted it, and is not kept."""

    @dataclass(frozen=True)
    class Closing:
        """Opens connections that are closed by then."""

        real: TcpDialer

        @property
        def place(self) -> StorePlace:
            """See Dialer."""
            return self.real.place

        async def open(self, on_lost: OnLost) -> Channel:
            """See Dialer."""
            channel = await self.real.open(on_lost)
            channel.abort()
            return channel

    async with served() as (server, pool):
        pool._dialer = Closing(dialer_to(server.port))
        with pytest.raises(ConnectionError, match="as soon as it was open"):
            await ask(pool)
        assert pool.is_empty


async def test_a_channel_shows_its_state() -> None:
    """repr() says whether it is idle, busy or closed; a closed one cannot be asked."""
    async with served() as (server, pool):
        channel = await pool._dialer.open(lambda _: None)
        assert repr(channel) == "Channel(idle)"
        until = asyncio.get_running_loop().time() + WAIT_S
        question = asyncio.create_task(channel.ask(PING, 1, until))
        await asyncio.sleep(0)
        assert repr(channel) == "Channel(busy)"
        assert await question == [b"OK"]
        channel.abort()
        assert repr(channel) == "Channel(closed)"
        with pytest.raises(ConnectionError, match="is closed"):
            await channel.ask(PING, 1, until)
        await eventually(lambda: not server.peers)


async def test_what_comes_unasked_closes_an_idle_connection() -> None:
    """An idle connection on which something comes, or which is closed, is not used again."""
    async with served() as (server, pool):
        for end in (lambda peer: peer.say(b"+late\r\n"), Peer.hang_up):
            assert await ask(pool) == [b"OK"]
            end(server.peers[0])
            await eventually(lambda: state(pool) == "0 busy, 0 idle, 0 opening")
        assert await ask(pool) == [b"OK"]


async def test_error_replies_leave_the_connection_open() -> None:
    """Errors of single commands stand among the replies, in order."""

    async def answer(peer: Peer, command: Command) -> None:
        n = len(server.commands)
        peer.say(HELLO_REPLY if command[0] != b"PING" else b"-MOVED 1 h:2\r\n" if n % 2 else b"+fine\r\n")

    async with served() as (server, pool):
        server.answer = answer
        moved, fine = await ask(pool, 2)
        assert (str(moved), fine) == ("MOVED 1 h:2", b"fine")
        assert isinstance(moved, ResponseError)
        assert state(pool) == "0 busy, 1 idle, 0 opening"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_read_cut_short_closes_its_connection(cancelled: bool) -> None:  # noqa: FBT001  # a parameter
    """After a timeout, or a cancellation, the late reply is nobody's."""
    release = asyncio.Event()

    async def answer(peer: Peer, command: Command) -> None:
        if command[0] == b"PING" and not release.is_set():
            peer.say(b"+the beginning of a la")
            await release.wait()
            peer.say(b"te reply\r\n")
        else:
            peer.say(b"+OK\r\n")

    async with served() as (server, pool):
        server.answer = answer
        read = asyncio.create_task(ask(pool, timeout_s=WAIT_S if cancelled else 0.2))
        await eventually(lambda: [b"PING"] in server.commands)
        if cancelled:
            read.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
            await read
        await eventually(lambda: state(pool) == "0 busy, 0 idle, 0 opening")
        release.set()
        assert await ask(pool, 2) == [b"OK", b"OK"]


async def test_a_read_cancelled_while_it_waits_leaves_the_connection_to_others() -> None:
    """The opening of a cancelled read goes on, and what is handed over in the moment of a cancellation is kept."""
    let_in = asyncio.Event()

    async def answer(peer: Peer, command: Command) -> None:
        if command[0] == b"HELLO":
            await let_in.wait()
        peer.say(b"+OK\r\n")

    async with served(limit=1) as (server, pool):
        server.answer = answer
        read = asyncio.create_task(ask(pool))
        await eventually(lambda: server.commands)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        let_in.set()
        await eventually(lambda: state(pool) == "0 busy, 1 idle, 0 opening")
        waiting: asyncio.Task[list[Any]] | None = None

        async def hold() -> None:
            await ask(pool)
            assert waiting is not None
            waiting.cancel()  # it has been given the connection, but has not been woken

        holding = asyncio.create_task(hold())
        waiting = asyncio.create_task(ask(pool))
        await holding
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert state(pool) == "0 busy, 1 idle, 0 opening"


async def test_a_timeout_makes_idle_connections_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those silent since the read was sent are closed too; others stay, and all do where the read had little time."""
    silent: list[Peer] = []

    async def answer(peer: Peer, command: Command) -> None:
        if peer not in silent:
            peer.say(b"+OK\r\n")

    async with served() as (server, pool):
        server.answer = answer
        cases = ((True, 0.1, "0 busy, 0 idle"), (False, 0.1, "0 busy, 2 idle"), (True, 3600, "0 busy, 2 idle"))
        for suspect, silence_s, expected in cases:
            monkeypatch.setattr(redis_pool, "SILENCE_S", silence_s)
            await asyncio.gather(*(ask(pool) for _ in range(3)))
            assert state(pool) == "0 busy, 3 idle, 0 opening"
            silent[:] = server.peers
            last, *others = reversed(pool._idle)
            read = asyncio.create_task(ask(pool, timeout_s=0.2))
            await asyncio.sleep(0)  # now it is sent
            for channel in others:
                channel.answered_at += 0 if suspect else WAIT_S
            with pytest.raises(TimeoutError):
                await read
            await eventually(lambda expected=expected: state(pool).startswith(expected))
            assert not last.usable
            silent.clear()


async def test_a_retired_pool_opens_nothing_and_empties() -> None:
    """What is idle is closed, what is busy ends its read first, what waits is told."""
    release = asyncio.Event()

    async def answer(peer: Peer, command: Command) -> None:
        if command[0] == b"PING":
            await release.wait()
        peer.say(b"+OK\r\n")

    async with served(limit=1) as (server, pool):
        server.answer = answer
        busy, waiting = asyncio.create_task(ask(pool)), asyncio.create_task(ask(pool))
        await eventually(lambda: [b"PING"] in server.commands)
        pool.retire()
        with pytest.raises(ConnectionError, match="no longer used"):
            await waiting
        release.set()
        assert await busy == [b"OK"]
        with pytest.raises(ConnectionError, match="no longer used"):
            await ask(pool)
        await eventually(lambda: pool.is_empty)


async def test_closing_ends_reads_and_openings() -> None:
    """Reads under way get an error of ours, whatever they wait for."""

    async def answer(peer: Peer, command: Command) -> None:
        if server.commands.count([b"SELECT", b"3"]) < 2 and command[0] != b"PING":
            peer.say(b"+OK\r\n")

    async with served(limit=2) as (server, pool):
        server.answer = answer
        reads = [asyncio.create_task(ask(pool)) for _ in range(2)]
        await eventually(lambda: [b"PING"] in server.commands)
        await eventually(lambda: state(pool) == "1 busy, 0 idle, 1 opening")
        await pool.close()
        results = await asyncio.gather(*reads, return_exceptions=True)
        assert all(isinstance(error, FAILURES) for error in results)
