"""What a run finds: broken invariants, and how often what came about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Invariant(StrEnum):
    """What must hold in every run."""

    ANSWERED = "every caller gets exactly one answer by its deadline, or was cancelled; nothing is raised"
    PROMPT = "nobody waits on when all is there: who waits until the deadline has something under way"
    FRESH = "no value from the cache was fetched longer before the answer than its lifetime or max_staleness"
    STALE = "no stale copy is older than its stale age or max_staleness, and its age is told"
    SINCE = "a value from the store comes from a read that ended after the call came, and is as new as was asked for"
    OWN = "every value is of its key, and was brought by a read that was answered"
    TOLD = "a value that came while the call waited is from the store, unless the call's own fetch of it failed"
    SINGLE = "at most one read of a key is in flight"
    TIMED = "the time of a read runs from the first miss that waits for it"
    GATHERED = "misses leave at once while a slot is free; else they gather, no longer than they may"
    RETRIED = "a fetch is tried at most twice, the second time only while the breaker is closed, and in time"
    BOUNDED = "no bound of cache, waiting or reading is exceeded"
    ENDS = "every flight ends: nothing is held, no task and no timer left when all is done; nothing is read when closed"
    UNTOUCHED = "a caller's cancellation or deadline never reaches a read"
    BREAKER = "a breaker changes when it must, only as it may, and only for outcomes since it last changed"
    REFUSED = "an open breaker lets no read through, a half-open one only its probes"
    REASONS = "a row is Unread or a stale copy only where the store failed, was refused or saturated, and says so"
    KEPT = "what was read is kept for others, under its key, where its view allows it"
    RECOVERS = "once the store is well again, reads are answered, and kept"
    CALM = "no exception is lost, and what nobody expects of a store is logged, once"


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that was broken, when and how."""

    invariant: Invariant
    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.at:.6f} {self.invariant.name}: {self.text}"


@dataclass(slots=True)
class Findings:
    """Violations, counts of what came about, and a trace where somebody wants one."""

    clock: Callable[[], float]
    trace: Callable[[str], None] | None = None
    violations: list[Violation] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def __repr__(self) -> str:
        return f"Findings({len(self.violations)} violations)"

    def broken(self, invariant: Invariant, text: str, *facts: object) -> None:
        """Write down a violation; ``facts`` are put into the braces of ``text``."""
        violation = Violation(invariant, self.clock(), text.format(*facts))
        self.violations.append(violation)
        if self.trace is not None:
            self.trace(f"BROKEN {violation}")

    def hold(self, invariant: Invariant, holds: object, text: str, *facts: object) -> None:
        """Write down a violation unless ``holds``."""
        if not holds:
            self.broken(invariant, text, *facts)

    def note(self, text: str, *facts: object) -> None:
        """Trace what happens now."""
        if self.trace is not None:
            self.trace(f"{self.clock():.6f} {text.format(*facts)}")
