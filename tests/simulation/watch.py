"""Watches a run from the store's side: reads in flight, bounds, and the breakers' changes, each as it happens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recsvc.online.breaker import BUCKETS, Change, Mode, State
from recsvc.online.retry import LEAST_TIME_S
from tests.simulation.findings import Findings, Invariant
from tests.simulation.inside import Inside, load
from tests.simulation.punctuality import ROUNDING_S, Punctuality
from tests.simulation.schedule import Schedule
from tests.simulation.store import Ledger, Read

LEGAL = {
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.OPEN),
    (State.HALF_OPEN, State.CLOSED),
}


@dataclass(slots=True)
class Standing:
    """How a node's breaker stands by what it told, since when, and why it must open, if it must."""

    state: State
    since: float
    history: list[tuple[float, State]]
    due: str = ""
    ended: list[Read] = field(default_factory=list)
    """Reads that began in this state and have ended."""


class Watch:
    """Holds reads and breakers to their invariants.

    ``asked`` has for each key when calls came that want it (NaN: it could not be asked for at once), ``full_at`` for
    each node when it last had no connection left.
    """

    def __init__(self, plan: Schedule, inside: Inside, findings: Findings, punctuality: Punctuality) -> None:
        self.settings = settings = plan.settings
        self.punctuality = punctuality
        self.findings = findings
        self.inside = inside
        self.places = inside.places
        self.ledger = Ledger(findings.clock, self)
        self.asked: dict[bytes, list[float]] = {}
        self.closing_at = math.inf
        self.closed = False
        self._tries: Counter[object] = Counter()
        self.full_at: dict[str, float] = {}
        first = State.OPEN if settings.breaker.mode is Mode.OPEN else State.CLOSED
        now = findings.clock()
        self.standings = {name: Standing(first, now, [(now, first)]) for name in plan.phases}

    def __repr__(self) -> str:
        states = {name: standing.state.value for name, standing in self.standings.items()}
        return f"Watch({self.ledger!r}, {states})"

    def began(self, read: Read) -> None:
        """See Watcher.began."""
        self.findings.note("read {} of {}: {} keys: {}", read.number, read.node, len(read.keys), Names(read.keys))
        hold, limits = self.findings.hold, self.settings.coalesce
        others = [r for r in self.ledger.under_way if r is not read]
        keys = set(read.keys)
        hold(Invariant.SINGLE, len(keys) == len(read.keys), "read {} has a key twice", read.number)
        for other in others:
            # A fetch that was sent to a node which is gone may still be under way when its keys are on another.
            alone = keys.isdisjoint(other.keys) or other.node != read.node
            hold(Invariant.SINGLE, alone, "reads {} and {} have the same key", other.number, read.number)
        there = all(read.node in self.places.ever(key) for key in keys)
        hold(Invariant.OWN, there, "read {} of {} has keys of other nodes", read.number, read.node)
        hold(Invariant.BOUNDED, 0 < len(keys) <= limits.keys_per_fetch, "{} keys in one read", len(keys))
        at_node = 1 + sum(r.node == read.node for r in others)
        hold(Invariant.BOUNDED, at_node <= limits.fetches, "{} reads of a node at once", at_node)
        self.findings.seen["reads"] += 1
        self.findings.seen["reads beyond the slots"] += at_node > limits.slots
        together = len({self.inside.flight(read.node, key) for key in read.keys}) > 1
        self.findings.seen["reads in which keys of several calls left together"] += together
        hold(Invariant.ENDS, not self.closed, "read {} begins when all is closed", read.number)
        self._permitted(read)
        if self._tried(read) == 1:
            # Those that are sent together may begin in any order.
            begun = read.sent_at - self.punctuality.slack_s
            self._gathered(read, sum(r.node == read.node and r.sent_at < begun for r in others))
        self._timed(read)
        self.bounds()

    def ended(self, read: Read) -> None:
        """See Watcher.ended."""
        self.findings.note("read {} {}, {} unread", read.number, read.outcome, len(read.unread))
        self.findings.seen[f"reads {read.outcome}"] += 1
        untouched = read.outcome != "cancelled" or self.closing_at < math.inf
        self.findings.hold(Invariant.UNTOUCHED, untouched, "read {} was cancelled", read.number)
        standing = self.standings[read.node]
        if read.sent_at >= standing.since and read.outcome != "cancelled":
            standing.ended.append(read)
            standing.due = self._why_open(standing, self._surely_slow)
        self.bounds()

    def changed(self, change: Change) -> None:
        """Take note of a breaker's change, as it is told."""
        self.findings.note("breaker {}: {} -> {} ({})", change.name, change.before, change.after, change.why)
        self.findings.seen[f"breakers {change.before} to {change.after}"] += 1
        standing, now = self.standings[change.name], self.findings.clock()
        hold = self.findings.hold
        hold(Invariant.BREAKER, change.before is standing.state, "{}, but it was {}", change, standing.state)
        hold(Invariant.BREAKER, (change.before, change.after) in LEGAL, "{}", change)
        hold(Invariant.BREAKER, self.settings.breaker.mode is Mode.AUTO, "{}, but it is held", change)
        hold(Invariant.BREAKER, self._may(change, standing, now), "{}, but outcomes since then do not say so", change)
        standing.state, standing.since = change.after, now
        standing.history.append((now, change.after))
        standing.due = ""
        standing.ended = []

    def not_closed(self, node: str, begin: float, end: float) -> bool:
        """Say whether a node's breaker was open or half-open at some time between."""
        history = self.standings[node].history
        ends = [at for at, _ in history[1:]] + [math.inf]
        return any(
            state is not State.CLOSED and at <= end and until >= begin
            for (at, state), until in zip(history, ends, strict=True)
        )

    def bounds(self) -> None:
        """Check what is held by all coalescers."""
        limits, hold = self.settings.coalesce, self.findings.hold
        for node, lane in self.inside.lanes().items():
            held = load(lane)
            if held.fetches >= limits.fetches:
                self.full_at[node] = self.findings.clock()
            hold(Invariant.BOUNDED, held.keys <= limits.waiting_keys, "{} keys wait", held.keys)
            hold(Invariant.BOUNDED, 0 <= held.bytes <= limits.waiting_bytes, "{} bytes wait", held.bytes)
            hold(Invariant.BOUNDED, 0 <= held.calls <= limits.waiting_calls, "{} calls wait", held.calls)
            hold(Invariant.BOUNDED, held.fetches <= limits.fetches, "{} fetches", held.fetches)

    def _tried(self, read: Read) -> int:
        """Check that it is a first try, or a second one that is worth it; return which."""
        flight = self.inside.flight(read.node, read.keys[0])
        self._tries[flight] += 1
        tries, state = self._tries[flight], self.standings[read.node].state
        self.findings.seen["reads that are second tries"] += tries == 2
        left_s = read.until - read.sent_at
        well = tries == 1 or (tries == 2 and state is State.CLOSED and left_s >= LEAST_TIME_S)
        text = "read {} is try {}, breaker {}, {:.6f} s left"
        self.findings.hold(Invariant.RETRIED, flight is not None and well, text, read.number, tries, state, left_s)
        return tries

    def _gathered(self, read: Read, others: int) -> None:
        """Check how long it waited: for a slot at least as long as misses gather, and no longer without a reason."""
        limits, now, hold = self.settings.coalesce, read.sent_at, self.findings.hold
        missed_at = read.until - limits.timeout_s
        waited_s = now - missed_at
        gathered = others < limits.slots or waited_s >= limits.gather_s - ROUNDING_S
        hold(Invariant.GATHERED, gathered, "read {} is one too many after {:.6f} s", read.number, waited_s)
        if waited_s > limits.gather_s + self.punctuality.slack_s:
            blocked = any(
                (r.ended_at or 0.0) > missed_at and not set(read.keys).isdisjoint(r.keys) for r in self.ledger.reads
            )
            jumped = self.punctuality.jumped(missed_at, now)
            full = self.full_at.get(read.node, 0.0) >= missed_at
            hold(Invariant.GATHERED, blocked or full or jumped, "read {} left after {:.6f} s", read.number, waited_s)

    def _timed(self, read: Read) -> None:
        """Check that the read's time began when a call came that wants one of its keys."""
        began = read.until - self.settings.coalesce.timeout_s
        asked = [came for key in read.keys for came in self.asked[key]]
        timed = any(math.isnan(came) or abs(came - began) < ROUNDING_S for came in asked)
        self.findings.hold(Invariant.TIMED, timed, "read {} has until {:.6f}", read.number, read.until)

    def _permitted(self, read: Read) -> None:
        hold, standing, limits = self.findings.hold, self.standings[read.node], self.settings.breaker
        hold(Invariant.REFUSED, standing.state is not State.OPEN, "read {} at an open breaker", read.number)
        hold(Invariant.BREAKER, not standing.due, "read {} at a closed breaker; {}", read.number, standing.due)
        if standing.state is not State.HALF_OPEN:
            return
        self.findings.seen["reads that are probes"] += 1
        lost_s = max(limits.window_s, limits.open_s)  # a probe that is out for longer is not waited for
        begin = max(standing.since, read.sent_at - lost_s)
        out = sum(r.node == read.node and r.sent_at >= begin for r in self.ledger.under_way)
        hold(Invariant.REFUSED, out <= limits.probes, "{} probes out with read {}", out, read.number)

    def _may(self, change: Change, standing: Standing, now: float) -> bool:
        limits = self.settings.breaker
        if change.after is State.HALF_OPEN:
            return now - standing.since >= limits.open_s - ROUNDING_S
        if change.before is State.CLOSED:
            return bool(self._why_open(standing, self._slow))
        if change.after is State.OPEN:
            return any(_failed(r) or self._slow(r) for r in standing.ended)
        return sum(not (_failed(r) or self._surely_slow(r)) for r in standing.ended) >= limits.probes

    def _why_open(self, standing: Standing, is_slow: Callable[[Read], bool]) -> str:
        """Say why the breaker opens, by the reads that ended in the last window; empty: it does not."""
        limits, reads = self.settings.breaker, standing.ended
        if limits.mode is not Mode.AUTO or standing.state is not State.CLOSED or not reads:
            return ""
        width = limits.window_s / BUCKETS
        oldest = math.floor(self.findings.clock() / width) - BUCKETS
        last = reads[-1]
        if not (_failed(last) or is_slow(last)):
            return ""  # a good one never opens it
        reads = [r for r in reads if math.floor((r.ended_at or 0.0) / width) > oldest]
        failed, slow = sum(map(_failed, reads)), sum(map(is_slow, reads))
        enough = failed / len(reads) >= limits.failure_share or slow / len(reads) >= limits.slow_share
        return f"{failed} failed, {slow} slow of {len(reads)}" if len(reads) >= limits.min_calls and enough else ""

    def _slow(self, read: Read) -> bool:
        return (read.ended_at or 0.0) - read.sent_at > self.settings.breaker.slow_s

    def _surely_slow(self, read: Read) -> bool:
        """Say whether the store was slow, and not perhaps the loop late."""
        ended_at = read.ended_at or 0.0
        long = ended_at - read.sent_at > self.settings.breaker.slow_s + self.punctuality.slack_s
        return long and not self.punctuality.jumped(read.sent_at, ended_at)


class Names:
    """Keys as they are shown in a trace."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def __str__(self) -> str:
        return b" ".join(self._keys[:9]).decode() + (" …" if len(self._keys) > 9 else "")

    __repr__ = __str__


def _failed(read: Read) -> bool:
    return len(read.unread) == len(read.keys)
