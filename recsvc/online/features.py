"""Answers a read plan: keys, one read of the store, columns, on-demand features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recsvc.errors import LimitError, StoreUnavailableError, Violation
from recsvc.online.answer import UNREAD, Answer, Column, Degraded, Request, Row, ServedView
from recsvc.online.columns import Decoded, ViewColumns
from recsvc.online.keys import KeyMaker
from recsvc.online.on_demand import compute, failed
from recsvc.online.reader import RowReader
from recsvc.online.row import RowCodec
from recsvc.registry.plan import ComputedColumn, ReadPlan, StoredColumn, ViewRead
from recsvc.registry.registry import Registry
from recsvc.telemetry.counters import Counters

ViewKey = tuple[str, int]


@dataclass(slots=True)
class _Read:
    """The rows of one view in one call: distinct ``keys``, and where each row of the call finds its own.

    ``inverse`` None: they are one to one.
    """

    keys: list[bytes]
    inverse: npt.NDArray[np.intp] | None


@dataclass(slots=True)
class Work:
    """What has come together of one answer."""

    decoded: list[Decoded] = field(default_factory=list)
    inverse: list[npt.NDArray[np.intp] | None] = field(default_factory=list)
    slots: list[Column] = field(default_factory=list)
    degraded: dict[tuple[Degraded, str], None] = field(default_factory=dict)


class FeatureReader:
    """Reads features of one registry.

    A new registry is a new FeatureReader, so that a call sees one of them from start to end.
    """

    def __init__(
        self, registry: Registry, store: RowReader, counters: Counters, *, now_micros: Callable[[], int], max_keys: int
    ) -> None:
        self.registry = registry
        self._store = store
        self._counters = counters
        self._now_micros = now_micros
        self._max_keys = max_keys
        self._keys: dict[ViewKey, KeyMaker] = {k: KeyMaker(v) for k, v in registry.views.items()}
        self._columns: dict[ViewKey, ViewColumns] = {
            k: ViewColumns(v, RowCodec(registry.schemas[k])) for k, v in registry.views.items()
        }

    def __repr__(self) -> str:
        return f"FeatureReader({self.registry!r}, {self._store!r})"

    async def read(self, plan: ReadPlan, request: Request, timeout_s: float) -> Answer:
        """Return the answer to ``request``; the store has ``timeout_s`` seconds.

        Raises LimitError for too many distinct keys.
        """
        reads = [self._read_of(r, request.ids) for r in plan.reads]
        rows = await self._rows(reads, timeout_s)
        now = self._now_micros()
        work = Work()
        at = 0
        for view_read, read in zip(plan.reads, reads, strict=True):
            self._decode(work, view_read, rows[at : at + len(read.keys)], read.inverse, now)
            at += len(read.keys)
        self._fill_slots(work, plan, request)
        return self._answer(plan, request, work)

    def _read_of(self, read: ViewRead, ids: Mapping[str, Sequence[str]]) -> _Read:
        key = (read.view.name, read.view.version)
        columns = [ids[e.join_key] for e in read.view.entities]
        lengths = {len(c) for c in columns}
        if len(lengths) > 1:  # broadcast: every length is 1 or the same n
            n = max(lengths) if 0 not in lengths else 0
            columns = [c if len(c) == n else list(c) * n for c in columns]
        return _distinct(self._keys[key].keys(columns))

    async def _rows(self, reads: Sequence[_Read], timeout_s: float) -> Sequence[Row]:
        keys = [k for r in reads for k in r.keys]
        if len(keys) > self._max_keys:
            text = f"asks for {len(keys)} distinct rows of the store, at most {self._max_keys} are allowed"
            facts = {"limit": "store_keys", "allowed": str(self._max_keys), "actual": str(len(keys))}
            raise LimitError([Violation("entities", text)], facts)
        if not keys:
            return []
        try:
            return await self._store.read(keys, timeout_s)
        except StoreUnavailableError:
            return [UNREAD] * len(keys)

    def _decode(
        self, work: Work, read: ViewRead, rows: Sequence[Row], inverse: npt.NDArray[np.intp] | None, now: int
    ) -> None:
        decoded = self._columns[read.view.name, read.view.version].decode(read, rows, now)
        work.decoded.append(decoded)
        work.inverse.append(inverse)
        work.degraded.update(dict.fromkeys(decoded.degraded))
        if decoded.corrupt:
            self._counters.corrupt(read.view.label, decoded.corrupt, decoded.reasons[0])

    def _fill_slots(self, work: Work, plan: ReadPlan, request: Request) -> None:
        varying = request.varying
        for index, slot in enumerate(plan.slots):
            if isinstance(slot, StoredColumn):
                column = work.decoded[slot.read].columns[slot.column]
                inverse = work.inverse[slot.read]
                work.slots.append(column if inverse is None else column.take(inverse))
            elif isinstance(slot, ComputedColumn):
                work.slots.append(self._computed(work, slot, plan.column_rows(index, request.rows, varying)))
            else:
                work.slots.append(request.context[slot.field.name])

    def _computed(self, work: Work, slot: ComputedColumn, n: int) -> Column:
        try:
            return compute(slot.feature, [(name, work.slots[i]) for name, i in slot.inputs], n)
        except Exception as error:  # noqa: BLE001  # a user's function: anything can come out of it, and it costs its own column only
            self._counters.on_demand_failed(slot.name, error)
            work.degraded[Degraded.ON_DEMAND_FAILED, slot.view.label] = None
            return failed(slot.feature, n)

    def _answer(self, plan: ReadPlan, request: Request, work: Work) -> Answer:
        views = []
        for read, decoded, inverse in zip(plan.reads, work.decoded, work.inverse, strict=True):
            times = decoded.event_micros if inverse is None else decoded.event_micros[inverse]
            views.append(ServedView(read.view.name, read.view.version, times))
        none = np.zeros(0, np.int64)
        views += [ServedView(name, version, none) for name, version in plan.served[len(plan.reads) :]]
        columns = []
        for name, index in plan.outputs:
            slot = plan.slots[index]
            columns.append((name, work.slots[index], slot.read if isinstance(slot, StoredColumn) else None))
        return Answer(request.rows, columns, list(work.degraded), views)


def _distinct(keys: list[bytes]) -> _Read:
    if len(set(keys)) == len(keys):
        return _Read(keys, None)
    places: dict[bytes, int] = {}
    inverse = np.fromiter((places.setdefault(k, len(places)) for k in keys), np.intp, len(keys))
    return _Read(list(places), inverse)
