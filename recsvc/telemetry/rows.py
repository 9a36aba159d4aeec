"""What is counted of the rows in answers, by view."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from recsvc.telemetry import metrics as m
from recsvc.telemetry import names
from recsvc.telemetry.hop import event
from recsvc.telemetry.series import Count

MICROS: Final = 1e-6
_MICROSECOND: Final = timedelta(microseconds=1)


class ServedRows:
    """Counts the rows of one view. ``view`` is its label, name@vN; ``freshness``: what it promises, if anything."""

    __slots__ = ("_age", "_defaulted", "_late", "_late_micros", "_metrics", "_served", "_stale", "view")

    def __init__(self, metrics: m.Metrics, view: str, freshness: timedelta | None) -> None:
        self.view = view
        self._metrics = metrics
        self._served = metrics[m.ROWS_SERVED].count(view)
        self._stale = metrics[m.ROWS_STALE].count(view)
        self._age = metrics[m.ROW_AGE].histogram(view)
        self._late = metrics[m.ROWS_LATE].count(view)
        self._late_micros = math.inf if freshness is None else m.LATE * (freshness / _MICROSECOND)
        self._defaulted: dict[str, Count] = {}

    def __repr__(self) -> str:
        return f"ServedRows({self.view!r}, {self._served!r})"

    def row(self, age_micros: float) -> None:
        """Count a row that has values."""
        self._served.add()
        self._seen(age_micros)

    def rows(self, count: int, age_micros: float | None, stale: int, defaulted: Mapping[str, int]) -> None:
        """Count rows of one answer.

        ``age_micros``: of one of them; None where there is none. ``stale``: how many are stale copies. ``defaulted``:
        how many answer with defaults, by status.
        """
        self._served.add(count)
        if age_micros is not None:
            self._seen(age_micros)
        if stale:
            self._stale.add(stale)
        for status, number in defaulted.items():
            counted = self._defaulted.get(status)
            if counted is None:
                counted = self._defaulted[status] = self._metrics[m.ROWS_DEFAULTED].count(self.view, status)
            counted.add(number)
            event(names.DEFAULTS, {names.VIEW: self.view, names.STATUS: status, names.COUNT: number})

    def _seen(self, age_micros: float) -> None:
        self._age.record(age_micros * MICROS)
        if age_micros > self._late_micros:
            self._late.add()
