"""Plays the schedule of a seed on the real chain, in virtual time, and returns what was found."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from recsvc.online import cache
from recsvc.online.chain import NamedStore, Surroundings
from tests.simulation.callers import Callers
from tests.simulation.findings import Findings, Invariant
from tests.simulation.inside import Inside, OpenChain
from tests.simulation.loop import START, VirtualLoop
from tests.simulation.punctuality import Punctuality
from tests.simulation.rest import Rest
from tests.simulation.schedule import Schedule, schedule
from tests.simulation.store import Places, SimulatedCluster, SimulatedNode
from tests.simulation.watch import Watch

LONGEST_S = 60.0
"""After the last call: by then all must have been answered, whatever the store does."""


def play(seed: int, trace: Callable[[str], None] | None = None) -> Findings:
    """Play the schedule of ``seed``; ``trace`` gets a line for everything that happens."""
    plan = schedule(seed)
    rng = random.Random(seed)
    loop = VirtualLoop(rng, shuffles=plan.shuffles, lag_s=plan.lag_s)
    findings = Findings(loop.time, trace)
    try:
        with _few_paces(), _logged() as errors:
            run = Run(plan, loop, findings, rng)
            loop.run_until_complete(run.play())
        broken = sum(read.outcome == "broken" for read in run.watch.ledger.reads)
        right = len(errors) == broken
        findings.hold(Invariant.CALM, right, "{} errors in the log, {} in the store", len(errors), broken)
    except Exception as error:  # noqa: BLE001  # a finding like any other, and the next seed shall still run
        findings.broken(Invariant.CALM, "the run itself ended with {!r}", error)
    finally:
        for failure in loop.failures:
            findings.broken(Invariant.CALM, "{}", failure)
        loop.close()
    return findings


def _few_paces() -> AbstractContextManager[object]:
    """Let caches draw fewer numbers when they are made: a run makes one and keeps but a few rows in it."""
    return patch.object(cache, "_PACES", 61)


class _Records(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.ERROR)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextmanager
def _logged() -> Iterator[list[logging.LogRecord]]:
    """Collect what recsvc logs as errors, and show it nowhere else."""
    log, records = logging.getLogger("recsvc"), list[logging.LogRecord]()
    handler = _Records(records)
    log.addHandler(handler)
    propagates, log.propagate = log.propagate, False
    try:
        yield records
    finally:
        log.propagate = propagates
        log.removeHandler(handler)


class Run:
    """One run: the chain, its simulated nodes, and who watches them."""

    def __init__(self, plan: Schedule, loop: VirtualLoop, findings: Findings, rng: random.Random) -> None:
        self.plan = plan
        self.loop = loop
        self.findings = findings
        self.rng = rng
        self.punctuality = Punctuality(loop, lags=plan.lag_s > 0)
        cluster = len(plan.phases) > 1
        self.places = Places(list(plan.phases)[:3], holes=plan.holes and cluster)
        self.inside = Inside(self.places)
        self.watch = Watch(plan, self.inside, findings, self.punctuality)
        self.nodes = {
            name: SimulatedNode(name, phases, self.watch.ledger, rng, start=START)
            for name, phases in plan.phases.items()
        }
        self._callers = Callers(plan, loop, self.watch)
        self._closing: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"Run(seed {self.plan.seed}, {self.watch!r})"

    async def play(self) -> None:
        """Make all calls, wait until all is over, and see whether the chain is at rest and well."""
        self.chain = self.inside.chain = self._chain()
        for call in self.plan.calls:
            self.loop.call_at(START + call.at, self._callers.start, call)
        for at, by in self.plan.jumps:
            self.loop.call_at(START + at, self._jump, by)
        if self.plan.replaced_at is not None and len(self.nodes) > 1:
            self.loop.call_at(START + self.plan.replaced_at, self._replace)
        if self.plan.closed_at is not None:
            self.loop.call_at(START + self.plan.closed_at, self._start_closing)
        # Longer than the last jump or call lies ahead: all of them are there then.
        await asyncio.sleep(self.plan.end + 0.1)
        _, late = await asyncio.wait([*self._callers.tasks, *self._closing], timeout=LONGEST_S)
        self.findings.hold(Invariant.ANSWERED, not late, "{} calls are never answered", len(late))
        for task in late:
            task.cancel()
        self.no_timers()
        await Rest(self).check()

    def _chain(self) -> OpenChain:
        around = Surroundings(self.loop.time, self.rng, self.watch.changed)
        if len(self.nodes) == 1:
            ((name, node),) = self.nodes.items()
            return OpenChain(self.plan.settings, around, NamedStore(name, node))
        known_at = START + self.plan.routed_after_s
        router = SimulatedCluster(self.nodes, self.places, self.loop.time, known_at=known_at)
        return OpenChain(self.plan.settings, around, router)

    def _jump(self, by_s: float) -> None:
        self.findings.note("the clock jumps by {:.6f} s", by_s)
        self.loop.jump(by_s)

    def _replace(self) -> None:
        self.findings.note("node d stands for node b")
        self.findings.seen["nodes replaced"] += 1
        self.places.replace("b", "d")

    def _start_closing(self) -> None:
        self._closing.append(self.loop.create_task(self._close()))

    async def _close(self) -> None:
        self.findings.note("the chain is being closed")
        self.findings.seen["chains closed while calls came"] += 1
        self.watch.closing_at = self.loop.time()
        await self.chain.close()
        self.findings.note("the chain is closed")
        self.watch.closed = True
        self.findings.hold(Invariant.ENDS, not self.watch.ledger.under_way, "closed, but {!r}", self.watch.ledger)

    def no_timers(self) -> None:
        """Check that of all calls that were answered none has left a timer."""
        left = [t for t in self.loop.timers() if any(getattr(a, "__name__", "") == "expire" for a in t._args)]
        self.findings.hold(Invariant.ENDS, not left, "timers left: {}", left)
