"""What stands in while the store cannot be read: a stale copy, if one is kept that is not too old; else nothing.

Where nothing stands in, a row stays Unread, and its features answer with their defaults (columns).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recsvc.online.answer import Source, Unread
from recsvc.online.cache import CachingReader, RowCache
from recsvc.online.reader import Span, ViewRows
from recsvc.telemetry import hop, names


class FallbackReader:
    """Puts stale copies in the place of rows that could not be read, and says so."""

    def __init__(self, inner: CachingReader, cache: RowCache, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.stale = 0
        self.unread = 0
        self._inner = inner
        self._cache = cache

    def __repr__(self) -> str:
        return f"FallbackReader({self.stale} stale, {self.unread} unread, {self._inner!r})"

    def hit(self, spans: Sequence[Span], now: float) -> list[ViewRows] | None:
        """See Chain.hit."""
        return self._inner.hit(spans, now)

    async def read(self, spans: Sequence[Span], came: float, until: float) -> list[ViewRows]:
        """See Chain.read."""
        found = await self._inner.read(spans, came, until)
        if any(rows.reasons for rows in found):
            stale = self.stale
            for span, rows in zip(spans, found, strict=True):
                if rows.reasons:
                    self._stand_in(span, rows, self._clock())
            if (measured := hop.sampled()) is not None:
                measured.add(names.STALE, self.stale - stale)
            hop.lap(names.FALLBACK)
        return found

    def _stand_in(self, span: Span, found: ViewRows, now: float) -> None:
        unread = [i for i, row in enumerate(found.rows) if isinstance(row, Unread)]
        self.unread += len(unread)
        ages = np.zeros(len(found.rows), np.int64)
        for i, copy in zip(unread, self._cache.look([span.keys[i] for i in unread]), strict=True):
            if copy is not None and now - copy[0] < span.policy.stale_s:
                found.rows[i] = copy[2]
                ages[i] = max(round((now - copy[0]) * 1e6), 1)
        if not ages.any():
            return
        self.stale += int(np.count_nonzero(ages))
        found.sources = np.where(ages > 0, np.uint8(Source.STALE_CACHE), found.sources).astype(np.uint8)
        found.stale_micros = ages
