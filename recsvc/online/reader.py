"""The seams of the read path: what a stage asks of the next one, and what it gets.

From the outside in: the chain answers FeatureReader in ``ViewRows``; a ``Fetcher`` gets rows for the cache, whoever
else waits for them; a ``RowReader`` sends commands. Times are seconds of the event loop's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import UNREAD, Bytes, Degraded, Row, Source, Unread
from recsvc.online.policy import ViewPolicy


class RowReader(Protocol):
    """Reads rows with one command (or one pipeline, to a node of a cluster) per call: the store, breaker and retry."""

    def refuses(self) -> Unread | None:
        """Say why a read would be refused at once; None: it would be tried."""
        ...

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """Return one row per key, in order; Unread for single keys that could not be read by ``until``.

        Keys differ from each other. Raises StoreUnavailableError where nothing could be read at all.
        """
        ...


class Wanted(NamedTuple):
    """Rows that a call misses. The keys differ from each other.

    ``since``: a fetch sent before then will not do. ``keep``: the rows may be kept for other calls.
    """

    keys: Sequence[bytes]
    since: float
    keep: bool = True


class Fetcher(Protocol):
    """Gets rows from the store, one fetch per key at a time, whoever waits for it."""

    async def fetch(self, wanted: Sequence[Wanted], until: float) -> list[Sequence[Row]]:
        """Return for each want one row per key, in order, by ``until``; Unread where that cannot be. Raises nothing."""
        ...


class Span(NamedTuple):
    """The keys that a call needs of one view. They differ from each other."""

    keys: Sequence[bytes]
    policy: ViewPolicy


@dataclass(slots=True)
class ViewRows:
    """The rows of a span. ``sources`` is one for all, or has one per row; it says nothing of rows that are Unread.

    ``reasons``: why rows are Unread, or stale copies. ``stale_micros``: ages of stale copies, 0 for rows that are none;
    None: no row is one.
    """

    rows: list[Row]
    sources: Source | Bytes
    reasons: tuple[Degraded, ...] = ()
    stale_micros: npt.NDArray[np.int64] | None = None


class Chain(Protocol):
    """The whole read path, as FeatureReader sees it."""

    def hit(self, spans: Sequence[Span], now: float) -> list[ViewRows] | None:
        """Return all rows, where fresh copies of all are kept; None where one is missing."""
        ...

    async def read(self, spans: Sequence[Span], came: float, until: float) -> list[ViewRows]:
        """Return all rows by ``until``. Raises nothing: what could not be read is Unread, or a stale copy.

        ``came`` is when the call came: where copies may not be used, only a fetch sent then or later will do.
        """
        ...

    def forget(self, key: bytes, row: bytes) -> None:
        """Keep no copy of ``row``, which turned out to be corrupt."""
        ...


__all__ = [
    "UNREAD",
    "Chain",
    "Fetcher",
    "Row",
    "RowReader",
    "Source",
    "Span",
    "Unread",
    "ViewPolicy",
    "ViewRows",
    "Wanted",
]
