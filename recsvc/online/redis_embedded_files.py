"""Private directories and locks of the embedded Redis: who may be in a directory, and who is.

A lock is an flock: the kernel frees it when its holder dies, however it dies, so a free lock is proof that nobody is
there.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from pathlib import Path

from recsvc.errors import StartupError

# sun_path holds 104 bytes on macOS and 108 on Linux; redis-server wants two to spare.
LONGEST_SOCKET_PATH = 100
_ROOM_FOR_NAMES = len("/throwaway-12345678/redis.sock")
_POLL_S = 0.02


def runtime_root(directory: Path | None = None) -> Path:
    """Return the directory for sockets and throw-away servers, made if need be; only this user can enter it."""
    if directory is None:
        name = f"recsvc-{os.getuid()}"
        directory = Path(tempfile.gettempdir()) / name
        if not fits_socket(directory, _ROOM_FOR_NAMES):
            directory = Path("/tmp") / name  # noqa: S108 - made and checked by private_directory
    return private_directory(directory)


def fits_socket(path: Path, room: int = 0) -> bool:
    """Whether a socket at this path, or with `room` more bytes, can be bound."""
    return len(os.fsencode(path)) + room <= LONGEST_SOCKET_PATH


def private_directory(path: Path) -> Path:
    """Make `path` for this user alone, or check that it is so already; a symbolic link is refused."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise StartupError(f"cannot make the directory {path}: {error.strerror}") from None
    _check(path, stat.S_IRWXG | stat.S_IRWXO, f"chmod 700 {path}")
    return path


def data_directory(path: Path) -> Path:
    """Make `path` with its parents, or check that it is ours and nobody else can write to it; return the real path."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        real = path.resolve()
        real.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StartupError(f"cannot make the directory {path}: {error.strerror}") from None
    _check(real, stat.S_IWGRP | stat.S_IWOTH, f"chmod go-w {real}")
    return real


def is_ours(path: Path) -> bool:
    """Whether `path` is a real directory of this user."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _check(path: Path, forbidden: int, remedy: str) -> None:
    if not is_ours(path):
        raise StartupError(
            f"{path} is not a directory of this user (uid {os.getuid()}): remove it or choose another place"
        )
    if stat.S_IMODE(path.lstat().st_mode) & forbidden:
        raise StartupError(f"{path} is open to other users: {remedy}")


class FileLock:
    """An flock on a file, made if need be; a process that is started with `fd` holds it too, as long as it lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = "nothing"
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(f"cannot lock {path}: {error.strerror}") from None

    def try_exclusive(self) -> bool:
        """Take the lock alone, if nobody else has it."""
        return self._try(fcntl.LOCK_EX, "exclusive")

    def try_shared(self) -> bool:
        """Take the lock beside others, if nobody has it alone."""
        return self._try(fcntl.LOCK_SH, "shared")

    def wait_exclusive(self, timeout_s: float) -> bool:
        """Like `try_exclusive`, but give the holder some time."""
        deadline = time.monotonic() + timeout_s
        while not self.try_exclusive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def close(self) -> None:
        """Let go; a child that has the descriptor keeps the lock."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self._held = -1, "nothing"

    def _try(self, how: int, name: str) -> bool:
        try:
            fcntl.flock(self.fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._held = name
        return True

    def __repr__(self) -> str:
        return f"FileLock({self._path}, {self._held})"
