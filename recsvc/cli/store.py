"""``--redis`` of the commands that write: where their store is, since they never start a throw-away one."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Final, TypeVar

import uvloop

from recsvc.errors import ConfigError
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenRedis, open_redis

VARIABLE: Final = "RECSVC_REDIS"
WRONG_USAGE: Final = 2
# Patient, and with room for all writes in flight: nobody waits for an answer in milliseconds here.
_CONNECTION: Final = ConnectionSettings(connect_timeout_s=5.0, timeout_s=5.0, max_connections=128)

_T = TypeVar("_T")


def add_redis(parser: argparse.ArgumentParser) -> None:
    """Describe ``--redis``."""
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="the online store: a redis://, rediss://, unix://, redis+cluster:// or redis+sentinel:// URL, or embedded:DIR,"
        f" which keeps its data in DIR and is shared with a server running on the same DIR [environment {VARIABLE}]",
    )


def store_url(flag: str | None, environment: Mapping[str, str]) -> str:
    """Return the URL of the store to write to. Raises ConfigError, one line that says what to set."""
    url = flag or environment.get(VARIABLE, "")
    if url in ("", "embedded"):
        problem = "a private Redis would end with this command" if url else "no store to write to"
        raise ConfigError(f"{problem}: set --redis (or {VARIABLE}) to redis://HOST:PORT or to embedded:DIR")
    return url


@contextlib.asynccontextmanager
async def open_store(url: str) -> AsyncIterator[OpenRedis]:
    """Open the store to write to, and close it in the end. Raises ConfigError and StartupError."""
    async with open_redis(url, _CONNECTION) as opened:
        yield opened


def run_loop(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's coroutine to its end."""
    with asyncio_runner() as runner:
        return runner.run(main)


def now_micros() -> int:
    """Return the wall clock in µs since 1970."""
    return time.time_ns() // 1_000
