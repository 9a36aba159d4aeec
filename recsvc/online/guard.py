"""Puts a circuit breaker before a reader: one permit per read, and one outcome for each permit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from recsvc.errors import StoreRefusedError
from recsvc.online.answer import Row, Unread
from recsvc.online.breaker import Breaker
from recsvc.online.loop_turns import LOOK_TURNS, after_turns
from recsvc.online.reader import RowReader


class Guarded:
    """Reads from ``inner`` while its breaker permits; ``now`` is the event loop's clock.

    A read failed where it raised, or brought no row at all. One that was cancelled is no outcome.
    """

    def __init__(self, inner: RowReader, breaker: Breaker, *, now: Callable[[], float]) -> None:
        self._inner = inner
        self._breaker = breaker
        self._now = now

    def __repr__(self) -> str:
        return f"Guarded({self._inner!r}, {self._breaker!r})"

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return Unread.REFUSED if self._breaker.refuses(self._now()) else self._inner.refuses()

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read. Raises StoreRefusedError where the breaker gives no permit."""
        permit = self._breaker.permit(self._now())
        if permit is None:
            raise StoreRefusedError(f"the circuit breaker of redis {self._breaker.name} is open")
        watch = _Watch(self._breaker.slow_s)
        try:
            rows = await self._inner.read(keys, until)
        except Exception:  # whatever it is, the store gave no rows; it goes on to whoever knows it
            self._breaker.failed(permit, self._now())
            raise
        except BaseException:  # cancelled, or the process is going down: nothing is known about the store
            self._breaker.cancelled(permit, self._now())
            raise
        finally:
            watch.stop()
        if rows and all(isinstance(row, Unread) for row in rows):
            self._breaker.failed(permit, self._now())
        else:
            self._breaker.succeeded(permit, self._now(), was_slow=watch.was_slow)
        return rows


class _Watch:
    """Finds out whether a read is slow: its time is over, and the loop has looked since then and found no answer.

    By the clock alone a store that answers at once is slow whenever this process is busy with something else.
    """

    __slots__ = ("_timer", "was_slow")

    def __init__(self, slow_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.was_slow = False
        self._timer = loop.call_later(slow_s, after_turns, loop, LOOK_TURNS, self._is_over)

    def stop(self) -> None:
        self._timer.cancel()

    def _is_over(self) -> None:
        self.was_slow = True
