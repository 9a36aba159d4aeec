"""A redis-server for one measurement: over TCP, because that is what every client can do, and without a password."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from tests.parts.redis_binaries import version_of
from tests.parts.redis_server import free_port, running_redis, wait_for_redis

READY_TIMEOUT_S: Final = 120.0
"""It may begin with a dump of millions of rows, on a machine that has more to do."""


@dataclass(frozen=True, slots=True)
class BareServer:
    """A running server, and a client for what is not measured."""

    port: int
    version: str
    admin: redis.Redis

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What recsvc connects to."""
        return f"redis://{self.address}"


@contextlib.contextmanager
def bare_server(program: Path, **options: object) -> Iterator[BareServer]:
    """Run ``program`` with its defaults, no persistence, and ``options`` (``hash_max_listpack_value=256``)."""
    port = free_port()
    settings = {name.replace("_", "-"): value for name, value in options.items()}
    with (
        running_redis(program, {"port": port, "bind": "127.0.0.1", **settings}) as running,
        redis.Redis(host="127.0.0.1", port=port) as admin,
    ):
        wait_for_redis(running, admin, READY_TIMEOUT_S)
        yield BareServer(port, version_of(program), admin)
