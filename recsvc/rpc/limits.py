"""What one call may ask for; everything is checked from the plan before the store is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recsvc.errors import LimitError, Violation
from recsvc.online.answer import Request
from recsvc.registry.plan import ReadPlan


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper limits of one call."""

    rows: int
    features: int
    cells: int
    store_keys: int
    reply_bytes: int

    def check_references(self, count: int) -> None:
        """Raise LimitError for more references than features are allowed, before they are looked at."""
        if count > self.features:
            raise _error([("features", "features", count, self.features, "references")])

    def check(self, plan: ReadPlan, request: Request) -> None:
        """Raise LimitError with every limit that the call is over."""
        over = list(self._over(plan, request))
        if over:
            raise _error(over)

    def _over(self, plan: ReadPlan, request: Request) -> Iterator[tuple[str, str, int, int, str]]:
        rows, varying = request.rows, request.varying
        figures = (
            ("entities", "rows", rows, self.rows, "rows"),
            ("features", "features", len(plan.outputs), self.features, "features"),
            ("features", "cells", plan.cells(rows, varying), self.cells, "values"),
            ("features", "reply_bytes", plan.reply_bytes(rows, varying), self.reply_bytes, "bytes of answer (at most)"),
        )
        yield from (f for f in figures if f[2] > f[3])


def _error(over: list[tuple[str, str, int, int, str]]) -> LimitError:
    violations = [
        Violation(field, f"asks for {actual} {what}, at most {allowed} are allowed") for field, _, actual, allowed, what in over
    ]
    metadata: dict[str, str] = {"limit": ",".join(name for _, name, *_ in over)}
    for _, name, actual, allowed, _ in over:
        metadata |= {f"{name}_actual": str(actual), f"{name}_allowed": str(allowed)}
    return LimitError(violations, metadata)
