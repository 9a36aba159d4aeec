"""What the drills share: how long they last, and how calls are summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from tests.bench.report import Expectation, Figures, Relation, Report, rounded
from tests.fault.plan import Calls
from tests.fault.stage import Timed

LATE_SHARE = 1 / 10_000
SLACK_MS = 5.0
BEHIND = "generator_late_ms"


@dataclass(frozen=True, slots=True)
class Scale:
    """How thorough to be: 1 is what the issue asks for."""

    factor: float

    def of(self, seconds: float) -> float:
        """Return a time to go on for; never so short that there is nothing to see."""
        return max(seconds * self.factor, seconds / 2)

    def count(self, number: int) -> int:
        """Return how often to do what counts."""
        return round(number * self.factor)


def first_change(changes: Sequence[Timed], state: str, *, after: float) -> float:
    """Return when a breaker was first in ``state`` after a time; infinity if never."""
    return min((c.at for c in changes if c.change.after == state and c.at >= after - 0.002), default=float("inf"))


def milliseconds(value: float) -> float:
    """Return a time for the JSON object."""
    return rounded(value)


def timeline(shown: Table, name: str, calls: Calls) -> None:
    """Add a line about some calls."""
    shown.add_row(
        name,
        f"{len(calls):,}",
        f"{calls.percentile_ms(50):.2f}",
        f"{calls.percentile_ms(99):.2f}",
        f"{int(calls.degraded.sum()):,}",
        f"{int(calls.failed.sum()):,}",
    )


def behind(calls: Calls) -> str:
    """Say how late the load generator itself was."""
    p99, longest = np.percentile(calls.behind, [99, 100]) * 1e3
    return f"the load generator began calls up to {longest:.1f} ms late (p99 {p99:.1f} ms)"


def behind_ms(calls: Calls) -> Figures:
    """Return the same for the JSON object: by how much it was late at the most."""
    return {BEHIND: rounded(float(calls.behind.max(initial=0.0)) * 1e3)}


def was_disturbed(report: Report) -> bool:
    """Whether the machine had other things to do: it let the load generator, which waits for nobody, wait too long."""
    late = report.figures.get(BEHIND, 0.0)
    return isinstance(late, float) and late > SLACK_MS


def in_time(name: str, calls: Calls) -> list[Expectation]:
    """Judge whether calls ended by their deadlines: one of 10,000 may be late, and none by more than the slack."""
    late = (calls.over > 0) | calls.failed
    longest = float(calls.over.max(initial=-1.0)) * 1e3
    return [
        Expectation(f"{name}: longest call past its deadline, ms", max(longest, 0.0), Relation.AT_MOST, SLACK_MS),
        Expectation(f"{name}: share of calls past their deadline", float(late.mean()), Relation.AT_MOST, LATE_SHARE),
    ]
