"""One row to the bytes of its answer: slices of the packed row between pieces that were made once for the plan.

Numbers stand in a row as they do on the wire, so that ten features are one unpacking into slices and one join. What is
out of the ordinary (a row of another writer or a corrupt one, past its max age, a copy that stands in, features that
are computed) is left to the long way through columns and messages, which says what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from recsvc.errors import RowFormatError
from recsvc.online.answer import Source, Status
from recsvc.online.columns import stand_in_of
from recsvc.online.reader import ViewRows
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.plan import ReadPlan, StoredColumn
from recsvc.registry.types import Kind
from recsvc.rpc.quick_footer import Footer
from recsvc.rpc.quick_slot import SlotEncoder, normal
from recsvc.rpc.quick_view import BITMAP, EVENT_TIME, ViewSlices
from recsvc.telemetry.rows import ServedRows

_FIRST_VALUE: Final = BITMAP + 1
_NOT_FOUND: Final = {Status.NOT_FOUND.name: 1}
_FRAMES_KEPT: Final = 16
"""One for each way in which the views of a plan may come from store and cache; with few views there are no more."""


class RowEncoder:
    """Serializes GetFeaturesResponse for one plan of the registry with this fingerprint."""

    def __init__(self, plan: ReadPlan, fingerprint: str, served: Sequence[ServedRows]) -> None:
        """Serialize answers to ``plan``; ``served`` counts the rows of each view that it reads."""
        self._served = served
        self._footer = Footer(pb.GetFeaturesResponse, plan, fingerprint).plain
        self._views: list[ViewSlices] = []
        self._slots: list[SlotEncoder] = []
        self._frames: dict[tuple[Source, ...], list[bytes]] = {}
        self.fits = all(isinstance(slot, StoredColumn) for slot in plan.slots)
        """Whether any answer to this plan can be made here: all of its features are stored ones."""
        if self.fits:
            self._views = [ViewSlices(read) for read in plan.reads]
            self._slots = [self._slot(plan, name, plan.slots[index]) for name, index in plan.outputs]
            self._pick, self._places = _pick(plan)
            self._tails = [(i, s) for i, s in enumerate(self._slots) if s.is_variable]
            self._bools = [i for i, s in enumerate(self._slots) if s.type.kind is Kind.BOOL]

    def __repr__(self) -> str:
        return f"RowEncoder({len(self._slots)} features of {len(self._views)} views)"

    def encode(self, found: Sequence[ViewRows], now_micros: int) -> bytes | None:
        """Return the serialized reply, without event times; None where the answer is to be made the long way."""
        if not self.fits:
            return None
        unpacked: list[tuple[Any, ...] | None] = []
        sources: list[Source] = []
        whole = True
        for view, rows in zip(self._views, found, strict=True):
            row, source = rows.rows[0], rows.sources
            if rows.reasons or not isinstance(source, Source):
                return None
            values = None
            if isinstance(row, bytes):
                values = view.unpack(row, now_micros)
                if values is None:
                    return None
                whole = whole and values[BITMAP] == view.full
            elif row is None:
                whole = False
            else:
                return None
            unpacked.append(values)
            sources.append(source)
        try:
            reply = self._whole(unpacked, sources, found) if whole else self._mixed(unpacked, sources, found)
        except RowFormatError:
            return None
        for served, read in zip(self._served, unpacked, strict=True):
            if read is None:
                served.rows(1, None, 0, _NOT_FOUND)
            else:
                served.row(now_micros - read[EVENT_TIME])
        return reply

    def _slot(self, plan: ReadPlan, name: str, slot: Any) -> SlotEncoder:  # noqa: ANN401  # a StoredColumn
        view = plan.reads[slot.read].view
        return SlotEncoder(name, slot, stand_in_of(view, slot.column), self._views[slot.read].first)

    def _whole(
        self, unpacked: Sequence[tuple[Any, ...] | None], sources: list[Source], found: Sequence[ViewRows]
    ) -> bytes:
        """Serialize an answer that has all values."""
        values: Any = unpacked[0] if len(unpacked) == 1 else tuple(chain.from_iterable(v or () for v in unpacked))
        values = self._pick(values)
        if self._tails or self._bools:
            values = list(values)
            for i in self._bools:
                values[i] = normal(values[i])
            for i, slot in self._tails:
                row: Any = found[slot.read].rows[0]
                values[i] = slot.tail(row, values[i], sources[slot.read])
        key = tuple(sources)
        parts = (self._frames.get(key) or self._frame(key)).copy()
        parts[1::2] = values
        return b"".join(parts)

    def _frame(self, sources: tuple[Source, ...]) -> list[bytes]:
        """Return the pieces between values, with room for these."""
        if len(self._frames) >= _FRAMES_KEPT:
            self._frames.clear()
        parts = [b""]
        for slot in self._slots:
            before, behind = (b"", b"") if slot.is_variable else slot.around(sources[slot.read])
            parts[-1] += before
            parts += (b"", behind)
        parts[-1] += self._footer
        self._frames[sources] = parts
        return parts

    def _mixed(
        self, unpacked: Sequence[tuple[Any, ...] | None], sources: list[Source], found: Sequence[ViewRows]
    ) -> bytes:
        """Serialize an answer in which rows are missing, or values are null."""
        bits = [-1 if v is None else int.from_bytes(v[BITMAP], "little") for v in unpacked]
        parts = []
        for slot, place in zip(self._slots, self._places, strict=True):
            values, source = unpacked[slot.read], sources[slot.read]
            if values is None:
                parts.append(slot.missing)
            elif not bits[slot.read] >> slot.column & 1:
                parts.append(slot.null(source))
            elif slot.is_variable:
                row: Any = found[slot.read].rows[0]
                parts.append(slot.tail(row, values[place], source))
            else:
                parts.append(slot.number(values[place], source))
        parts.append(self._footer)
        return b"".join(parts)


def _pick(plan: ReadPlan) -> tuple[Callable[[Any], Sequence[Any]], list[int]]:
    """Return what picks the values of all outputs from unpacked rows laid end to end, and where each is in its own."""
    begins, end = [], 0
    for read in plan.reads:
        begins.append(end)
        end += _FIRST_VALUE + len(read.columns)
    slots: list[Any] = [plan.slots[index] for _, index in plan.outputs]
    places = [_FIRST_VALUE + plan.reads[slot.read].columns.index(slot.column) for slot in slots]
    indices = [begins[slot.read] + place for slot, place in zip(slots, places, strict=True)]
    if indices == list(range(indices[0], indices[0] + len(indices))):
        return itemgetter(slice(indices[0], indices[0] + len(indices))), places
    return itemgetter(*indices), places
