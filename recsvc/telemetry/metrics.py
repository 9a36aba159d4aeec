"""Every metric, once: name, kind, unit, meaning and labels. The table in the README is ``markdown_table()``.

Labels come from definitions, never from what a caller sent. Where values are recorded is found by the names here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recsvc.telemetry import names
from recsvc.telemetry.series import Family, Instrument, Kind, NoFamily, Point

SECONDS: Final = (
    5e-05, 1e-04, 2e-04, 3e-04, 5e-04, 7.5e-04, 1e-03, 1.5e-03, 2e-03, 3e-03, 5e-03, 7.5e-03, 0.01, 0.015, 0.02, 0.03,
    0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
"""The conventions advise from 5 ms on, which a hit takes a fiftieth of."""
BYTES: Final = (64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0)
NUMBERS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0)
SHARES: Final = (0.0, 0.0001, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
AGES: Final = (
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
    2_592_000.0,
)  # fmt: skip
LATE: Final = 1.25
"""Rows so many times as old as promised have missed an update; once as old may just wait for theirs."""

INSTRUMENTS: list[Instrument] = []


def _histogram(name: str, unit: str, text: str, bounds: tuple[float, ...], *labels: str) -> Instrument:
    INSTRUMENTS.append(Instrument(name, Kind.HISTOGRAM, unit, text, labels, bounds))
    return INSTRUMENTS[-1]


def _counter(name: str, unit: str, text: str, *labels: str) -> Instrument:
    INSTRUMENTS.append(Instrument(name, Kind.COUNTER, unit, text, labels))
    return INSTRUMENTS[-1]


def _up_down(name: str, unit: str, text: str, *labels: str) -> Instrument:
    INSTRUMENTS.append(Instrument(name, Kind.UP_DOWN, unit, text, labels))
    return INSTRUMENTS[-1]


def _gauge(name: str, unit: str, text: str, *labels: str) -> Instrument:
    INSTRUMENTS.append(Instrument(name, Kind.GAUGE, unit, text, labels))
    return INSTRUMENTS[-1]


CALL_DURATION: Final = _histogram(
    "rpc.server.call.duration", "s", "calls, from their bytes to those of the answer", SECONDS,
    names.RPC_SYSTEM, names.RPC_METHOD, names.RPC_STATUS, names.ERROR_TYPE,
)  # fmt: skip
REQUEST_SIZE: Final = _histogram("recsvc.request.size", "By", "requests", BYTES, names.RPC_METHOD)
RESPONSE_SIZE: Final = _histogram("recsvc.response.size", "By", "answers", BYTES, names.RPC_METHOD)
CALLS_ACTIVE: Final = _up_down("recsvc.calls.active", "{call}", "calls under way")
HOP_DURATION: Final = _histogram(
    "recsvc.hop.duration", "s", "hops of at least 20 µs: the spans of calls, also of those not sampled", SECONDS,
    names.HOP,
)  # fmt: skip
DEGRADED: Final = _counter("recsvc.degraded", "{answer}", "answers in which something did not work", names.REASON)

CACHE_LOOKUPS: Final = _counter(
    "recsvc.cache.lookups", "{row}",
    "rows from fresh copies (hit), or that the store was asked for (miss); of these from stale copies (stale)",
    names.RESULT,
)  # fmt: skip
CACHE_EVICTIONS: Final = _counter("recsvc.cache.evictions", "{row}", "copies dropped to stay within the bounds")
CACHE_ROWS: Final = _up_down("recsvc.cache.rows", "{row}", "copies kept")
CACHE_BYTES: Final = _up_down("recsvc.cache.bytes", "By", "what they take")

FETCH_KEYS: Final = _histogram("recsvc.fetch.keys", "{row}", "rows that one fetch asks the store for", NUMBERS)
FETCH_CALLERS: Final = _histogram("recsvc.fetch.callers", "{call}", "calls that one fetch was for", NUMBERS)
FETCH_WAITING: Final = _up_down("recsvc.fetch.waiting", "{row}", "rows that wait for the store or are in flight")
FETCH_SHED: Final = _counter("recsvc.fetch.shed", "{row}", "rows not asked for, because too much waited already")
DB_DURATION: Final = _histogram(
    "db.client.operation.duration", "s", "commands to the store, from sent to answered", SECONDS,
    names.DB_SYSTEM, names.DB_OPERATION, names.SERVER_ADDRESS, names.SERVER_PORT, names.ERROR_TYPE,
)  # fmt: skip
CONNECTIONS: Final = _up_down(
    "db.client.connection.count", "{connection}", "connections to the store", names.POOL_NAME, names.POOL_STATE
)
BREAKER_STATE: Final = _gauge(
    "recsvc.breaker.state", "1", "circuit breaker of a node: 0 closed, 1 half-open, 2 open", names.NODE
)
BREAKER_CHANGES: Final = _counter(
    "recsvc.breaker.transitions", "{change}", "changes of its state", names.NODE, names.AFTER
)
STORE_FAILURES: Final = _counter("recsvc.store.failures", "{read}", "reads that the store did not answer")

ROWS_SERVED: Final = _counter("recsvc.rows.served", "{row}", "rows in answers", names.VIEW)
ROWS_DEFAULTED: Final = _counter(
    "recsvc.rows.defaulted", "{row}", "rows in answers that had no values", names.VIEW, names.STATUS
)
ROWS_STALE: Final = _counter("recsvc.rows.stale", "{row}", "rows in answers from stale copies", names.VIEW)
ROW_AGE: Final = _histogram(
    "recsvc.rows.age", "s", "answer time less event time, of one row of each view and answer", AGES, names.VIEW
)
ROWS_LATE: Final = _counter(
    "recsvc.rows.late", "{row}", f"of the rows in recsvc.rows.age those over {LATE:g} × as old as promised", names.VIEW
)
FRESHNESS: Final = _gauge("recsvc.view.freshness", "s", "the promised interval between updates", names.VIEW)
CORRUPT: Final = _counter("recsvc.rows.corrupt", "{row}", "corrupt rows", names.VIEW)
ON_DEMAND_FAILURES: Final = _counter(
    "recsvc.compute.failures", "{call}", "failures of an on-demand feature", names.FEATURE
)

CANDIDATES: Final = _histogram(
    "recsvc.recommend.candidates", "{item}", "candidates of a source", NUMBERS, names.PLACEMENT, names.SOURCE_NAME
)
PASS_SHARE: Final = _histogram(
    "recsvc.recommend.pass_share", "1", "part of the catalogue that may come", SHARES, names.PLACEMENT
)
SLATE_ITEMS: Final = _histogram("recsvc.recommend.slate.items", "{item}", "items of a slate", NUMBERS, names.PLACEMENT)
SLATE_SHORT: Final = _counter(
    "recsvc.recommend.slate.short", "{slate}", "slates with fewer items than were asked for", names.PLACEMENT
)
RANK_DURATION: Final = _histogram(
    "recsvc.recommend.rank.duration", "s", "ranking of the candidates", SECONDS, names.PLACEMENT, names.RANKED_BY
)
QUALITY: Final = _gauge(
    "recsvc.recommend.quality_factor", "1", "part of the candidates that a slate looks for", names.PLACEMENT
)
SOURCE_FAILURES: Final = _counter(
    "recsvc.recommend.source.failures", "{call}", "failures of candidate sources and models", names.SOURCE_NAME
)
METADATA_AGE: Final = _gauge(
    "recsvc.catalogue.age", "s", "how long ago metadata of items was last known to be current", names.CATALOGUE
)
CATALOGUE_ITEMS: Final = _gauge("recsvc.catalogue.items", "{item}", "items of a catalogue", names.CATALOGUE)
IMPRESSIONS_DROPPED: Final = _counter("recsvc.impressions.dropped", "{slate}", "impressions that were not written")

LOOP_LAG: Final = _histogram(
    "recsvc.loop.lag", "s", "how late a timer of the event loop is; timers are to 1 ms", SECONDS
)
REDIS_EVICTED: Final = _counter(
    "recsvc.redis.evicted_keys", "{key}", "keys that Redis dropped for want of memory", names.NODE
)
REDIS_MEMORY: Final = _gauge("recsvc.redis.memory", "By", "memory that Redis uses", names.NODE)
REDIS_MAX_MEMORY: Final = _gauge("recsvc.redis.memory.limit", "By", "memory that it may use; 0: all", names.NODE)
REDIS_LOOKUPS: Final = _counter(
    "recsvc.redis.lookups", "{key}", "keys that Redis was asked for by anybody and had (hit) or not (miss)",
    names.NODE, names.RESULT,
)  # fmt: skip
SPANS: Final = _counter(
    "recsvc.telemetry.spans", "{span}", "spans that were exported, dropped (full queue), or failed (collector)",
    names.RESULT,
)  # fmt: skip
SPANS_WAITING: Final = _up_down("recsvc.telemetry.waiting", "{span}", "spans that wait to be exported")
LATE_SPANS: Final = _counter(
    "recsvc.telemetry.late", "{span}", "spans `recsvc.late`: made, or dropped because there were too many",
    names.RESULT,
)  # fmt: skip


class Metrics:
    """All metrics of one server. Where ``enabled`` is false, nothing is kept."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        make = Family if enabled else NoFamily
        self._families = {instrument.name: make(instrument) for instrument in INSTRUMENTS}

    def __repr__(self) -> str:
        return f"Metrics({len(self._families)} instruments{'' if self.enabled else ', off'})"

    def __getitem__(self, instrument: Instrument) -> Family:
        return self._families[instrument.name]

    def collect(self, *kinds: Kind) -> Iterator[tuple[Instrument, list[Point]]]:
        """Yield the instruments of these kinds, or all, with their series as they are now; for any thread."""
        for family in self._families.values():
            if not kinds or family.instrument.kind in kinds:
                yield family.instrument, family.points()


def prometheus_name(instrument: Instrument) -> str:
    """Return the name that Prometheus knows it by: _ for dots, with its unit, and _total for counters.

    https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
    """
    unit = {"s": "seconds", "By": "bytes", "1": "ratio" if instrument.kind is Kind.GAUGE else ""}.get(
        instrument.unit, ""
    )
    name = instrument.name.replace(".", "_")
    parts = [name, unit if unit and not name.endswith(unit) else "", "total" if instrument.kind is Kind.COUNTER else ""]
    return "_".join(part for part in parts if part)


def markdown_table() -> str:
    """Return the table of metrics for the README."""
    lines = ["| metric | kind, unit | labels | meaning |", "|---|---|---|---|"]
    for of in INSTRUMENTS:
        labels = ", ".join(f"`{label}`" for label in of.labels)
        lines.append(f"| `{of.name}` | {of.kind.value}, {of.unit} | {labels} | {of.text} |")
    return "\n".join(lines)
