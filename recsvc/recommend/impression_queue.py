"""Between replies and an ImpressionSink: a bounded queue that makes no reply wait, drops what is too much, counts."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from recsvc.errors import ConfigError
from recsvc.recommend.impressions import Impression, ImpressionSink

log = logging.getLogger(__name__)

LOG_INTERVAL_S: Final = 60.0
"""The same trouble is logged at most once in that time; the counts tell the rest."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What may wait or be written at once, and how many go to the sink together. Raises ConfigError."""

    max_impressions: int = 1_000
    max_bytes: int = 64 * 1024 * 1024
    batch: int = 32

    def __post_init__(self) -> None:
        for name in ("max_impressions", "max_bytes", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"impressions, {name}: {getattr(self, name)!r} must be at least 1")


class ImpressionQueue:
    """Takes impressions and writes them to ``sink``, one batch at a time, in a task of its own.

    Every impression offered ends in one of three counts: ``written``; ``dropped``, as the queue was full or closed;
    ``failed``, as the sink raised or was given up. ``monotonic``: seconds, for the log alone.
    """

    def __init__(
        self, sink: ImpressionSink, *, monotonic: Callable[[], float], settings: QueueSettings | None = None
    ) -> None:
        self._sink = sink
        self._settings = settings or QueueSettings()
        self._monotonic = monotonic
        self._waiting: deque[tuple[Impression, int]] = deque()
        self._writing = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._logged: dict[str, float] = {}
        self.written = 0
        self.dropped = 0
        self.failed = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._task else "not started"
        return (
            f"ImpressionQueue({state}, {len(self._waiting)} wait, {self._writing} are written, {self._bytes} bytes;"
            f" {self.written} written, {self.dropped} dropped, {self.failed} failed; {self._sink!r})"
        )

    def __len__(self) -> int:
        """Return how many wait or are being written."""
        return len(self._waiting) + self._writing

    def start(self) -> None:
        """Begin to write. Call once, on a running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="impressions")

    def offer(self, impression: Impression) -> bool:
        """Take an impression, without waiting; False: it was dropped."""
        size = impression.memory_bytes
        limits = self._settings
        if self._closed or len(self) >= limits.max_impressions or self._bytes + size > limits.max_bytes:
            self._drop(1)
            return False
        self._waiting.append((impression, size))
        self._bytes += size
        self._wake.set()
        return True

    async def close(self, *, grace_s: float) -> None:
        """Take no more, write what waits, then close the sink; what is not done within ``grace_s`` is given up.

        The sink has as long again to close. Safe to call twice.
        """
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        try:
            if self._task is not None:
                await asyncio.wait({self._task}, timeout=grace_s)
        finally:  # also where closing itself is cancelled
            self._give_up()
        await self._end(grace_s)

    def _give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._waiting:
            self._drop(len(self._waiting))
            self._bytes -= sum(size for _, size in self._waiting)
            self._waiting.clear()

    async def _end(self, grace_s: float) -> None:
        try:
            async with asyncio.timeout(grace_s):
                if self._task is not None:
                    await asyncio.wait({self._task})
                await self._sink.close()
        except Exception as error:  # noqa: BLE001  # a sink is a user's: anything can come out, and the server still has to stop
            self._warn("the sink did not close", error)

    async def _run(self) -> None:
        while not (self._closed and not self._waiting):
            if self._waiting:
                await self._write_batch()
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _write_batch(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(self._settings.batch, len(self._waiting)))]
        self._writing = len(taken)
        written = False
        try:
            await self._sink.write([impression for impression, _ in taken])
            written = True
        except Exception as error:  # noqa: BLE001  # a sink is a user's: anything can come out, and it costs one batch only
            self._warn("the sink failed", error)
        finally:
            self._writing = 0
            self._bytes -= sum(size for _, size in taken)
            self.written += len(taken) if written else 0
            self.failed += 0 if written else len(taken)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._warn("queue full or closed", None)

    def _warn(self, what: str, error: Exception | None) -> None:
        now = self._monotonic()
        if now - self._logged.get(what, -math.inf) < LOG_INTERVAL_S:
            return
        self._logged[what] = now
        log.warning("impressions: %s (%d dropped, %d failed so far)", what, self.dropped, self.failed, exc_info=error)
