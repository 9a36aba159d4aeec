"""Servers of the read benchmarks: each on a core of its own, and how much of it they use. Linux only.

The measured server has the first core that this process may use. Load generator, Redis and this process share the last.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.rounds import keep_to, own_cores
from tests.parts.redis_server import short_folder
from tests.parts.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
FLOOR: Final = Path(__file__).with_name("read_floor_program.py")
READY_TIMEOUT_S: Final = 180.0
"""Feast takes 5 s on an idle machine."""
END_TIMEOUT_S: Final = 15.0
PATIENCE_MS: Final = 10_000
_ADDRESS: Final = re.compile(r"on (127\.0\.0\.1:\d+)$", re.MULTILINE)
_RSS: Final = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cores:
    """One for the server that is measured, one for all others; the same one where there is only one."""

    server: int
    load: int

    @classmethod
    def here(cls) -> Cores:
        """Return those of this machine."""
        cores = own_cores()
        return cls(cores[0], cores[-1])

    @contextlib.contextmanager
    def all_but_the_servers(self) -> Iterator[None]:
        """Keep this process, and what it starts, to the core of the load."""
        before = set(own_cores())
        keep_to({self.load})
        try:
            yield
        finally:
            keep_to(before)


@dataclass(frozen=True, slots=True)
class Process:
    """A running program, with the processes that it has started."""

    pid: int

    def cpu_seconds(self) -> float:
        """Return what they have used so far, in user and system."""
        return sum(_cpu_seconds(pid) for pid in self._family())

    def rss_bytes(self) -> int:
        """Return how much of their memory is resident now."""
        return sum(_rss_bytes(pid) for pid in self._family())

    def _family(self) -> Iterator[int]:
        found = [self.pid]
        while found:
            pid = found.pop()
            yield pid
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += map(int, (task / "children").read_text().split())


def _cpu_seconds(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) returns: to the ns, not to the 10 ms
    except OSError:
        return 0.0


def _rss_bytes(pid: int) -> int:
    found = _RSS.search(Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


@dataclass(frozen=True, slots=True)
class Server(Process):
    """A server that is measured."""

    address: str
    log: Path = field(repr=False)


@contextlib.contextmanager
def started(
    command: Sequence[str | Path],
    core: int,
    *,
    address: str | None = None,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server on ``core``; it is ready when it has printed where it is, or listens on ``address``."""
    with short_folder() as folder, (folder / "log").open("wb") as log:
        with _on(core):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
            )
        try:
            yield Server(process.pid, _ready(process, folder / "log", address), folder / "log")
        finally:
            _end(process)


@contextlib.contextmanager
def _on(core: int) -> Iterator[None]:
    before = set(own_cores())
    keep_to({core})
    try:
        yield
    finally:
        keep_to(before)


def _ready(process: subprocess.Popen[bytes], log: Path, address: str | None) -> str:
    """Wait until a server listens on ``address``, or has printed where it does; returns where."""

    def ready() -> bool:
        assert process.poll() is None, f"the server ended: {log.read_text()[-3000:]}"
        return _listens(address) if address else _ADDRESS.search(log.read_text()) is not None

    wait_until(ready, READY_TIMEOUT_S)
    printed = _ADDRESS.search(log.read_text())
    return address or (printed[1] if printed else "")


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1.0).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def floor_server(replies: Mapping[str, bytes], core: int, python: str | Path = sys.executable) -> Iterator[Server]:
    """Start a bare server that answers method NAME with ``replies[NAME]``."""
    with short_folder() as folder:
        for name, reply in replies.items():
            (folder / name).write_bytes(reply)
        with started([python, FLOOR, *(f"{name}={folder / name}" for name in replies)], core) as server:
            yield server


@contextlib.contextmanager
def recsvc_server(  # what, where and how
    definitions: Path,
    redis: str,
    core: int,
    python: str | Path = sys.executable,
    *,
    variables: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Server]:
    """Start recsvc as a user would, with these settings (``cache_s=0``) and environment variables.

    A slow moment of this machine must not look like a store that does not answer, or has too much to do: what comes of
    that would be measured instead. So timeouts are long, and there are connections for all calls in flight.
    """
    usual: dict[str, object] = {"listen": "127.0.0.1:0", "redis": redis, "log_level": "warning"}
    usual |= {"lame_duck_s": 0, "refuse_s": 0}
    usual |= {"redis_timeout_ms": PATIENCE_MS, "redis_connect_timeout_ms": PATIENCE_MS, "breaker_slow_ms": PATIENCE_MS}
    usual |= {"redis_connections": 128}
    usual |= settings
    flags = [text for name, value in usual.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    environment = {"PYTHONPATH": str(ROOT), **(variables or {})}
    with started([python, "-m", "recsvc", "serve", definitions, *flags], core, environment=environment) as server:
        yield server
