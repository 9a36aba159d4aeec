"""Judges answers from the callers' side: each value by the read that brought it, each gap by what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from recsvc.online.answer import Degraded, Row, Source, Unread
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Span, ViewRows
from tests.simulation.findings import Findings, Invariant
from tests.simulation.schedule import CallPlan
from tests.simulation.store import Read, origin, row_of
from tests.simulation.watch import Watch

ROUNDING_S: Final = 1e-6
RETRY_S: Final = 0.006
"""A fetch may have failed, and wait this long for its second try, when a call joins it."""


@dataclass(slots=True)
class Call:
    """A call that was made, and its answer. ``until`` is when the answer must be there."""

    plan: CallPlan
    came: float
    until: float
    spans: Sequence[Span]
    crowded: frozenset[str] = frozenset()
    """Nodes that had too much waiting when the call came, or would have had with it."""
    routed: bool = True
    """Whether it was known then which node has which key."""
    found: Sequence[ViewRows] = field(default_factory=list)
    answered_at: float = 0.0


class _Value(NamedTuple):
    """A row of an answer, with all that is said of it."""

    call: Call
    key: bytes
    row: Row
    source: Source
    stale_micros: int
    reasons: tuple[Degraded, ...]
    policy: ViewPolicy

    def __str__(self) -> str:
        what = repr(self.row) if isinstance(self.row, Unread) else self.source.name
        return f"call {self.call.plan.number}, {self.key.decode()}: {what}"


class Judge:
    """Holds answers to their invariants."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._findings: Findings = watch.findings
        self._places = watch.places
        self._punctuality = watch.punctuality

    def __repr__(self) -> str:
        return f"Judge({self._findings!r})"

    def judge(self, call: Call) -> None:
        """Check one answer, at the moment it is there."""
        took_s = call.answered_at - call.came
        self._findings.note("call {} answered after {:.6f} s", call.plan.number, took_s)
        in_time = call.answered_at <= self._punctuality.latest(call.until)
        self._findings.hold(Invariant.ANSWERED, in_time, "call {} after {:.6f} s", call.plan.number, took_s)
        self._findings.hold(Invariant.PROMPT, self._waits_for_something(call), "call {}", call.plan.number)
        for value in _values(call):
            if isinstance(value.row, Unread):
                self._unread(value, value.row)
            else:
                self._read(value)

    def _waits_for_something(self, call: Call) -> bool:
        """Say whether a call that waited until its deadline, and whose keys were read meanwhile, had a reason to."""
        now = call.answered_at
        if now < call.until - ROUNDING_S or not call.routed or self._jumped(call):
            return True
        keys = {key for span in call.spans for key in span.keys}
        ended = [r.ended_at or now for r in self._watch.ledger.reads if not keys.isdisjoint(r.keys)]
        last = max(ended, default=0.0)
        if last <= call.came or last >= call.until - self._punctuality.slack_s - ROUNDING_S:
            return True
        return any(self._watch.inside.under_way(node, key) for key in keys for node in self._places.ever(key))

    def _jumped(self, call: Call) -> bool:
        """Say whether the clock jumped while the call, or a fetch that it joined, was under way."""
        begin = call.came - self._watch.settings.coalesce.timeout_s
        return self._punctuality.jumped(begin, call.answered_at)

    def _unread(self, value: _Value, row: Unread) -> None:
        self._findings.seen[f"rows {row!r}"] += 1
        hold = self._findings.hold
        hold(Invariant.REASONS, row.degraded in value.reasons, "{} is not told", value)
        hold(Invariant.REASONS, self._is_due(value, row), "{}, but nothing says why", value)

    def _read(self, value: _Value) -> None:
        read = self._read_of(value)
        if read is None:
            return
        self._findings.seen[f"rows {value.source.name}"] += 1
        hold, age = self._findings.hold, value.call.answered_at - read.sent_at
        if value.source is Source.CACHE:
            self._cached(value, read, age)
        elif value.source is Source.STALE_CACHE:
            self._stale(value, age)
        elif value.source is Source.STORE:
            self._stored(value, read)
        else:
            self._findings.broken(Invariant.OWN, "{}", value)
        if value.source is not Source.STALE_CACHE:
            hold(Invariant.STALE, value.stale_micros == 0, "{} has a stale age", value)

    def _cached(self, value: _Value, read: Read, age: float) -> None:
        hold, lifetime_s = self._findings.hold, value.policy.lifetime_s
        hold(Invariant.FRESH, age <= lifetime_s, "{} of {:.6f} s, allowed {}", value, age, lifetime_s)
        if value.row is not None and read.sent_at >= value.call.came and value.call.answered_at > value.call.came:
            due = any(self._is_due(value, reason) for reason in Unread)
            hold(Invariant.TOLD, due, "{}, but read {} was sent when the call had come", value, read.number)

    def _stale(self, value: _Value, age: float) -> None:
        hold, limits = self._findings.hold, value.policy
        hold(Invariant.STALE, age <= limits.stale_s, "{} of {:.6f} s, allowed {}", value, age, limits.stale_s)
        told = value.stale_micros / 1e6
        if value.row is not None:  # of rows that are not there it is not known which read brought them
            # A second try is sent later than the fetch it belongs to.
            right = (
                age - ROUNDING_S <= told <= age + self._watch.settings.coalesce.timeout_s + self._punctuality.slack_s
            )
            hold(Invariant.STALE, right, "{} of {:.6f} s, told are {:.6f}", value, age, told)
        due = any(self._is_due(value, Unread(reason)) for reason in value.reasons)
        hold(Invariant.REASONS, due, "{}, but nothing says why: {}", value, value.reasons)

    def _stored(self, value: _Value, read: Read) -> None:
        hold, call = self._findings.hold, value.call
        ended = read.ended_at is not None and read.ended_at >= call.came
        hold(Invariant.SINCE, ended, "{}, but read {} ended before", value, read.number)
        if read.sent_at < call.came:
            self._findings.seen["rows of fetches that were joined"] += 1
            # Judged for the deadline: only a clock that jumps makes an answer later than that.
            age = min(call.answered_at, call.until) - read.sent_at
            young = age <= value.policy.lifetime_s
            hold(Invariant.SINCE, young, "{}, of a fetch {:.6f} s old, allowed {}", value, age, value.policy.lifetime_s)

    def _read_of(self, value: _Value) -> Read | None:
        """Return the read that brought a value; where there is no row, the last that may have."""
        hold, reads, key = self._findings.hold, self._watch.ledger.reads, value.key
        if isinstance(value.row, bytes):
            of, number = origin(value.row)
            hold(Invariant.OWN, of == key, "{} has the row of {}", value, of)
            read = reads[number]
            hold(Invariant.OWN, read.brought(of), "{} comes from read {}, which did not bring it", value, number)
            return read
        hold(Invariant.OWN, row_of(key, 0) is None, "{} has no row, but there is one", value)
        read_found = next((r for r in reversed(reads) if r.brought(key)), None)
        hold(Invariant.OWN, read_found, "{} has no row, but no read says so", value)
        return read_found

    def _is_due(self, value: _Value, reason: Unread) -> bool:
        """Say whether what happened in the time of a call explains that a row was not read."""
        call, at = value.call, value.call.answered_at
        nodes = self._places.ever(value.key)
        if reason is Unread.REFUSED:
            return any(self._watch.not_closed(node, call.came, at) for node in nodes)
        if reason is Unread.SATURATED:
            return not call.crowded.isdisjoint(nodes)
        if not nodes or at >= min(call.until - ROUNDING_S, self._watch.closing_at) or self._jumped(call):
            return True
        return self._had_trouble(value, nodes)

    def _had_trouble(self, value: _Value, nodes: frozenset[str]) -> bool:
        """Say whether a row may have got no answer from its nodes in time."""
        call, at = value.call, value.call.answered_at
        timeout_s = self._watch.settings.coalesce.timeout_s
        if any(self._watch.full_at.get(node, 0.0) >= call.came - timeout_s for node in nodes):
            return True  # it waited for a connection
        for read in reversed(self._watch.ledger.reads):
            ended_at = at if read.ended_at is None else read.ended_at
            if read.node not in nodes or ended_at < call.came - timeout_s:
                continue
            if ended_at >= call.came - RETRY_S and value.key in read.unread:
                return True
            if ended_at - read.sent_at >= timeout_s / 2:
                return True  # it waited behind reads that took as long as it may wait
        return False


def _values(call: Call) -> Iterator[_Value]:
    for span, found in zip(call.spans, call.found, strict=True):
        n = len(span.keys)
        sources = [found.sources] * n if isinstance(found.sources, Source) else [Source(int(s)) for s in found.sources]
        ages = [0] * n if found.stale_micros is None else found.stale_micros.tolist()
        for key, row, source, age in zip(span.keys, found.rows, sources, ages, strict=True):
            yield _Value(call, key, row, source, age, found.reasons, span.policy)
