"""Starting a redis-server process on a unix socket, waiting until it answers, and ending it over that socket.

The process inherits a descriptor of `server.lock`: as long as it lives, and not longer, that lock is taken. So
anybody can tell a dead server from one that is starting or hangs, without process ids, which the system gives out
again.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from recsvc.errors import StartupError
from recsvc.online.redis_embedded_binary import find_server
from recsvc.online.redis_embedded_files import FileLock

READY_TIMEOUT_S = 10.0
LOADING_TIMEOUT_S = 120.0
_ASK_TIMEOUT_S = 1.0
_POLL_S = 0.02
_LOG_TAIL_LINES = 5
_LOG_TAIL_CHARS = 800


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one server."""

    directory: Path
    socket: Path

    @property
    def log(self) -> Path:
        """What redis-server and the system's loader write."""
        return self.directory / "redis.log"

    def alive(self) -> bool:
        """Whether a redis-server process of this place exists."""
        lock = FileLock(self.directory / "server.lock")
        try:
            return not lock.try_shared()
        finally:
            lock.close()


def launch(place: Place, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start redis-server in `place` with these options beside the usual ones; it may not answer yet."""
    server = find_server(place.directory)
    lock = FileLock(place.directory / "server.lock")
    try:
        if not lock.try_exclusive():
            raise StartupError(f"a redis-server still runs in {place.directory}")
        with place.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - no shell; the program was found by find_server
                [server, *_arguments(place), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fd,),
                start_new_session=True,  # Ctrl-C in our terminal is not for it.
                umask=0o077,
                env={
                    **os.environ,
                    "LC_ALL": "C",
                },  # Redis 7 and later refuse to start in a locale that is not installed.
            )
    except OSError as error:
        raise StartupError(f"cannot run {server}: {error.strerror}") from None
    finally:
        lock.close()


def _arguments(place: Place) -> tuple[str, ...]:
    values = {
        "port": "0",
        "unixsocket": str(place.socket),
        "unixsocketperm": "700",
        "dir": str(place.directory),
        "logfile": str(place.log),
        "loglevel": "warning",
        "save": "",
    }
    return tuple(part for name, value in values.items() for part in (f"--{name}", value))


def wait_ready(place: Place, alive: Callable[[], bool]) -> None:
    """Wait until the server answers PING, longer while it says that it is loading its data.

    Raises StartupError with the end of its log if it dies or stays silent.
    """
    now = time.monotonic()
    deadline, loading_deadline = now + READY_TIMEOUT_S, now + LOADING_TIMEOUT_S
    while True:
        answer = ask(place.socket, b"PING")
        if answer.startswith(b"+PONG"):
            return
        if not alive():
            raise StartupError(_failure(place, "ended at once"))
        if time.monotonic() > (loading_deadline if answer.startswith(b"-LOADING") else deadline):
            raise StartupError(_failure(place, "does not answer"))
        time.sleep(_POLL_S)


def ask(path: Path, command: bytes) -> bytes:
    """Send one command and return the beginning of the answer; empty if there is none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ASK_TIMEOUT_S)
        try:
            connection.connect(str(path))
            connection.sendall(command + b"\r\n")
            return connection.recv(512)
        except OSError:
            return b""


def shut_down(place: Place, command: bytes, timeout_s: float) -> bool:
    """Ask the server to end, as often as need be, until its process is gone; return whether it is."""
    deadline = time.monotonic() + timeout_s
    while place.alive():
        if time.monotonic() > deadline:
            return False
        ask(place.socket, command)
        time.sleep(_POLL_S)
    return True


def kill(place: Place) -> None:
    """Kill the process that listens on the socket, as the kernel names it: for one that hangs and is nobody's child."""
    if not hasattr(socket, "SO_PEERCRED"):
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ASK_TIMEOUT_S)
        try:
            connection.connect(str(place.socket))
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            os.kill(struct.unpack("3i", credentials)[0], SIGKILL)
        except OSError:
            return


def _failure(place: Place, what: str) -> str:
    try:
        log = place.log.read_text(errors="replace")
    except OSError:
        log = ""
    newer = "Can't handle RDB format" in log
    hint = "; the data were written by a newer redis-server: put that one first on PATH" if newer else ""
    # Its warnings are of the machine's settings, not of what went wrong.
    lines = [line.strip() for line in log.splitlines() if line.strip() and "WARNING" not in line]
    tail = " | ".join(lines[-_LOG_TAIL_LINES:])[-_LOG_TAIL_CHARS:]
    return f"the redis-server in {place.directory} {what}{hint}; its log ends: {tail or '(empty)'}"
