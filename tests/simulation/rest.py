"""What must hold when all calls have been answered: nothing is left over, copies are where they belong, reads work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from recsvc.online.answer import Source, Unread
from recsvc.online.breaker import LONGEST_REST, Mode
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Span
from tests.simulation.findings import Invariant
from tests.simulation.inside import load
from tests.simulation.store import origin, row_of

if TYPE_CHECKING:
    from tests.simulation.run import Run

QUIET_S = 2.0
"""After the last answer: by then every read has ended, of late nodes too."""
ROUNDS = 4
"""Calls after the nodes were healed: more than any breaker wants probes."""


class Rest:
    """Checks a run at its end."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._hold = run.findings.hold

    def __repr__(self) -> str:
        return f"Rest({self._run!r})"

    async def check(self) -> None:
        """Wait until it is quiet; look whether all is at rest; heal the store, and read again."""
        await asyncio.sleep(QUIET_S)
        self._nothing_left()
        self._copies()
        if self._run.plan.closed_at is None:
            await self._well()
        await self._run.chain.close()

    async def _well(self) -> None:
        for node in self._run.nodes.values():
            node.heal()
        limits = self._run.plan.settings.breaker
        await asyncio.sleep(limits.open_s * LONGEST_REST + limits.window_s)
        for number in range(ROUNDS):
            await self._read_again(number)
        await asyncio.sleep(QUIET_S)
        self._nothing_left()

    def _nothing_left(self) -> None:
        hold, ledger = self._hold, self._run.watch.ledger
        hold(Invariant.ENDS, not ledger.under_way, "{!r}", ledger)
        for lane in self._run.inside.lanes().values():
            hold(Invariant.ENDS, lane.idle and not any(load(lane)), "not idle: {!r}, {}", lane, load(lane))
        timers = self._run.loop.timers()
        hold(Invariant.ENDS, not timers, "timers left: {}", timers)
        tasks = [t for t in asyncio.all_tasks(self._run.loop) if t is not asyncio.current_task()]
        hold(Invariant.ENDS, not tasks, "tasks left: {}", tasks)

    def _copies(self) -> None:
        """Check that every copy is of its key, no older than it says, of a view that keeps copies, and counted."""
        hold, reads = self._hold, self._run.watch.ledger.reads
        size = 0
        for copy in self._run.inside.copies():
            size += copy.bytes
            kept = self._run.plan.policies[int(copy.key[1:2])].kept
            hold(Invariant.KEPT, kept, "{} has a copy, its view keeps none", copy.key)
            if copy.row is None:
                hold(Invariant.OWN, row_of(copy.key, 0) is None, "the copy of {} says that there is no row", copy.key)
                continue
            of, number = origin(copy.row)
            hold(Invariant.OWN, of == copy.key, "the copy of {} is of {}", copy.key, of)
            old = copy.sent_at <= reads[number].sent_at
            hold(Invariant.FRESH, old, "the copy of {} says that it is newer than it is", copy.key)
        counted = self._run.inside.cache.bytes
        hold(Invariant.BOUNDED, size == counted, "the cache counts {} bytes, and has {}", counted, size)

    async def _read_again(self, number: int) -> None:
        """Read a new key of every node past the cache, and then from the cache; or find the breaker held open."""
        run, hold = self._run, self._hold
        policy = ViewPolicy(5.0, 0.0)
        keys = self._new_keys(number)
        now = run.loop.time()
        for key in keys:
            run.watch.asked.setdefault(key, []).append(now)
        past = await run.chain.read([Span(keys, policy.within(0.0))], now, now + 0.5)
        if run.plan.settings.breaker.mode is Mode.OPEN:
            held = all(row is Unread.REFUSED for row in past[0].rows) and not run.watch.ledger.reads
            hold(Invariant.REFUSED, held, "a breaker that is held open lets through: {}", past)
            return
        right = all(row == row_of(k, _number(row)) for k, row in zip(keys, past[0].rows, strict=True))
        hold(Invariant.RECOVERS, right and past[0].sources is Source.STORE, "round {}: {}", number, past)
        again = run.chain.hit([Span(keys, policy)], run.loop.time())
        hold(
            Invariant.KEPT, again is not None and again[0].rows == past[0].rows, "round {}: {}, {}", number, past, again
        )

    def _new_keys(self, number: int) -> list[bytes]:
        """Return a key of each node."""
        keys: dict[str, bytes] = {}
        for i in range(100):
            key = b"v0:new%d-%d" % (number, i)
            node = self._run.places.of(key)
            if node is not None:
                keys.setdefault(node, key)
        return list(keys.values())


def _number(row: object) -> int:
    return origin(row)[1] if isinstance(row, bytes) else 0
