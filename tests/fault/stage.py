"""The real thing, to be broken: a Redis that keeps its rows, a fault proxy, `recsvc serve`, a load generator.

The server has a core of its own; everything else shares the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from tests.bench.rounds import apart
from tests.e2e.serving import Server, server_folder, started
from tests.fault.breaker_log import Change, changes
from tests.fault.plan import Calls, Plan
from tests.fault.proxy import LOOPBACK, FaultProxy, proxying
from tests.fault.rig import DEFINITIONS
from tests.fault.values import fill
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import RunningRedis, free_port, running_redis, short_folder, wait_for_redis

_END_S: Final = 60.0


class DurableRedis:
    """A server whose rows are there again when it is started again."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.port = free_port()
        self.running: RunningRedis
        self.start()

    def __repr__(self) -> str:
        return f"DurableRedis({self.port})"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{LOOPBACK}:{self.port}"

    def client(self) -> redis.Redis:
        """Return a client of it."""
        return redis.Redis(port=self.port, socket_timeout=5)

    def start(self) -> None:
        """Start it, also again, and wait until it answers."""
        options = {"port": self.port, "bind": LOOPBACK, "dir": self._folder, "appendonly": "yes"}
        self.running = self._stack.enter_context(running_redis(redis_server(REDIS_8_2), options))
        wait_for_redis(self.running, self.client())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.running.process.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        self.running.process.kill()
        self.running.process.wait()


@contextlib.contextmanager
def durable_redis(users: int) -> Iterator[DurableRedis]:
    """Run one with users in it."""
    with short_folder() as folder, ExitStack() as stack:
        server = DurableRedis(stack, folder)
        fill(server.client(), users)
        yield server


@dataclass(frozen=True, slots=True)
class Timed:
    """A change of a breaker, and when it was, on the monotonic clock."""

    at: float
    change: Change


@dataclass(frozen=True, slots=True)
class Stage:
    """A server that serves, what it reads from, and the folder for what load generators write."""

    server: Server
    folder: Path

    def breaker_changes(self) -> list[Timed]:
        """Return all changes of breakers so far."""
        offset = time.monotonic() - time.time()
        return [
            Timed(dt.datetime.fromisoformat(line["timestamp"]).timestamp() + offset, change)
            for line in log_lines(self.server.log())
            for change in changes([line["event"]])
        ]

    def cpu_s(self) -> float:
        """Return the CPU seconds that the server has taken."""
        fields = Path(f"/proc/{self.server.process.pid}/stat").read_text().rpartition(")")[2].split()
        utime, stime = 11, 12
        return (int(fields[utime]) + int(fields[stime])) / os.sysconf("SC_CLK_TCK")

    @contextlib.asynccontextmanager
    async def load(self, plan: Plan) -> AsyncIterator[Load]:
        """Run a load generator, which has begun when it is given; what it has not finished is ended with it."""
        file = self.folder / f"calls-{time.monotonic_ns()}.npz"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fault.load", plan.text(), str(file)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        load = Load(process, file)
        try:
            await load.begun()
            yield load
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Load:
    """A load generator at work."""

    def __init__(self, process: asyncio.subprocess.Process, file: Path) -> None:
        self._process = process
        self._file = file
        self.wrong: list[str] = []

    def __repr__(self) -> str:
        return f"Load({self._process.pid})"

    async def begun(self) -> None:
        """Wait until it calls."""
        assert await self._line() == "ready"

    async def change(self, **fields: object) -> None:
        """Change its plan."""
        await self._tell(json.dumps(fields))

    async def finish(self) -> Calls:
        """Tell it to stop, and return all of its calls; the first wrong answers are in ``wrong``."""
        await self._tell("stop")
        return await self.finished()

    async def finished(self) -> Calls:
        """Wait until it has made all of its calls, and return them."""
        said: dict[str, Any] = json.loads(await self._line())
        self.wrong = said["wrong"]
        await self._process.wait()
        return Calls.load(self._file)

    async def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()


@contextlib.contextmanager
def _serving(folder: Path, url: str, *flags: object) -> Iterator[Server]:
    """Start a server, and see afterwards that it ended as it should, with nothing in its log that nobody thought of."""
    quick = ("--listen", f"{LOOPBACK}:0", "--redis", url, "--lame-duck-s", 0, "--refuse-s", 0)
    with started(folder, DEFINITIONS, *quick, *flags) as process:
        server = process.announced()
        yield server
        server.signal(signal.SIGTERM)
        assert (server.ended(), unexpected(server.log())) == (0, []), server.log()


def log_lines(log: str) -> Iterator[Mapping[str, str]]:
    """Yield the lines of a log, which are JSON; what somebody else wrote to stderr is an event, too."""
    for line in log.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            yield {"event": line}


def unexpected(log: str) -> list[str]:
    """Return the log entries with a traceback; gRPC's own, where a caller left while it was answered, is none."""
    return [
        f"{line['event']}\n{line.get('exception', '')}"
        for line in log_lines(log)
        if ("exception" in line or "Traceback" in line["event"]) and "ExecuteBatchError" not in line["event"]
    ]


@contextlib.asynccontextmanager
async def stage(url: str, *flags: object) -> AsyncIterator[Stage]:
    """Start a server with these flags over a Redis, on a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        # In a thread: the server connects through a proxy that lives in this loop.
        server = await asyncio.to_thread(stack.enter_context, apart(_serving(folder, url, *flags)))
        os.sched_setaffinity(0, set(cores[:-1] or cores))
        try:
            yield Stage(server, folder)
        finally:
            os.sched_setaffinity(0, set(cores))
            await asyncio.to_thread(stack.close)


@contextlib.asynccontextmanager
async def proxied_stage(store: DurableRedis, *flags: object) -> AsyncIterator[tuple[Stage, FaultProxy]]:
    """Start a server that reaches its Redis through a fault proxy."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxying(store.port))
        yield await stack.enter_async_context(stage(f"redis://{LOOPBACK}:{proxy.port}", *flags)), proxy
