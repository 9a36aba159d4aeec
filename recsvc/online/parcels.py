"""What waits for a fetch: parcels of keys that are fetched together, and the calls that wait for them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from recsvc.online.answer import UNREAD, Row, Unread


class Parcel:
    """Keys that were missed together and are fetched together, and the calls that wait for them.

    ``sent_at`` is infinite until the fetch is sent. ``then``: parcels of the same keys, for when this one is back.
    """

    __slots__ = ("calls", "keep", "keys", "missed_at", "places", "rows", "sent_at", "size", "then")

    def __init__(self, keys: Sequence[bytes], missed_at: float, size: int, *, keep: bool) -> None:
        self.keys = keys
        self.missed_at = missed_at
        self.size = size
        self.keep = keep
        self.sent_at = math.inf
        self.rows: list[Row] | None = None
        self.calls: list[Call] = []
        self.then: list[Parcel] = []
        self.places: dict[bytes, int] = {}

    def row(self, key: bytes) -> Row:
        """Return the row of one of its keys; UNREAD while there is none."""
        if self.rows is None:
            return UNREAD
        if not self.places:
            self.places = {k: i for i, k in enumerate(self.keys)}
        return self.rows[self.places[key]]

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not all(call.future.done() for call in self.calls)


class Call:
    """One caller's wait: for each of its wants, where each key's row will be; ``left`` parcels are not there yet."""

    __slots__ = ("began_at", "counted", "future", "left", "wants")

    def __init__(self, future: asyncio.Future[None], began_at: float) -> None:
        self.future = future
        self.began_at = began_at
        self.counted = False
        self.left = 0
        self.wants: list[tuple[Sequence[bytes], Parcel | list[Parcel | Unread]]] = []

    def wait_for(self, parcel: Parcel) -> None:
        """Wait for ``parcel`` too."""
        if self not in parcel.calls[-1:]:  # nobody else can have come in between
            parcel.calls.append(self)
            self.left += 1

    def expire(self) -> None:
        """Stop waiting: what is not there yet counts as unread."""
        if not self.future.done():
            self.future.set_result(None)

    def rows(self) -> list[Sequence[Row]]:
        """Return the rows of each want, as far as they are there."""
        return [_rows(keys, held) for keys, held in self.wants]


def _rows(keys: Sequence[bytes], held: Parcel | list[Parcel | Unread]) -> Sequence[Row]:
    if isinstance(held, Parcel):
        return [UNREAD] * len(keys) if held.rows is None else held.rows
    return [h if isinstance(h, Unread) else h.row(k) for k, h in zip(keys, held, strict=True)]
