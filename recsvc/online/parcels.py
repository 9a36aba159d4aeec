"""What waits for a fetch: parcels of keys that are fetched together, and the calls that wait for them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from recsvc.online.answer import UNREAD, Row, Unread
from recsvc.telemetry import names
from recsvc.telemetry.hop import CURRENT, Hop, Place


class Parcel:
    """Keys that were missed together and are fetched together, and the calls that wait for them.

    ``sent_at`` is infinite until the fetch is sent. ``then``: parcels of the same keys, for when this one is back.
    ``commands``: the spans of those that were sent for it; one list for all parcels of a fetch.
    """

    __slots__ = ("calls", "commands", "keep", "keys", "missed_at", "places", "rows", "sent_at", "size", "then")

    def __init__(self, keys: Sequence[bytes], missed_at: float, size: int, *, keep: bool) -> None:
        self.keys = keys
        self.missed_at = missed_at
        self.size = size
        self.keep = keep
        self.sent_at = math.inf
        self.commands: Sequence[Place] = ()
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
    """One caller's wait: for each of its wants, where each key's row will be; ``left`` parcels are not there yet.

    ``hop``: its span to be, while it waits.
    """

    __slots__ = ("_began", "_ended", "_outer", "began_at", "counted", "future", "hop", "left", "wants")

    def __init__(self, future: asyncio.Future[None], began_at: float) -> None:
        self.future = future
        self.began_at = began_at
        self.counted = False
        self.left = 0
        self.hop: Hop | None = None
        self._outer: Hop | None = None
        self._began = 0.0
        self._ended: float | None = None
        self.wants: list[tuple[Sequence[bytes], Parcel | list[Parcel | Unread]]] = []

    def wait_for(self, parcel: Parcel) -> None:
        """Wait for ``parcel`` too."""
        if self not in parcel.calls[-1:]:  # nobody else can have come in between
            parcel.calls.append(self)
            self.left += 1

    def expire(self) -> None:
        """Stop waiting: all is there, or what is not counts as unread."""
        if not self.future.done():
            self.future.set_result(None)
            if self._outer is not None:
                self._ended = self._outer.call.clock()

    def begin_wait(self) -> None:
        """Begin the hop of this wait, where something is measured."""
        self._outer = outer = CURRENT.get()
        if outer is not None:
            self._began = outer.mark
            self.hop = outer.open(names.WAIT)

    def end_wait(self) -> None:
        """End it, with what the call waited for; only the first time counts.

        It ended when all was there: whoever waits for several nodes may have looked at the others first.
        """
        outer, self._outer = self._outer, None
        if outer is None:
            return
        hop = self.hop
        if hop is not None:
            parcels = self._parcels()
            joined = [p for p in parcels if p.missed_at < self.began_at]
            hop.attributes[names.KEYS] = sum(_waits_for(keys, held) for keys, held in self.wants)
            hop.attributes[names.CALLERS] = max(len(p.calls) for p in parcels)
            hop.attributes[names.JOINED] = bool(joined)
            if joined:
                oldest = min(p.missed_at for p in joined)
                hop.attributes[names.AGE_AT_JOIN] = round((self.began_at - oldest) * 1e6, 1)
            hop.links = list(dict.fromkeys(place for p in parcels for place in p.commands))
        outer.close(hop, names.WAIT, self._began, ended=self._ended)

    def _parcels(self) -> list[Parcel]:
        parcels: dict[Parcel, None] = {}
        for _, held in self.wants:
            if isinstance(held, Parcel):
                parcels[held] = None
            else:
                parcels.update(dict.fromkeys(h for h in held if isinstance(h, Parcel)))
        return list(parcels)

    def rows(self) -> list[Sequence[Row]]:
        """Return the rows of each want, as far as they are there."""
        return [_rows(keys, held) for keys, held in self.wants]


def _waits_for(keys: Sequence[bytes], held: Parcel | list[Parcel | Unread]) -> int:
    return len(keys) if isinstance(held, Parcel) else sum(isinstance(h, Parcel) for h in held)


def _rows(keys: Sequence[bytes], held: Parcel | list[Parcel | Unread]) -> Sequence[Row]:
    if isinstance(held, Parcel):
        return [UNREAD] * len(keys) if held.rows is None else held.rows
    return [h if isinstance(h, Unread) else h.row(k) for k, h in zip(keys, held, strict=True)]
