"""A TCP proxy in front of Redis that does to the replies what networks do: late, slow, held back, cut, or not at all.

`FaultProxy.fault` may be set at any time, and holds for what arrives from then on. One proxy serves any number of
connections, in the loop that it was started in.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random
from typing import Final, cast

LOOPBACK: Final = "127.0.0.1"
_START: Final = 64
"""Bytes of a request in which its command is looked for."""
_STEPS_PER_S: Final = 100
"""In how many writes a limited line sends what it may send in a second, at the most."""
_LONGER_ONES: Final = 20
"""So many replies in a row are too short for the walking cut before it is taken to be behind the end of all."""
_LINGER_0: Final = struct.pack("ii", 1, 0)
"""With it a socket that is closed sends RST."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut through replies, `at` so many bytes behind their start; None walks over all, one byte further each time.

    There the connection is reset, or else the rest comes `pause_s` later. Of the replies to requests that have `only`
    in their first bytes, one in `one_in` is cut.
    """

    at: int | None = None
    reset: bool = False
    pause_s: float = 0.001
    one_in: int = 1
    only: bytes = b"MGET"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to replies. Times are in seconds; by default they pass as they come.

    `delay_s` and up to `jitter_s` more go by before anything that Redis sent is passed on. `piece` is how many bytes
    one write has at the most. In a `black_hole` nothing passes either way and connections stay open; at its end what
    was held back comes, as TCP sends it again.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    piece: int | None = None
    black_hole: bool = False
    cut: Cut | None = None


NONE: Final = Fault()


class FaultProxy:
    """Passes connections on to `target`, a port of this machine, with a fault. `proxying` starts and ends one."""

    def __init__(self, target: int, random: Random) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self.cuts: Counter[int] = Counter()
        """How many replies were cut, by the offset of the cut."""
        self.walker = 0
        """Where the walking cut is."""
        self._too_short = 0
        self.random = random
        self.connections: set[_Connection] = set()
        self._fault = NONE
        self._turns = 0
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        state = "listening" if self._server else "refusing"
        return f"FaultProxy({state}, {self.port} -> {self.target}, {len(self.connections)} connections, {self.fault})"

    @property
    def fault(self) -> Fault:
        """What happens to replies now."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        for connection in self.connections:
            connection.move()

    async def accept(self) -> None:
        """Take connections; at first on a port that is free, and after `refuse` on the same one again."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections, as a machine does on which nothing listens; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def reset(self) -> None:
        """Reset all connections."""
        for connection in list(self.connections):
            connection.reset()

    def cut_for(self, request: bytes) -> Cut | None:
        """Return the cut for the reply to `request`, if it is to be cut."""
        cut = self._fault.cut
        if cut is None or cut.only not in request[:_START]:
            return None
        self._turns += 1
        return cut if self._turns % cut.one_in == 0 else None

    def cut_done(self, offset: int) -> None:
        """Take down a cut; the walking one goes one further."""
        self.cuts[offset] += 1
        if offset == self.walker:
            self.walker, self._too_short = self.walker + 1, 0

    def too_short(self) -> None:
        """Take down that a reply ended before the walking cut, which begins anew when that is so again and again."""
        self._too_short += 1
        if self._too_short >= _LONGER_ONES:
            self.walker, self._too_short = 0, 0


@contextlib.asynccontextmanager
async def proxying(target: int, *, seed: int = 0) -> AsyncIterator[FaultProxy]:
    """Run a proxy without faults; at the end all of its connections are reset."""
    proxy = FaultProxy(target, Random(seed))
    await proxy.accept()
    try:
        yield proxy
    finally:
        proxy.refuse()
        proxy.reset()
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One connection: the side towards the client, and both lines."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self._requests = _Line(self._loop)
        self._replies = _Line(self._loop)
        self._upstream = _Upstream(self)
        self._opening: asyncio.Task[object] | None = None
        self._cut: tuple[Cut, int] | None = None
        self._passed = 0
        self._sides = 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the other side."""
        self._replies.out = cast("asyncio.Transport", transport)
        self._proxy.connections.add(self)
        self._proxy.accepted += 1
        self.move()
        self._opening = self._loop.create_task(self._open(self._proxy.target))

    async def _open(self, port: int) -> None:
        try:
            await self._loop.create_connection(lambda: self._upstream, LOOPBACK, port)
        except OSError:  # nobody there: the nearest to a refusal that is left
            self.reset()

    def opened(self, transport: asyncio.Transport) -> None:
        """Send what has come meanwhile."""
        self._sides += 1
        self._requests.out = transport
        self.move()

    def data_received(self, data: bytes) -> None:
        """Pass a request on."""
        if self._passed or self._cut is None:  # else it is more of a request that has begun
            self._begin(data)
        self._requests.push(data, self._loop.time())

    def _begin(self, request: bytes) -> None:
        """Decide about the reply to a new request."""
        if self._cut is not None and self._cut[0].at is None and self._cut[1] > self._passed:
            self._proxy.too_short()
        self._passed = 0
        cut = self._proxy.cut_for(request)
        if cut is None:
            self._cut = None
        else:
            self._cut = cut, self._proxy.walker if cut.at is None else cut.at

    def replied(self, data: bytes) -> None:
        """Pass a reply on, or the part of it that is to arrive."""
        start, self._passed = self._passed, self._passed + len(data)
        if self._cut is None or not start <= self._cut[1] <= self._passed or (start and start == self._cut[1]):
            self._pass(data)
            return
        cut, offset = self._cut
        self._proxy.cut_done(offset)
        self._pass(data[: offset - start])
        if cut.reset:
            self._replies.push(None, self._due())
        else:
            self._pass(data[offset - start :], cut.pause_s)

    def _due(self) -> float:
        fault = self._proxy.fault
        return self._loop.time() + fault.delay_s + fault.jitter_s * self._proxy.random.random()

    def _pass(self, data: bytes, pause_s: float = 0.0) -> None:
        fault, due = self._proxy.fault, self._due() + pause_s
        pace = 0.0 if fault.bytes_per_s is None else 1 / fault.bytes_per_s
        size = fault.piece or len(data) or 1
        if fault.bytes_per_s is not None:
            size = min(size, max(1, int(fault.bytes_per_s / _STEPS_PER_S)))
        for begin in range(0, len(data), size):
            piece = data[begin : begin + size]
            due = max(due, self._replies.last_due) + len(piece) * pace
            self._replies.push(piece, due)

    def move(self) -> None:
        """Hold both lines back, or let them go on."""
        for line in (self._requests, self._replies):
            line.held = self._proxy.fault.black_hole
            line.move()

    def lost(self, *, by_client: bool, error: Exception | None) -> None:
        """Close the other side too, after what is under way to it."""
        self._sides -= 1
        if not self._sides:
            self._proxy.connections.discard(self)
        if error is not None:
            self.reset()
        line = self._requests if by_client else self._replies
        line.close_at_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `lost`."""
        self.lost(by_client=True, error=exc)

    def reset(self) -> None:
        """Reset both sides."""
        if self._opening is not None and self._upstream.transport is None:
            self._opening.cancel()
        for line in (self._requests, self._replies):
            line.reset()


class _Upstream(asyncio.Protocol):
    """The side towards Redis."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `_Connection.opened`."""
        self.transport = cast("asyncio.Transport", transport)
        self._connection.opened(self.transport)

    def data_received(self, data: bytes) -> None:
        """See `_Connection.replied`."""
        self._connection.replied(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `_Connection.lost`."""
        self._connection.lost(by_client=False, error=exc)


class _Line:
    """One direction: what waits for its time, in order. None stands for a reset."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.out: asyncio.Transport | None = None
        self.held = False
        self.last_due = 0.0
        self._loop = loop
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.Handle | None = None
        self._ending = False

    def push(self, data: bytes | None, due: float) -> None:
        """Pass `data` on at `due`, or after what came before it."""
        self.last_due = max(due, self.last_due)
        self._waiting.append((self.last_due, data))
        self.move()

    def close_at_end(self) -> None:
        """Close the connection once everything has been passed on."""
        self._ending = True
        self.move()

    def reset(self) -> None:
        """Reset the connection now."""
        self._stop()
        self._waiting.clear()
        if self.out is not None and not self.out.is_closing():
            self.out.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            self.out.abort()

    def move(self) -> None:
        """Pass on what is due, one write in each turn of the loop, and wake up for the next."""
        self._stop()
        if self.held or self.out is None:
            return
        if self.out.is_closing():  # nobody is there to whom it could go
            self._waiting.clear()
            return
        if not self._waiting:
            if self._ending:
                self.out.close()
            return
        due, data = self._waiting[0]
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self.move)
            return
        self._waiting.popleft()
        if data is None:
            self.reset()
            return
        self.out.write(data)
        self._timer = self._loop.call_soon(self.move)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
