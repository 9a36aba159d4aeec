"""Tries a read that failed once more: jittered, and only where there is reason to hope and time to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from recsvc.errors import StoreRefusedError, StoreUnavailableError
from recsvc.online.answer import Row, Unread
from recsvc.online.reader import RowReader
from recsvc.telemetry import hop, names

LEAST_TIME_S: Final = 0.005
"""A second try with less time than this is hardly answered: several round trips, and the making of a connection."""


class Retrying:
    """Reads from ``inner``, a second time after up to ``delay_s`` where the first got no answer.

    ``may_retry`` is asked before the wait and after it: the breaker must be closed, for a store in trouble needs fewer
    reads and not more. ``now`` is the event loop's clock.
    """

    def __init__(
        self,
        inner: RowReader,
        *,
        random: Random,
        may_retry: Callable[[], bool],
        now: Callable[[], float],
        delay_s: float = 0.005,
    ) -> None:
        self._inner = inner
        self._random = random
        self._may_retry = may_retry
        self._now = now
        self._delay_s = delay_s
        self.retries = 0

    def __repr__(self) -> str:
        return f"Retrying({self._inner!r}, retries={self.retries})"

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return self._inner.refuses()

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read. Rows that are Unread beside others are not read again."""
        try:
            return await self._inner.read(keys, until)
        except StoreRefusedError:
            raise
        except StoreUnavailableError as error:
            delay_s = self._random.uniform(0, self._delay_s)
            if not self._worth_it(until - delay_s):
                raise
            await asyncio.sleep(delay_s)
            if not self._worth_it(until):
                raise
            hop.event(names.RETRY, {names.REASON: str(error)})
        self.retries += 1
        return await self._inner.read(keys, until)

    def _worth_it(self, until: float) -> bool:
        return self._may_retry() and until - self._now() >= LEAST_TIME_S
