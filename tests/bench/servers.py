"""A redis-server for one measurement: over TCP, because that is what every client can do, and without a password."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.parts.redis_binaries import version_of
from tests.parts.redis_server import free_port, running_redis, wait_for_redis


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
        wait_for_redis(running, admin)
        yield BareServer(port, version_of(program), admin)
