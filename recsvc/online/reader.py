"""The protocol of everything that reads rows: the store, and whatever stands in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recsvc.online.answer import UNREAD, Row


class RowReader(Protocol):
    """Reads rows by key."""

    async def read(self, keys: Sequence[bytes], timeout_s: float) -> Sequence[Row]:
        """Return one row per key, in order; UNREAD for keys that could not be asked for within ``timeout_s`` seconds.

        Keys differ from each other. Raises StoreUnavailableError where nothing could be read at all.
        """
        ...


__all__ = ["UNREAD", "Row", "RowReader"]
