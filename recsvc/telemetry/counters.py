"""Plain counters of what went wrong on the read path, each with a log line at most once per interval and place."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from recsvc.telemetry import metrics as m
from recsvc.telemetry import names
from recsvc.telemetry.calls import Calls
from recsvc.telemetry.hop import event
from recsvc.telemetry.repeats import Repeats
from recsvc.telemetry.series import Point

log = logging.getLogger(__name__)


NAMES_KEPT = 1_000
"""Servers whose breaker's changes are counted, times three states; in a cluster they get new addresses for ever."""
OPENINGS_S: Final = 10.0
"""How often it is said of a breaker that it has opened again."""


class Counters:
    """Counts by name of a definition, never by what a caller sent.

    ``interval_s``: the same thing is logged at most once in that time. ``calls``: what else is measured, with the
    metrics that all of this is published by.
    """

    def __init__(self, *, monotonic: Callable[[], float], interval_s: float = 60.0, calls: Calls | None = None) -> None:
        self.calls = calls or Calls(m.Metrics(enabled=False))
        self.metrics = self.calls.metrics
        self._repeats = Repeats(monotonic, interval_s)
        self._openings = Repeats(monotonic, OPENINGS_S)
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
        if self._repeats.due("store", place):
            log.error("store %s does not answer: %s (%d reads so far)", place, reason, self.store_unavailable)

    def corrupt(self, view: str, rows: int, reason: str) -> None:
        """Count corrupt rows of a view."""
        self.corrupt_rows[view] += rows
        if self._repeats.due("corrupt", view):
            log.error("corrupt rows in %s: %s (%d so far)", view, reason, self.corrupt_rows[view])

    def on_demand_failed(self, feature: str, error: Exception) -> None:
        """Count a failure of an on-demand function."""
        self.on_demand_failures[feature] += 1
        if self._repeats.due("on_demand", feature):
            count = self.on_demand_failures[feature]
            log.error("on-demand feature %s failed (%d so far)", feature, count, exc_info=error)

    def source_failed(self, source: str, error: Exception) -> None:
        """Count a failure of a candidate source."""
        self.source_failures[source] += 1
        if self._repeats.due("source", source):
            log.error("candidate source %s failed (%d so far)", source, self.source_failures[source], exc_info=error)

    def ranker_failed(self, ranker: str, reason: str) -> None:
        """Count a failure of a model, among those of sources: it was to order what they found."""
        self.source_failures[ranker] += 1
        if self._repeats.due("ranker", ranker):
            log.error("ranker %s failed: %s (%d so far)", ranker, reason, self.source_failures[ranker])

    def breaker_changed(self, name: str, before: str, after: str, why: str) -> None:
        """Count a change of a server's circuit breaker.

        That one stays open is logged now and then: while Redis is away it probes and opens again all the time.
        """
        if len(self.breaker_changes) >= NAMES_KEPT and (name, after) not in self.breaker_changes:
            self.breaker_changes.clear()
        self.breaker_changes[name, after] += 1
        event(names.BREAKER, {names.NODE: name, names.BEFORE: before, names.AFTER: after, names.REASON: why})
        due = self._openings.due(name) if after == "open" else 0
        level = logging.WARNING if due or "closed" in (before, after) else logging.DEBUG
        count = self.breaker_changes[name, after]
        log.log(level, "breaker of redis %s: %s -> %s (%s; %d so far)", name, before, after, why, count)

    def _publish(self) -> None:
        metrics = self.metrics
        metrics[m.STORE_FAILURES].observe(lambda: [((), self.store_unavailable)])
        metrics[m.CORRUPT].observe(lambda: _points(self.corrupt_rows))
        metrics[m.ON_DEMAND_FAILURES].observe(lambda: _points(self.on_demand_failures))
        metrics[m.SOURCE_FAILURES].observe(lambda: _points(self.source_failures))
        metrics[m.BREAKER_CHANGES].observe(lambda: list(self.breaker_changes.copy().items()))


def _points(counts: Counter[str]) -> list[Point]:
    return [((name,), count) for name, count in counts.copy().items()]
