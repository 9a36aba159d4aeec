"""Answers a read plan: keys, rows through the chain, columns, on-demand features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from recsvc.errors import LimitError, Violation
from recsvc.online.answer import Answer, Column, Degraded, Request, ServedView
from recsvc.online.columns import Decoded, ViewColumns
from recsvc.online.in_turns import Turns, joined, pieces
from recsvc.online.keys import KeyMaker
from recsvc.online.on_demand import compute, failed
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Chain, Span, ViewRows
from recsvc.online.row import NO_TIME, RowCodec
from recsvc.registry.model import FeatureView
from recsvc.registry.plan import ComputedColumn, ReadPlan, StoredColumn, ViewRead
from recsvc.registry.registry import Registry
from recsvc.telemetry import hop, names
from recsvc.telemetry.counters import Counters
from recsvc.telemetry.rows import ServedRows

ViewKey = tuple[str, int]
PLANS_KEPT: Final = 1_024
"""Plans whose views are looked up once; the registry keeps fewer that callers made up."""


class Reads(NamedTuple):
    """What a call needs of the store: for each view of the plan distinct keys, and where each row finds its own.

    An ``inverse`` of None: they are one to one.
    """

    spans: Sequence[Span]
    inverse: Sequence[npt.NDArray[np.intp] | None]


class _View:
    """What is the same for every read of a view: how its keys are made, and how copies may be used."""

    __slots__ = ("join_keys", "keys", "policy", "uncached")

    def __init__(self, view: FeatureView, policy: ViewPolicy) -> None:
        self.join_keys = tuple(e.join_key for e in view.entities)
        self.keys = KeyMaker(view).keys
        self.policy = ViewPolicy.of(view, policy)
        self.uncached = self.policy.within(0.0)

    def within(self, max_staleness_s: float) -> ViewPolicy:
        return self.policy.within(max_staleness_s) if max_staleness_s else self.uncached


@dataclass(slots=True)
class Work:
    """What has come together of one answer."""

    decoded: list[Decoded] = field(default_factory=list)
    slots: list[Column] = field(default_factory=list)
    degraded: dict[tuple[Degraded, str], None] = field(default_factory=dict)


class _Path:
    """What is the same for every answer to a plan: its views, and where each column comes from.

    ``stored``: of each slot the read and the column in it; None where some slot is no stored feature. ``outputs``:
    name, slot, and the read of a stored feature.
    """

    __slots__ = ("outputs", "plan", "stored", "views")

    def __init__(self, plan: ReadPlan, views: Mapping[ViewKey, _View]) -> None:
        self.plan = plan
        self.views = [views[read.view.name, read.view.version] for read in plan.reads]
        reads = [slot.read if isinstance(slot, StoredColumn) else None for slot in plan.slots]
        stored = [(slot.read, slot.column) for slot in plan.slots if isinstance(slot, StoredColumn)]
        self.stored = stored if len(stored) == len(plan.slots) else None
        self.outputs = [(name, index, reads[index]) for name, index in plan.outputs]


class FeatureReader:
    """Reads features of one registry.

    A new registry is a new FeatureReader, so that a call sees one of them from start to end.
    """

    def __init__(  # noqa: PLR0913  # what it works with, from outside
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
        self.now_micros = now_micros
        self.max_keys = max_keys
        self._views: dict[ViewKey, _View] = {k: _View(v, policy) for k, v in registry.views.items()}
        self.served = {
            key: ServedRows(counters.metrics, view.label, view.freshness) for key, view in registry.views.items()
        }
        """By view: what is counted of its rows in answers."""
        self._looked_at = 0
        self._paths: dict[int, _Path] = {}
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
        else:
            hop.lap(names.LOOKUP)
        return self.answer(plan, request, reads, found)

    def reads(self, plan: ReadPlan, request: Request, *, younger_s: float = 0.0) -> Reads:
        """Return what ``request`` needs of the store; raises LimitError for too many distinct keys.

        ``younger_s``: how much younger copies must be than they may be, because the answer will take so long.
        """
        spans, inverses = [], []
        ids, staleness = request.ids, request.max_staleness_s
        count = 0
        for view in self._path_of(plan).views:
            keys, inverse = view.keys([ids[k] for k in view.join_keys]), None
            if len(keys) > 1:
                keys, inverse = _distinct(keys)
            count += len(keys)
            policy = view.policy if staleness is None else view.within(staleness)
            spans.append(Span(keys, policy.younger(younger_s) if younger_s else policy))
            inverses.append(inverse)
        if count > self.max_keys:
            text = f"asks for {count} distinct rows of the store, at most {self.max_keys} are allowed"
            facts = {"limit": "store_keys", "allowed": str(self.max_keys), "actual": str(count)}
            raise LimitError([Violation("entities", text)], facts)
        return Reads(spans, inverses)

    def hit(self, reads: Reads, now: float) -> list[ViewRows] | None:
        """Return the rows of ``reads`` where fresh copies of all are kept, else None."""
        return self._chain.hit(reads.spans, now)

    async def fetch(self, reads: Reads, came: float, until: float) -> list[ViewRows]:
        """Return the rows of ``reads`` by ``until``; see Chain.read."""
        return await self._chain.read(reads.spans, came, until)

    def answer(self, plan: ReadPlan, request: Request, reads: Reads, found: Sequence[ViewRows]) -> Answer:
        """Return the answer to ``request`` from the rows that were found."""
        now = self.now_micros()
        work = Work()
        for read, span, rows in zip(plan.reads, reads.spans, found, strict=True):
            self._take(work, read, span, rows, self._decode(read, rows, now))
        hop.lap(names.DECODE)
        self._fill_slots(work, plan, request, reads)
        return self._answer(plan, request, work, reads, found)

    async def answer_in_turns(
        self, plan: ReadPlan, request: Request, reads: Reads, found: Sequence[ViewRows], turns: Turns
    ) -> Answer:
        """Return what ``answer`` returns, without holding the event loop for long."""
        now = self.now_micros()
        work = Work()
        for read, span, rows in zip(plan.reads, reads.spans, found, strict=True):
            parts = []
            for start, piece in pieces(rows, len(read.columns)):
                parts.append((start, self._decode(read, piece, now)))
                await turns.pause()
            self._take(work, read, span, rows, await joined(parts, turns))
            await turns.pause()
        hop.lap(names.DECODE)
        self._fill_slots(work, plan, request, reads)
        return self._answer(plan, request, work, reads, found)

    def _path_of(self, plan: ReadPlan) -> _Path:
        known = self._paths.get(id(plan))
        if known is None or known.plan is not plan:
            if len(self._paths) >= PLANS_KEPT:
                self._paths.clear()
            known = self._paths[id(plan)] = _Path(plan, self._views)
        return known

    def _decode(self, read: ViewRead, rows: ViewRows, now: int) -> Decoded:
        return self._columns[read.view.name, read.view.version].decode(read, rows, now)

    def _take(self, work: Work, read: ViewRead, span: Span, rows: ViewRows, decoded: Decoded) -> None:
        work.decoded.append(decoded)
        if decoded.degraded:
            work.degraded.update(dict.fromkeys(decoded.degraded))
            for reason, label in decoded.degraded:
                hop.degraded(reason.name, label)
        self._count(read, rows, decoded)
        if len(decoded.corrupt):
            self._counters.corrupt(read.view.label, len(decoded.corrupt), decoded.reasons[0])
            for index in decoded.corrupt:
                self._chain.forget(span.keys[index], cast("bytes", rows.rows[index]))

    def _count(self, read: ViewRead, rows: ViewRows, decoded: Decoded) -> None:
        """Count the rows of a view, and look at the age of one of them: another one each time."""
        times = decoded.event_micros
        self._looked_at += 1
        at = int(times[self._looked_at % len(times)]) if len(times) else NO_TIME
        stale = 0 if rows.stale_micros is None else int(np.count_nonzero(rows.stale_micros))
        age = None if at == NO_TIME else self.now_micros() - at
        self.served[read.view.name, read.view.version].rows(len(times), age, stale, decoded.defaulted)

    def _fill_slots(self, work: Work, plan: ReadPlan, request: Request, reads: Reads) -> None:
        stored, decoded = self._path_of(plan).stored, work.decoded
        if stored is not None:  # nearly always, and without a look at each slot
            work.slots = [decoded[read].columns[column] for read, column in stored]
            for index, inverse in enumerate(reads.inverse):
                if inverse is not None:
                    work.slots = [
                        column.take(inverse) if read == index else column
                        for column, (read, _) in zip(work.slots, stored, strict=True)
                    ]
            return
        varying = request.varying
        for index, slot in enumerate(plan.slots):
            if isinstance(slot, StoredColumn):
                column = decoded[slot.read].columns[slot.column]
                inverse = reads.inverse[slot.read]
                work.slots.append(column if inverse is None else column.take(inverse))
            elif isinstance(slot, ComputedColumn):
                work.slots.append(self._computed(work, slot, plan.column_rows(index, request.rows, varying)))
            else:
                work.slots.append(request.context[slot.field.name])
        hop.lap(names.COMPUTE)

    def _computed(self, work: Work, slot: ComputedColumn, n: int) -> Column:
        try:
            return compute(slot.feature, [(name, work.slots[i]) for name, i in slot.inputs], n)
        except Exception as error:  # noqa: BLE001  # a user's function: anything can come out of it, and it costs its own column only
            self._counters.on_demand_failed(slot.name, error)
            work.degraded[Degraded.ON_DEMAND_FAILED, slot.view.label] = None
            hop.degraded(Degraded.ON_DEMAND_FAILED.name, slot.view.label)
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
        columns = [(name, work.slots[index], read) for name, index, read in self._path_of(plan).outputs]
        return Answer(request.rows, columns, list(work.degraded), views)


def _distinct(keys: list[bytes]) -> tuple[list[bytes], npt.NDArray[np.intp] | None]:
    """Return distinct keys, and where each of ``keys`` stands among them; None: they are the same."""
    if len(set(keys)) == len(keys):
        return keys, None
    places: dict[bytes, int] = {}
    inverse = np.fromiter((places.setdefault(k, len(places)) for k in keys), np.intp, len(keys))
    return list(places), inverse
