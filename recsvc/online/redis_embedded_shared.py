"""The redis-server that keeps its data in a directory and is shared by the processes that name the same directory.

Three locks in the directory say all there is to know: `server.lock` is held by the redis-server process itself,
`users.lock` is held shared by every process that uses it, and `change.lock` is held while one of them joins or
leaves, so that there is never more than one start or end at a time. The server is nobody's child (`daemonize`): it
outlives the process that started it while others use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recsvc.errors import StartupError
from recsvc.online import redis_embedded_process as process
from recsvc.online.redis_embedded_files import FileLock, data_directory, fits_socket

_log = logging.getLogger(__name__)
_LAUNCH_TIMEOUT_S = 10.0
# Longer than any start or end that is allowed to go on under the lock.
_CHANGE_TIMEOUT_S = process.LOADING_TIMEOUT_S + 10.0
_SHUTDOWN_TIMEOUT_S = 30.0
_OPTIONS = ("--appendonly", "yes", "--appendfsync", "everysec", "--daemonize", "yes")


@dataclass(frozen=True, slots=True)
class SharedServer:
    """This process's part in a shared server."""

    place: process.Place
    users: FileLock

    @property
    def directory(self) -> Path:
        """Where the data is."""
        return self.place.directory

    @property
    def socket(self) -> Path:
        """Where the server listens."""
        return self.place.socket

    def leave(self) -> None:
        """Give up our part; the last one ends the server, whose data is then on disk."""
        with _changing(self.place.directory):  # also for letting go: whoever joins next must get its part
            try:
                if self.users.try_exclusive() and not process.shut_down(self.place, b"SHUTDOWN", _SHUTDOWN_TIMEOUT_S):
                    _log.warning("the redis-server in %s did not end: see %s", self.place.directory, self.place.log)
            finally:
                self.users.close()


def join(directory: Path, root: Path) -> SharedServer:
    """Use the server of `directory`, starting it if there is none; a socket with too long a path goes to `root`."""
    directory = data_directory(directory)
    with _changing(directory):
        users = FileLock(directory / "users.lock")
        try:
            users.try_shared()
            return SharedServer(_running_place(directory, root), users)
        except OSError as error:
            users.close()
            raise StartupError(f"cannot keep data in {directory}: {error.strerror}") from None
        except BaseException:
            users.close()
            raise


@contextlib.contextmanager
def _changing(directory: Path) -> Iterator[None]:
    lock = FileLock(directory / "change.lock")
    try:
        if not lock.wait_exclusive(_CHANGE_TIMEOUT_S):
            raise StartupError(
                f"another process starts or ends the redis-server in {directory} for too long: end it and try again"
            )
        yield
    finally:
        lock.close()


def _running_place(directory: Path, root: Path) -> process.Place:
    place = process.Place(directory, _known_socket(directory) or _new_socket(directory, root))
    if place.alive():
        process.wait_ready(place, place.alive)
        return place
    place = process.Place(directory, _new_socket(directory, root))
    (directory / "redis.socket").write_text(str(place.socket))
    _launch(place)
    return place


def _launch(place: process.Place) -> None:
    with process.launch(place, _OPTIONS) as starter:
        # Returns as soon as the server proper is forked off; a mistake found before that shows in the log.
        with contextlib.suppress(subprocess.TimeoutExpired):
            starter.wait(_LAUNCH_TIMEOUT_S)
        process.wait_ready(place, place.alive)


def _known_socket(directory: Path) -> Path | None:
    """Return the socket of the last start: its place may depend on that process's temporary directory, not on ours."""
    try:
        return Path((directory / "redis.socket").read_text())
    except FileNotFoundError:
        return None


def _new_socket(directory: Path, root: Path) -> Path:
    beside = directory / "redis.sock"
    if fits_socket(beside):
        return beside
    return root / f"shared-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}.sock"
