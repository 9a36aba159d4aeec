"""The real thing, for the drill on slates: a Redis that keeps its rows, and two servers with indexes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.serving import END_S, environment
from tests.fault.slates_changes import Changes
from tests.fault.slates_faults import Faults
from tests.fault.slates_judge import Judge
from tests.fault.slates_load import Load
from tests.fault.slates_world import World, write_model
from tests.fault.stage import DurableRedis, unexpected
from tests.parts.redis_server import short_folder
from tests.rpc.calling import Caller

COPIES_S: Final = 2.0
"""For how long servers use copies of rows of users."""
KEY: Final = "a key for both servers"
_ANNOUNCEMENT: Final = re.compile(r"recsvc serves .* on (127\.0\.0\.1:\d+)\n")
_PLANNED: Final = re.compile(r"candidate source \w+ failed|PlannedError")


@dataclass(slots=True)
class SlateServer:
    """A server that breaks when it is told; ``versions`` counts those of its index."""

    process: subprocess.Popen[str]
    indexes: Path
    stderr: Path
    address: str = ""
    versions: int = field(default=0)

    def tell(self, faults: Faults) -> None:
        """Let these faults be from now on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{faults.text()}\n")
        self.process.stdin.flush()
        assert self._line() == "taken\n"

    def announced(self) -> None:
        """Wait until it serves."""
        line = self._line()
        found = _ANNOUNCEMENT.fullmatch(line)
        assert found, (line, self.stderr.read_text())
        self.address = found[1]

    def unexpected(self) -> list[str]:
        """Return what it logged with a traceback that was not to be."""
        return [entry for entry in unexpected(self.stderr.read_text()) if _PLANNED.search(entry) is None]

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@dataclass(frozen=True, slots=True)
class SlateStage:
    """All of it."""

    world: World
    store: DurableRedis
    servers: Sequence[SlateServer]
    changes: Changes
    load: Load

    def tell(self, faults: Faults) -> None:
        """Let all servers have these faults."""
        for server in self.servers:
            server.tell(faults)

    def publish(self, of: str = "items") -> None:
        """Publish another version of the index for each server; not the same, for each has a directory of its own."""
        for seed, server in enumerate(self.servers):
            server.versions += 1
            name = f"{of}-{seed}-{server.versions}"
            self.world.publish_index(server.indexes, name, 100 * server.versions + seed, of=of)

    def damage(self) -> None:
        """Publish a version with a file that is not what was written."""
        self.publish("damaged")
        for server in self.servers:
            for directory in server.indexes.glob("*/damaged-*"):
                for file in directory.glob("*"):
                    if file.name != "manifest.json":
                        file.write_bytes(file.read_bytes()[:-7] + b"rubbish")

    def withdraw(self) -> None:
        """Take the whole directory of the index away."""
        for server in self.servers:
            for directory in server.indexes.iterdir():
                shutil.rmtree(directory)

    def unexpected(self) -> list[str]:
        """Return what the servers logged with a traceback that was not to be."""
        return [entry for server in self.servers for entry in server.unexpected()]

    def start_redis(self) -> None:
        """Start Redis again; it loses nothing that it said it has."""
        self.store.start()
        keep_all(self.store)


def keep_all(store: DurableRedis) -> None:
    """Let a store lose nothing that it said it has, for what it lost nobody could know."""
    with store.client() as client:
        client.config_set("appendfsync", "always")


@contextlib.asynccontextmanager
async def slate_stage(world: World) -> AsyncIterator[SlateStage]:
    """Start everything; the shop changes all the while."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        store = DurableRedis(stack, stack.enter_context(short_folder()))
        world.fill(store.client())
        keep_all(store)
        write_model(folder / "models")
        servers = [stack.enter_context(_serving(world, folder, k, store.url)) for k in range(2)]
        async with AsyncExitStack() as closing:
            callers = [await closing.enter_async_context(Caller(server.address)) for server in servers]
            changes = Changes(world, store.url)
            closing.push_async_callback(changes.close)
            task = asyncio.create_task(changes.run())
            load = Load(world, Judge(world, changes, copies_s=COPIES_S), callers)
            try:
                yield SlateStage(world, store, servers, changes, load)
                assert not task.done(), task
            finally:
                while not task.done():  # wait_for of Python 3.11, which redis-py uses, may swallow a cancellation
                    task.cancel()
                    await asyncio.wait([task], timeout=1.0)


@contextlib.contextmanager
def _serving(world: World, folder: Path, number: int, url: str) -> Iterator[SlateServer]:
    indexes, stderr = folder / f"indexes-{number}", folder / f"stderr-{number}"
    indexes.mkdir()
    world.publish_index(indexes, f"items-{number}-0", number)
    flags: list[object] = ["--listen", "127.0.0.1:0", "--redis", url, "--index-dir", indexes, "--lame-duck-s", 0]
    flags += ["--model-dir", folder / "models", "--page-token-key", KEY, "--cache-s", COPIES_S, "--refuse-s", 0]
    words = [sys.executable, "-m", "tests.fault.slates_server", *map(str, flags)]
    with (
        stderr.open("wb") as log,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(folder)
        ) as process,
    ):
        server = SlateServer(process, indexes, stderr)
        try:
            server.announced()
            yield server
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_S) == 0, stderr.read_text()[-5_000:]
        finally:
            if process.poll() is None:
                process.kill()
