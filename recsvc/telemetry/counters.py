"""Plain counters of what went wrong on the read path, each with a log line at most once per interval and place."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from recsvc.telemetry import metrics as m
from recsvc.telemetry import names
from recsvc.telemetry.calls import Calls
from recsvc.telemetry.hop import event
from recsvc.telemetry.series import Point

log = logging.getLogger(__name__)


NAMES_KEPT = 1_000
"""Servers whose breaker's changes are counted, times three states; in a cluster they get new addresses for ever."""


class Counters:
    """Counts by name of a definition, never by what a caller sent.

    ``interval_s``: the same thing is logged at most once in that time. ``calls``: what else is measured, with the
    metrics that all of this is published by.
    """

    def __init__(self, *, monotonic: Callable[[], float], interval_s: float = 60.0, calls: Calls | None = None) -> None:
        self.calls = calls or Calls(m.Metrics(enabled=False))
        self.metrics = self.calls.metrics
        self._monotonic = monotonic
        self._interval_s = interval_s
        self._logged: dict[tuple[str, str], float] = {}
        self.store_unavailable = 0
        self.corrupt_rows: Counter[str] = Counter()
        self.on_demand_failures: Counter[str] = Counter()
        self.source_failures: Counter[str] = Counter()
        self.breaker_changes: Counter[tuple[str, str]] = Counter()
        self._publish()

    def __repr__(self) -> str:
        changes = {" ".join(what): count for what, count in self.breaker_changes.items()}
        return (
            f"Counters(store_unavailable={self.store_unavailable}, corrupt_rows={dict(self.corrupt_rows)},"
            f" on_demand_failures={dict(self.on_demand_failures)},"
            f" source_failures={dict(self.source_failures)}, breaker_changes={changes})"
        )

    def unavailable(self, place: str, reason: str) -> None:
        """Count a read that the store, or one node of it (``place``), did not answer."""
        self.store_unavailable += 1
        if self._due("store", place):
            log.error("store %s does not answer: %s (%d reads so far)", place, reason, self.store_unavailable)

    def corrupt(self, view: str, rows: int, reason: str) -> None:
        """Count corrupt rows of a view."""
        self.corrupt_rows[view] += rows
        if self._due("corrupt", view):
            log.error("corrupt rows in %s: %s (%d so far)", view, reason, self.corrupt_rows[view])

    def on_demand_failed(self, feature: str, error: Exception) -> None:
        """Count a failure of an on-demand function."""
        self.on_demand_failures[feature] += 1
        if self._due("on_demand", feature):
            count = self.on_demand_failures[feature]
            log.error("on-demand feature %s failed (%d so far)", feature, count, exc_info=error)

    def source_failed(self, source: str, error: Exception) -> None:
        """Count a failure of a candidate source."""
        self.source_failures[source] += 1
        if self._due("source", source):
            log.error("candidate source %s failed (%d so far)", source, self.source_failures[source], exc_info=error)

    def breaker_changed(self, name: str, before: str, after: str, why: str) -> None:
        """Count a change of a server's circuit breaker; each is logged, for their order tells what happened."""
        if len(self.breaker_changes) >= NAMES_KEPT and (name, after) not in self.breaker_changes:
            self.breaker_changes.clear()
        self.breaker_changes[name, after] += 1
        event(names.BREAKER, {names.NODE: name, names.BEFORE: before, names.AFTER: after, names.REASON: why})
        log.warning("breaker of redis %s: %s -> %s (%s)", name, before, after, why)

    def _publish(self) -> None:
        metrics = self.metrics
        metrics[m.STORE_FAILURES].observe(lambda: [((), self.store_unavailable)])
        metrics[m.CORRUPT].observe(lambda: _points(self.corrupt_rows))
        metrics[m.ON_DEMAND_FAILURES].observe(lambda: _points(self.on_demand_failures))
        metrics[m.SOURCE_FAILURES].observe(lambda: _points(self.source_failures))
        metrics[m.BREAKER_CHANGES].observe(lambda: list(self.breaker_changes.copy().items()))

    def _due(self, what: str, where: str) -> bool:
        now = self._monotonic()
        if len(self._logged) >= NAMES_KEPT:
            self._logged = {key: at for key, at in self._logged.items() if now - at < self._interval_s}
        last = self._logged.get((what, where))
        if last is not None and now - last < self._interval_s:
            return False
        self._logged[what, where] = now
        return True


def _points(counts: Counter[str]) -> list[Point]:
    return [((name,), count) for name, count in counts.copy().items()]
