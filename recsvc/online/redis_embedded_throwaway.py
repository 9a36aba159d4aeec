"""The redis-server that is thrown away: one process's own, without persistence, in a fresh directory.

Its owner holds `owner.lock` in that directory. A directory whose `owner.lock` is free was left by a killed owner:
whoever starts an embedded Redis next ends the server and removes the directory. Making and claiming directories
happens under one lock, so that nobody sees a new directory before it is locked.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recsvc.errors import StartupError
from recsvc.online import redis_embedded_process as process
from recsvc.online.redis_embedded_files import FileLock, is_ours

_PREFIX = "throwaway-"
_GUARD_TIMEOUT_S = 10.0
_SHUTDOWN_TIMEOUT_S = 2.0
_OPTIONS = ("--appendonly", "no", "--daemonize", "no")


@dataclass(frozen=True, slots=True)
class ThrowawayServer:
    """A running server, its place, and the lock that says that its owner lives."""

    place: process.Place
    child: subprocess.Popen[bytes]
    owner: FileLock

    @property
    def directory(self) -> Path:
        """The directory that goes with the server."""
        return self.place.directory

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.place.socket

    def end(self) -> None:
        """End the server, by force if it does not listen, and remove its directory."""
        process.ask(self.place.socket, b"SHUTDOWN NOSAVE")
        try:
            self.child.wait(_SHUTDOWN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        _remove(self.place.directory, self.owner)


def start(root: Path) -> ThrowawayServer:
    """Start a server in a fresh directory under `root` and wait until it answers."""
    place, owner = _new_place(root)
    try:
        child = process.launch(place, _OPTIONS)
    except BaseException:
        _remove(place.directory, owner)
        raise
    server = ThrowawayServer(place, child, owner)
    try:
        process.wait_ready(place, lambda: child.poll() is None)
    except BaseException:
        server.end()
        raise
    return server


def sweep(root: Path) -> None:
    """End the servers and remove the directories under `root` whose owners were killed."""
    with _guard(root):
        left = list(_left_behind(root))
    for place, owner in left:
        gone = process.shut_down(place, b"SHUTDOWN NOSAVE", _SHUTDOWN_TIMEOUT_S)
        if not gone:
            process.kill(place)
            gone = process.shut_down(place, b"SHUTDOWN NOSAVE", _SHUTDOWN_TIMEOUT_S)
        if gone:
            _remove(place.directory, owner)
        else:
            owner.close()  # Still alive and deaf: left to the next start.


@contextlib.contextmanager
def _guard(root: Path) -> Iterator[None]:
    lock = FileLock(root / "guard.lock")
    try:
        if not lock.wait_exclusive(_GUARD_TIMEOUT_S):
            raise StartupError(f"another process holds {root / 'guard.lock'} for too long: end it and try again")
        yield
    finally:
        lock.close()


def _new_place(root: Path) -> tuple[process.Place, FileLock]:
    with _guard(root):
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        owner = FileLock(directory / "owner.lock")
        owner.try_exclusive()
    return process.Place(directory, directory / "redis.sock"), owner


def _left_behind(root: Path) -> Iterator[tuple[process.Place, FileLock]]:
    for directory in root.glob(f"{_PREFIX}*"):
        if not is_ours(directory):
            continue
        try:
            owner = FileLock(directory / "owner.lock")
        except StartupError:  # Removed meanwhile, or the lock file is a symbolic link.
            continue
        if owner.try_exclusive():
            yield process.Place(directory, directory / "redis.sock"), owner
        else:
            owner.close()


def _remove(directory: Path, owner: FileLock) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    owner.close()
