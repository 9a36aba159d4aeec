"""One redis-server (or Sentinel) process of a test: started in a folder of its own, ended by its own process handle."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.parts.waiting import POLL_S

_READY_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class RunningRedis:
    """A started process and the folder that goes with it."""

    process: subprocess.Popen[bytes]
    folder: Path

    def log(self) -> str:
        """Return what it has written so far."""
        return (self.folder / "log").read_text(errors="replace")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a folder with a path short enough for unix sockets, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="recsvc-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def running_redis(
    server: Path, options: Mapping[str, object], *, extra: tuple[str, ...] = (), sentinel_conf: str | None = None
) -> Iterator[RunningRedis]:
    """Run a server with these options (`{"port": 7000}` is `--port 7000`) and end it afterwards.

    `extra` are words appended as they are (`--user …`); with `sentinel_conf` it is a Sentinel with that file.
    """
    with short_folder() as folder:
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [str(server), "--dir", str(folder), "--save", "", *words, *extra]
        if sentinel_conf is not None:
            (folder / "sentinel.conf").write_text(sentinel_conf)
            command = [str(server), str(folder / "sentinel.conf"), "--sentinel"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
            )
        try:
            yield RunningRedis(process, folder)
        finally:
            _end(process)


def wait_for_redis(running: RunningRedis, client: redis.Redis, timeout_s: float = _READY_TIMEOUT_S) -> None:
    """Wait until the server answers PING, then close the client; fail with the log if it ends or stays silent."""
    deadline = time.monotonic() + timeout_s
    with client:
        while not _answers(client):
            assert running.process.poll() is None, f"redis-server ended: {running.log()}"
            assert time.monotonic() < deadline, f"redis-server does not answer: {running.log()}"
            time.sleep(POLL_S)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def copy_server(server: Path, folder: Path, mode: int = 0o755) -> Path:
    """Return a copy named redis-server, to be put on a PATH of its own."""
    target = folder / "redis-server"
    shutil.copyfile(server, target)
    target.chmod(mode)
    return target


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
