"""Plain numbers behind metrics: recording is an addition, and whoever collects reads them from another thread."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from recsvc.telemetry.names import OTHER

log = logging.getLogger(__name__)

SERIES_KEPT: Final = 2_000
"""Of one instrument. Labels come from definitions, so this is for years of reloads; all others are `_other`."""

Labels = tuple[str, ...]


class Kind(Enum):
    """What an instrument measures, by the words of OpenTelemetry."""

    COUNTER = "counter"
    GAUGE = "gauge"
    UP_DOWN = "updowncounter"
    HISTOGRAM = "histogram"


class Instrument(NamedTuple):
    """A metric: its name and unit (UCUM), what it tells, by which labels; ``bounds`` are those of a histogram."""

    name: str
    kind: Kind
    unit: str
    text: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


class Example(NamedTuple):
    """One value with the trace that it was seen in; ``at_nanos`` is wall time."""

    value: float
    at_nanos: int
    trace_id: int
    span_id: int


class Distribution(NamedTuple):
    """What a histogram has seen: counts by bucket, the last one without bound; their sum; an example of each bucket."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float
    examples: Sequence[Example]


Value = float | Distribution
Point = tuple[Labels, Value]


class Count:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def __repr__(self) -> str:
        return f"Count({self.value})"

    def add(self, count: int = 1) -> None:
        """Count."""
        self.value += count

    def read(self) -> Value:
        """Return what was counted so far."""
        return self.value


class Histogram:
    """How often values up to each bound were seen."""

    __slots__ = ("_bounds", "_counts", "_examples", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._examples: dict[int, Example] = {}

    def __repr__(self) -> str:
        return f"Histogram({sum(self._counts)} values, sum {self._sum:g})"

    def record(self, value: float) -> None:
        """Count a value; one that is no number is passed over."""
        if value == value:  # noqa: PLR0124  # NaN is the one that is not
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def exemplify(self, example: Example) -> None:
        """Keep a value that was recorded as the example of its bucket."""
        self._examples[bisect_left(self._bounds, example.value)] = example

    def read(self) -> Value:
        """Return what was seen so far."""
        return Distribution(self._bounds, self._counts.copy(), self._sum, list(self._examples.copy().values()))


class Family:
    """The series of one instrument, by their labels."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._series: dict[Labels, Count | Histogram] = {}
        self._observed: list[Callable[[], Sequence[Point]]] = []

    def __repr__(self) -> str:
        return f"Family({self.instrument.name!r}, {len(self._series)} series)"

    def count(self, *labels: str) -> Count:
        """Return the count with these labels."""
        found = self._series.get(labels) or self._new(labels)
        if not isinstance(found, Count):
            raise TypeError(f"{self.instrument.name} is a {self.instrument.kind.value}")
        return found

    def histogram(self, *labels: str) -> Histogram:
        """Return the histogram with these labels."""
        found = self._series.get(labels) or self._new(labels)
        if not isinstance(found, Histogram):
            raise TypeError(f"{self.instrument.name} is a {self.instrument.kind.value}")
        return found

    def observe(self, read: Callable[[], Sequence[Point]]) -> None:
        """Have ``read`` give points whenever somebody collects; it may be called in any thread."""
        self._observed.append(read)

    def points(self) -> list[Point]:
        """Return all series as they are now; of those that are the same the last counts."""
        found: dict[Labels, Value] = {labels: series.read() for labels, series in self._series.copy().items()}
        for read in self._observed:
            for labels, value in self._read(read):
                key = labels if labels in found or len(found) < SERIES_KEPT else self._others()
                found[key] = value
        return list(found.items())

    def _read(self, read: Callable[[], Sequence[Point]]) -> Sequence[Point]:
        try:
            return read()
        except Exception:  # one that fails, such as over a collection that just changed, must not take all others away
            log.exception("metric %s cannot be read", self.instrument.name)
            return []

    def _new(self, labels: Labels) -> Count | Histogram:
        instrument = self.instrument
        if len(labels) != len(instrument.labels):
            raise TypeError(f"{instrument.name} has {len(instrument.labels)} labels, not {len(labels)}")
        if len(self._series) >= SERIES_KEPT:
            labels = self._others()
        made = Histogram(instrument.bounds) if instrument.kind is Kind.HISTOGRAM else Count()
        return self._series.setdefault(labels, made)

    def _others(self) -> Labels:
        return (OTHER,) * len(self.instrument.labels)


class _NoCount(Count):
    """Counts nothing."""

    def add(self, count: int = 1) -> None:
        """Do nothing with ``count``."""


class _NoHistogram(Histogram):
    """Records nothing."""

    def record(self, value: float) -> None:
        """Do nothing with ``value``."""


class NoFamily(Family):
    """Takes what is to be measured, and keeps none of it: for a server whose metrics are off."""

    def count(self, *_: str) -> Count:
        """Return what counts nothing."""
        return _NoCount()

    def histogram(self, *_: str) -> Histogram:
        """Return what records nothing."""
        return _NoHistogram(())

    def points(self) -> list[Point]:
        """Return nothing."""
        return []


def quantile(q: float, bounds: Sequence[float], counts: Sequence[float]) -> float:
    """Return the value that a share ``q`` of those counted is not above, as Prometheus' histogram_quantile has it.

    Values are taken to lie evenly within their bucket. NaN where none was counted; the highest bound where it is above.
    """
    wanted, below = q * sum(counts), 0.0
    if not wanted:
        return math.nan
    for index, count in enumerate(counts):
        if below + count >= wanted and count:
            if index == len(bounds):
                break
            lower = bounds[index - 1] if index else 0.0
            return lower + (bounds[index] - lower) * (wanted - below) / count
        below += count
    return bounds[-1]
