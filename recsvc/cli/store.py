"""What the commands that write share: ``--redis`` without a throw-away store, and a clean stop at Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final

from recsvc.errors import ConfigError
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenRedis, open_redis

VARIABLE: Final = "RECSVC_REDIS"
FAILED: Final = 1
WRONG_USAGE: Final = 2
# Patient, and with room for all writes in flight: nobody waits for an answer in milliseconds here.
_CONNECTION: Final = ConnectionSettings(connect_timeout_s=5.0, max_connections=128)


def add_redis(parser: argparse.ArgumentParser) -> None:
    """Describe ``--redis``."""
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="the online store: a redis://, rediss://, unix://, redis+cluster:// or redis+sentinel:// URL, or"
        " embedded:DIR, which keeps its data in DIR and is shared with a server running on the same DIR"
        f" [environment {VARIABLE}]",
    )


def store_url(flag: str | None, environment: Mapping[str, str]) -> str:
    """Return the URL of the store to write to. Raises ConfigError, one line that says what to set."""
    url = flag or environment.get(VARIABLE, "")
    if url in {"", "embedded", "embedded:"}:
        problem = "a Redis of this command's own would end with it" if url else "there is no store to write to"
        raise ConfigError(f"{problem}: set --redis (or {VARIABLE}) to redis://HOST:PORT or to embedded:DIR")
    return url


def existing(url: str) -> str:
    """Return ``url``; raises ConfigError where it names a directory that is not there, and so has no rows."""
    directory = url.removeprefix("embedded:")
    if directory != url and not Path(directory).is_dir():
        raise ConfigError(f"there is no store in {directory}: it is not a directory")
    return url


@contextlib.asynccontextmanager
async def open_store(url: str) -> AsyncIterator[OpenRedis]:
    """Open the store to write to, and close it in the end. Raises ConfigError and StartupError."""
    async with open_redis(url, _CONNECTION) as opened:
        yield opened


class Stop:
    """Knows whether the user (SIGINT) or the system (SIGTERM) wants the end; a second signal ends it at once."""

    def __init__(self) -> None:
        self._number = 0

    def __repr__(self) -> str:
        return f"Stop({signal.Signals(self._number).name if self._number else 'not wanted'})"

    @property
    def status(self) -> int:
        """The exit status, as shells have it: 130 after SIGINT; 0 where nobody wants the end."""
        return 128 + self._number if self._number else 0

    def wanted(self) -> bool:
        """Whether to end."""
        return self._number != 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals while the block runs, which must be in a running loop."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal, loop, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _on_signal(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self._number = number
        loop.remove_signal_handler(number)
