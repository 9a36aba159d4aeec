"""A redis-server of our own: thrown away at the end, or kept in a directory and shared by the processes that use it.

Both listen on a unix socket only, in a directory that nobody else can enter. All calls block (starting takes some 50
ms, ending a shared one as long as its last write to disk): from a coroutine, use `asyncio.to_thread`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from recsvc.online import redis_embedded_shared, redis_embedded_throwaway
from recsvc.online.redis_embedded_files import runtime_root


class EmbeddedRedis:
    """A running private redis-server; `url` is how to reach it, `close` is how to leave it.

    Raises StartupError from its two constructors: no redis-server found, a directory that is not ours alone, no
    answer in time.
    """

    def __init__(self, kind: str, directory: Path, socket: Path, end: Callable[[], None]) -> None:
        self._kind = kind
        self._directory = directory
        self._socket = socket
        self._end: Callable[[], None] | None = end

    @classmethod
    def throwaway(cls, *, runtime: Path | None = None) -> Self:
        """Start a server without persistence in a fresh directory; `close` ends it and removes the directory.

        If this process is killed, the next start of any embedded Redis by the same user clears what was left.
        `runtime` is where the directory is made, by default `recsvc-UID` in the system's temporary directory.
        """
        root = runtime_root(runtime)
        redis_embedded_throwaway.sweep(root)
        server = redis_embedded_throwaway.start(root)
        return cls("throwaway", server.directory, server.socket, server.end)

    @classmethod
    def shared(cls, directory: Path, *, runtime: Path | None = None) -> Self:
        """Join the server that keeps its data in `directory`, or start it.

        The last process to `close` ends the server, which writes everything to disk; processes that were killed do
        not count.
        """
        root = runtime_root(runtime)
        redis_embedded_throwaway.sweep(root)
        server = redis_embedded_shared.join(directory, root)
        return cls("shared", server.directory, server.socket, server.leave)

    @property
    def url(self) -> str:
        """The `unix://` URL of the server."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def directory(self) -> Path:
        """Where the server's files are, `redis.log` among them."""
        return self._directory

    def close(self) -> None:
        """Leave the server; closing twice does nothing."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EmbeddedRedis({self._kind}, {'open' if self._end else 'closed'}, {self.url})"
