"""What one call may ask for; everything is checked from the plan before the store is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recsvc.errors import LimitError, Violation
from recsvc.registry.model import MAX_ID_BYTES
from recsvc.registry.plan import ReadPlan


@dataclass(frozen=True, slots=True)
class _Excess:
    """One limit that a call is over."""

    limit: str
    field: str
    actual: int
    allowed: int
    what: str

    def violation(self) -> Violation:
        return Violation(self.field, f"asks for {self.actual} {self.what}, at most {self.allowed} are allowed")


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper limits of one call, and of an id in it.

    How many distinct rows of the store it may need is for the reader of rows to check.
    """

    rows: int
    features: int
    cells: int
    reply_bytes: int
    id_bytes: int = MAX_ID_BYTES

    def check_references(self, count: int) -> None:
        """Raise LimitError for references to more features than are allowed, before they are looked at."""
        if count > self.features:
            raise _error([_Excess("features", "features", count, self.features, "features")])

    def check(self, plan: ReadPlan, rows: int, varying: frozenset[str], *, event_times: bool) -> None:
        """Raise LimitError with every limit that the call is over.

        ``varying`` are the join keys and context fields that differ by row; ``event_times`` are part of the answer.
        """
        over = [e for e in self._figures(plan, rows, varying, event_times) if e.actual > e.allowed]
        if over:
            raise _error(over)

    def _figures(
        self,
        plan: ReadPlan,
        rows: int,
        varying: frozenset[str],
        event_times: bool,  # noqa: FBT001  # as given to check
    ) -> Iterator[_Excess]:
        yield _Excess("rows", "entities", rows, self.rows, "rows")
        yield _Excess("features", "features", len(plan.outputs), self.features, "features")
        yield _Excess("cells", "features", plan.cells(rows, varying), self.cells, "values")
        size = plan.reply_bytes(rows, varying) + (plan.time_bytes(rows, varying) if event_times else 0)
        yield _Excess("reply_bytes", "features", size, self.reply_bytes, "bytes of answer (at most)")


def _error(over: Sequence[_Excess]) -> LimitError:
    """Return the error; its metadata has limit, actual and allowed, each a list with commas where several are over."""
    metadata = {
        "limit": ",".join(e.limit for e in over),
        "actual": ",".join(str(e.actual) for e in over),
        "allowed": ",".join(str(e.allowed) for e in over),
    }
    return LimitError([e.violation() for e in over], metadata)
