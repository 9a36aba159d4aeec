"""Answers a read plan: keys, rows through the chain, columns, on-demand features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recsvc.errors import LimitError, Violation
from recsvc.online.answer import Answer, Column, Degraded, Request, ServedView
from recsvc.online.columns import Decoded, ViewColumns
from recsvc.online.keys import KeyMaker
from recsvc.online.on_demand import compute, failed
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Chain, Span, ViewRows
from recsvc.online.row import RowCodec
from recsvc.registry.plan import ComputedColumn, ReadPlan, StoredColumn, ViewRead
from recsvc.registry.registry import Registry
from recsvc.telemetry.counters import Counters

ViewKey = tuple[str, int]


@dataclass(slots=True)
class Reads:
    """What a call needs of the store: for each view of the plan distinct keys, and where each row finds its own.

    An ``inverse`` of None: they are one to one.
    """

    spans: list[Span] = field(default_factory=list)
    inverse: list[npt.NDArray[np.intp] | None] = field(default_factory=list)


@dataclass(slots=True)
class Work:
    """What has come together of one answer."""

    decoded: list[Decoded] = field(default_factory=list)
    slots: list[Column] = field(default_factory=list)
    degraded: dict[tuple[Degraded, str], None] = field(default_factory=dict)


class FeatureReader:
    """Reads features of one registry.

    A new registry is a new FeatureReader, so that a call sees one of them from start to end.
    """

    def __init__(
        self,
        registry: Registry,
        chain: Chain,
        counters: Counters,
        *,
        now_micros: Callable[[], int],
        max_keys: int,
        policy: ViewPolicy,
    ) -> None:
        """Read through ``chain``; ``policy`` is that of views which do not say otherwise."""
        self.registry = registry
        self._chain = chain
        self._counters = counters
        self._now_micros = now_micros
        self._max_keys = max_keys
        self._keys: dict[ViewKey, KeyMaker] = {k: KeyMaker(v) for k, v in registry.views.items()}
        self._policies: dict[ViewKey, ViewPolicy] = {k: ViewPolicy.of(v, policy) for k, v in registry.views.items()}
        self._uncached: dict[ViewKey, ViewPolicy] = {k: p.within(0.0) for k, p in self._policies.items()}
        self._columns: dict[ViewKey, ViewColumns] = {
            k: ViewColumns(v, RowCodec(registry.schemas[k])) for k, v in registry.views.items()
        }

    def __repr__(self) -> str:
        return f"FeatureReader({self.registry!r}, {self._chain!r})"

    async def read(self, plan: ReadPlan, request: Request, came: float, until: float) -> Answer:
        """Return the answer to ``request``, which came at ``came``; rows are waited for until ``until``.

        Both are times of the chain's clock. Raises LimitError for too many distinct keys.
        """
        reads = self.reads(plan, request)
        found = self.hit(reads, came)
        if found is None:
            found = await self.fetch(reads, came, until)
        return self.answer(plan, request, reads, found)

    def reads(self, plan: ReadPlan, request: Request) -> Reads:
        """Return what ``request`` needs of the store; raises LimitError for too many distinct keys."""
        reads = Reads()
        for read in plan.reads:
            self._add_read(reads, read, request)
        count = sum(len(span.keys) for span in reads.spans)
        if count > self._max_keys:
            text = f"asks for {count} distinct rows of the store, at most {self._max_keys} are allowed"
            facts = {"limit": "store_keys", "allowed": str(self._max_keys), "actual": str(count)}
            raise LimitError([Violation("entities", text)], facts)
        return reads

    def hit(self, reads: Reads, now: float) -> list[ViewRows] | None:
        """Return the rows of ``reads`` where fresh copies of all are kept, else None."""
        return self._chain.hit(reads.spans, now)

    async def fetch(self, reads: Reads, came: float, until: float) -> list[ViewRows]:
        """Return the rows of ``reads`` by ``until``; see Chain.read."""
        return await self._chain.read(reads.spans, came, until)

    def answer(self, plan: ReadPlan, request: Request, reads: Reads, found: Sequence[ViewRows]) -> Answer:
        """Return the answer to ``request`` from the rows that were found."""
        now = self._now_micros()
        work = Work()
        for view_read, span, rows in zip(plan.reads, reads.spans, found, strict=True):
            self._decode(work, view_read, span, rows, now)
        self._fill_slots(work, plan, request, reads)
        return self._answer(plan, request, work, reads, found)

    def _add_read(self, reads: Reads, read: ViewRead, request: Request) -> None:
        key = (read.view.name, read.view.version)
        columns = [request.ids[e.join_key] for e in read.view.entities]
        lengths = {len(c) for c in columns}
        if len(lengths) > 1:  # broadcast: every length is 1 or the same n
            n = max(lengths) if 0 not in lengths else 0
            columns = [c if len(c) == n else list(c) * n for c in columns]
        keys, inverse = _distinct(self._keys[key].keys(columns))
        reads.spans.append(Span(keys, self._policy(key, request.max_staleness_s)))
        reads.inverse.append(inverse)

    def _policy(self, view: ViewKey, max_staleness_s: float | None) -> ViewPolicy:
        if max_staleness_s == 0:
            return self._uncached[view]
        return self._policies[view].within(max_staleness_s)

    def _decode(self, work: Work, read: ViewRead, span: Span, rows: ViewRows, now: int) -> None:
        decoded = self._columns[read.view.name, read.view.version].decode(read, rows, now)
        work.decoded.append(decoded)
        work.degraded.update(dict.fromkeys(decoded.degraded))
        if len(decoded.corrupt):
            self._counters.corrupt(read.view.label, len(decoded.corrupt), decoded.reasons[0])
            for index in decoded.corrupt:
                row = rows.rows[index]
                if isinstance(row, bytes):
                    self._chain.forget(span.keys[index], row)

    def _fill_slots(self, work: Work, plan: ReadPlan, request: Request, reads: Reads) -> None:
        varying = request.varying
        for index, slot in enumerate(plan.slots):
            if isinstance(slot, StoredColumn):
                column = work.decoded[slot.read].columns[slot.column]
                inverse = reads.inverse[slot.read]
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

    def _answer(self, plan: ReadPlan, request: Request, work: Work, reads: Reads, found: Sequence[ViewRows]) -> Answer:
        views = []
        for read, decoded, inverse, rows in zip(plan.reads, work.decoded, reads.inverse, found, strict=True):
            times, stale = decoded.event_micros, rows.stale_micros
            if inverse is not None:
                times, stale = times[inverse], None if stale is None else stale[inverse]
            views.append(ServedView(read.view.name, read.view.version, times, stale))
        none = np.zeros(0, np.int64)
        views += [ServedView(name, version, none) for name, version in plan.served[len(plan.reads) :]]
        columns = []
        for name, index in plan.outputs:
            slot = plan.slots[index]
            columns.append((name, work.slots[index], slot.read if isinstance(slot, StoredColumn) else None))
        return Answer(request.rows, columns, list(work.degraded), views)


def _distinct(keys: list[bytes]) -> tuple[list[bytes], npt.NDArray[np.intp] | None]:
    """Return distinct keys, and where each of ``keys`` stands among them; None: they are the same."""
    if len(set(keys)) == len(keys):
        return keys, None
    places: dict[bytes, int] = {}
    inverse = np.fromiter((places.setdefault(k, len(places)) for k in keys), np.intp, len(keys))
    return list(places), inverse
