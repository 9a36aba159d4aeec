"""The callers of a run: each asks the chain once, waits for its answer, and may go before it comes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from recsvc.online.chain import SLACK_S
from recsvc.online.coalesce import FULL
from recsvc.online.reader import Span
from tests.simulation.answers import Call, Judge
from tests.simulation.findings import Invariant
from tests.simulation.inside import Load
from tests.simulation.loop import START, VirtualLoop
from tests.simulation.schedule import CallPlan, Schedule
from tests.simulation.watch import Watch


class Callers:
    """Makes the calls of a schedule; ``tasks`` are those that were made."""

    def __init__(self, schedule: Schedule, loop: VirtualLoop, watch: Watch) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self._schedule = schedule
        self._loop = loop
        self._watch = watch
        self._findings = watch.findings
        self._inside = watch.inside
        self._judge = Judge(watch)
        self._cancelled_at: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"Callers({sum(not t.done() for t in self.tasks)} of {len(self.tasks)} wait)"

    def start(self, plan: CallPlan) -> None:
        """Make a call."""
        task = self._loop.create_task(self._caller(plan))
        self.tasks.append(task)
        if plan.cancelled_after_s is not None:
            self._loop.call_later(plan.cancelled_after_s, self._cancel, task, plan)

    def _cancel(self, task: asyncio.Task[None], plan: CallPlan) -> None:
        if task.cancel():
            self._findings.note("call {} is cancelled", plan.number)
            self._cancelled_at[plan.number] = self._loop.time()

    async def _caller(self, plan: CallPlan) -> None:
        try:
            await self._call(plan)
        except asyncio.CancelledError:
            self._gone(plan)
            raise
        except Exception as error:  # noqa: BLE001  # the chain promises to raise nothing
            self._findings.broken(Invariant.ANSWERED, "call {} got {!r}", plan.number, error)

    async def _call(self, plan: CallPlan) -> None:
        came = self._loop.time()
        policies = self._schedule.policies
        spans = [Span(keys, policies[view].within(plan.max_staleness_s)) for view, keys in plan.keys.items()]
        longest_s = self._schedule.settings.coalesce.timeout_s + SLACK_S  # the chain lets nobody wait for longer
        until = came + min(plan.deadline_s, longest_s)
        routed = came >= START + self._schedule.routed_after_s
        # Before it is known which node has what, it is not known either what the call will find there.
        crowded = self._crowded(plan) if routed else frozenset(self._schedule.phases)
        call = Call(plan, came, until, spans, crowded, routed)
        for key in (k for part in plan.keys.values() for k in part):
            self._watch.asked.setdefault(key, []).append(came if routed else math.nan)
        self._findings.note("call {} comes: {}", plan.number, plan)
        chain = self._inside.open_chain
        found = chain.hit(spans, came)
        hit = found is not None
        call.found = await chain.read(spans, came, came + plan.deadline_s) if found is None else found
        call.answered_at = self._loop.time()
        self._findings.seen["calls that hit" if hit else "calls that missed"] += 1
        self._judge.judge(call)
        self._watch.bounds()
        self._cache_bounds()

    def _cache_bounds(self) -> None:
        """Check how much the cache holds."""
        copies, settings = self._inside.cache, self._schedule.settings
        self._findings.hold(Invariant.BOUNDED, len(copies) <= settings.cache_entries, "{!r}", copies)
        self._findings.hold(Invariant.BOUNDED, 0 <= copies.bytes <= settings.cache_bytes, "{!r}", copies)

    def _gone(self, plan: CallPlan) -> None:
        self._findings.seen["calls cancelled"] += 1
        cancelled_at = self._cancelled_at.get(plan.number, 0.0)
        at_once = self._loop.time() <= self._watch.punctuality.latest(cancelled_at)
        self._findings.hold(Invariant.ANSWERED, at_once, "call {} not gone since {:.6f}", plan.number, cancelled_at)

    def _crowded(self, plan: CallPlan) -> frozenset[str]:
        """Return the nodes that may shed this call: FULL of a bound waits there, or would with it."""
        keys = [k for part in plan.keys.values() for k in part]
        own: dict[str | None, list[bytes]] = {}
        for key in keys:
            own.setdefault(self._inside.places.of(key), []).append(key)
        return frozenset(name for name, some in own.items() if name and self._full(self._inside.load(name), some))

    def _full(self, held: Load, more: Sequence[bytes]) -> bool:
        limits = self._schedule.settings.coalesce
        return (
            held.keys + len(more) >= FULL * limits.waiting_keys
            or held.bytes + sum(map(len, more)) >= FULL * limits.waiting_bytes
            or held.calls + 1 >= FULL * limits.waiting_calls
            or held.fetches >= limits.crowd
        )
