"""A Prometheus page of recsvc as plain numbers: each metric of ours by its labels, everything else passed over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from recsvc.errors import Kind as ErrorKind
from recsvc.errors import RecsvcError
from recsvc.telemetry.metrics import (
    INSTRUMENTS,
    QUALITY,
    REDIS_EVICTED,
    REDIS_LOOKUPS,
    prometheus_name,
)
from recsvc.telemetry.series import Instrument, Kind, Labels, quantile

TARGET: Final = "target_info"
INSTANCE: Final = "service_instance_id"
"""Made up anew by each start of a server, so another one means that all counts began at nothing."""
_TOLD_BY_ALL: Final = frozenset({REDIS_EVICTED, REDIS_LOOKUPS})
"""Counts of Redis itself: every worker tells the same."""


class PageError(RecsvcError):
    """A metrics page cannot be read; the message says why, without the address."""

    kind = ErrorKind.UNAVAILABLE
    reason = "METRICS_PAGE"


class Spread(NamedTuple):
    """A histogram: how often values up to each bound were seen that are above the bound before; and their sum."""

    counts: Mapping[float, float]
    sum: float

    @property
    def total(self) -> float:
        """How many values were seen."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float | None:
        """Their mean; None where there are none."""
        return self.sum / self.total if self.total else None

    def quantile(self, q: float) -> float | None:
        """Return what a share ``q`` is not above; None where there are none, the highest bound where it is above."""
        bounds = sorted(bound for bound in self.counts if bound != math.inf)
        if not bounds or not self.total:
            return None
        return quantile(q, bounds, [*(self.counts[bound] for bound in bounds), self.counts.get(math.inf, 0.0)])

    def plus(self, other: Spread) -> Spread:
        """Return both together; bounds that only one of them has stay as they are."""
        bounds = {*self.counts, *other.counts}
        return Spread({b: self.counts.get(b, 0.0) + other.counts.get(b, 0.0) for b in bounds}, self.sum + other.sum)

    def since(self, before: Spread) -> Spread:
        """Return what was seen since ``before``; all of it where that is of an earlier life of the server."""
        grown = {bound: count - before.counts.get(bound, 0.0) for bound, count in self.counts.items()}
        if self.counts.keys() != before.counts.keys() or any(count < 0 for count in grown.values()):
            return self
        return Spread(grown, max(0.0, self.sum - before.sum))

    def times(self, factor: float) -> Spread:
        """Return counts and sum multiplied."""
        return Spread({bound: count * factor for bound, count in self.counts.items()}, self.sum * factor)


Value = float | Spread
Series = Mapping[Labels, Value]


@dataclass(frozen=True, slots=True)
class Page:
    """All metrics of one server at one moment.

    ``series``: by instrument, then by its labels in their order. An instrument that the page does not know is not
    there; one that has nothing to tell yet is empty.
    """

    instance: str = ""
    series: Mapping[Instrument, Series] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Page({self.instance!r}, {len(self.series)} instruments)"


def parse(text: str) -> Page:
    """Read a page; raises PageError for what is none, or has no metric of ours."""
    reading = _Reading()
    try:
        for family in text_string_to_metric_families(text):
            reading.knows(family.name)
            for sample in family.samples:
                reading.take(sample)
    except (ValueError, LookupError) as error:
        raise PageError("what it answers is not a page of metrics") from error
    page = reading.page()
    if not page.series:
        raise PageError("its page has no metrics of recsvc")
    return page


def together(instrument: Instrument, one: Value, other: Value) -> Value:
    """Return what two servers, or two series, say as one: sums, and of what cannot be summed the worse."""
    if isinstance(one, Spread) and isinstance(other, Spread):
        return one.plus(other)
    if isinstance(one, Spread) or isinstance(other, Spread):
        raise TypeError(f"{instrument.name} is a histogram and is none")
    if instrument.kind is Kind.UP_DOWN or (instrument.kind is Kind.COUNTER and instrument not in _TOLD_BY_ALL):
        return one + other
    return min(one, other) if instrument == QUALITY else max(one, other)


class _Reading:
    """The samples of a page while they are read: buckets come one by one."""

    def __init__(self) -> None:
        self._instance = ""
        self._plain: dict[Instrument, dict[Labels, Value]] = {}
        self._buckets: dict[tuple[Instrument, Labels], dict[float, float]] = {}
        self._sums: dict[tuple[Instrument, Labels], float] = {}

    def __repr__(self) -> str:
        return f"_Reading({len(self._plain)} instruments)"

    def knows(self, family: str) -> None:
        """Take note of a metric, though it may have no series."""
        instrument = _FAMILIES.get(family)
        if instrument is not None:
            self._plain.setdefault(instrument, {})

    def take(self, sample: Sample) -> None:
        """Take one line of the page."""
        if sample.name == TARGET:
            self._instance = sample.labels.get(INSTANCE, "")
        instrument, part = _SAMPLES.get(sample.name, (None, ""))
        if instrument is None or math.isnan(sample.value):
            return
        labels = tuple(sample.labels.get(_label(name), "") for name in instrument.labels)
        key, value = (instrument, labels), float(sample.value)  # "3" comes as an int
        if part == "bucket":
            bound = float(sample.labels["le"])
            found = self._buckets.setdefault(key, {})
            found[bound] = found.get(bound, 0.0) + value
        elif part == "sum":
            self._sums[key] = self._sums.get(key, 0.0) + value
        elif part == "":
            self._add(instrument, labels, value)

    def page(self) -> Page:
        """Return all that was read."""
        for (instrument, labels), cumulative in self._buckets.items():
            self._add(instrument, labels, Spread(dict(_apart(cumulative)), self._sums.get((instrument, labels), 0.0)))
        return Page(self._instance, self._plain)

    def _add(self, instrument: Instrument, labels: Labels, value: Value) -> None:
        series = self._plain.setdefault(instrument, {})
        known = series.get(labels)
        series[labels] = value if known is None else together(instrument, known, value)


def _apart(cumulative: Mapping[float, float]) -> Iterator[tuple[float, float]]:
    """Yield the count of each bucket by its own: a page says how many are up to its bound."""
    below = 0.0
    for bound in sorted(cumulative):
        yield bound, max(0.0, cumulative[bound] - below)
        below = cumulative[bound]


def _label(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")


def _samples() -> Iterator[tuple[str, tuple[Instrument, str]]]:
    """Yield the name of each sample, with its instrument and which part of it that is."""
    for instrument in INSTRUMENTS:
        name = prometheus_name(instrument)
        if instrument.kind is Kind.HISTOGRAM:
            yield from ((f"{name}_{part}", (instrument, part)) for part in ("bucket", "sum", "count"))
        else:
            yield name, (instrument, "")


_SAMPLES: Final[Mapping[str, tuple[Instrument | None, str]]] = dict(_samples())
_FAMILIES: Final = {
    name: instrument
    for instrument in INSTRUMENTS
    for name in (prometheus_name(instrument), prometheus_name(instrument).removesuffix("_total"))
}
