"""A Redis of one test's own, to be stopped, killed and started again; it asks for a password that must not leak."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final
from urllib.parse import quote

import redis

from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import RunningRedis, free_port, running_redis, wait_for_redis
from tests.rpc.rows import Rows

PASSWORD: Final = "s3cret-of-the-store"


class OwnRedis:
    """A server that a test does with what it likes."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._port = free_port()
        self.url = f"redis://:{quote(PASSWORD)}@127.0.0.1:{self._port}"
        self.running: RunningRedis
        self.start()

    @property
    def rows(self) -> Rows:
        """Whoever writes rows into it."""
        return Rows(self._client())

    def secrets(self) -> list[bytes]:
        """Return what no caller may read of it."""
        return [PASSWORD.encode(), str(self._port).encode(), b"127.0.0.1"]

    def start(self) -> None:
        """Start it, empty; also again, on the same port."""
        options = {"port": self._port, "bind": "127.0.0.1", "requirepass": PASSWORD}
        self.running = self._stack.enter_context(running_redis(redis_server(REDIS_8_2), options))
        wait_for_redis(self.running, self._client())

    def kill(self) -> None:
        """End it without a word."""
        self.running.process.kill()
        self.running.process.wait()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep it from answering, its connections open."""
        self.running.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.running.process.send_signal(signal.SIGCONT)

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self._port, password=PASSWORD, socket_timeout=5)


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    """Run a server for one test."""
    with ExitStack() as stack:
        yield OwnRedis(stack)
