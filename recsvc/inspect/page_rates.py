"""What servers do: the difference of two readings of each page, a second, and those of several servers added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from recsvc.inspect.page_series import Page, Series, Spread, Value, together
from recsvc.telemetry.series import Instrument, Kind, Labels

Told = Mapping[Instrument, Series]


@dataclass(frozen=True, slots=True)
class Rates:
    """What one or several servers do.

    ``per_s``: by how much counters and histograms grow a second; empty while there is one reading alone. ``now``:
    everything as it was read last, counters since their servers began. The methods group series by some of their
    labels; None stands for what no server tells.
    """

    per_s: Told = field(default_factory=dict)
    now: Told = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Rates({len(self.per_s)} grow, {len(self.now)} are known)"

    def growth(self, of: Instrument) -> float | None:
        """Return by how much a counter grows a second."""
        return _only(_numbers(self.per_s, of, ()), known=of in self.per_s)

    def growth_by(self, of: Instrument, *labels: str) -> Mapping[Labels, float]:
        """Return by how much a counter grows a second, by labels."""
        return _numbers(self.per_s, of, labels)

    def spread(self, of: Instrument) -> Spread | None:
        """Return what a histogram saw, a second."""
        return _spreads(self.per_s, of, ()).get(())

    def spread_by(self, of: Instrument, *labels: str) -> Mapping[Labels, Spread]:
        """Return what a histogram saw, a second, by labels."""
        return _spreads(self.per_s, of, labels)

    def level(self, of: Instrument) -> float | None:
        """Return what a gauge says, or what a counter has come to."""
        return _only(_numbers(self.now, of, ()), known=of in self.now and of.kind is Kind.COUNTER)

    def level_by(self, of: Instrument, *labels: str) -> Mapping[Labels, float]:
        """Return what a gauge says, or what a counter has come to, by labels."""
        return _numbers(self.now, of, labels)


def between(before: Page | None, after: Page, seconds: float) -> Rates:
    """Return what a server did in the ``seconds`` from one reading to the next; ``before`` None: there is none yet.

    A count that is less than before began anew, and all of it is growth: a restart gives no negative rates.
    """
    if before is None or seconds <= 0:
        return Rates(now=after.series)
    if before.instance != after.instance:
        before = Page()
    grown = {
        of: {
            labels: _grown(before.series.get(of, {}).get(labels), value, 1 / seconds)
            for labels, value in series.items()
        }
        for of, series in after.series.items()
        if of.kind not in {Kind.GAUGE, Kind.UP_DOWN}
    }
    return Rates(grown, after.series)


def total(rates: Sequence[Rates]) -> Rates:
    """Return what several servers do as one."""
    return Rates(_merged(one.per_s for one in rates), _merged(one.now for one in rates))


def _grown(before: Value | None, after: Value, factor: float) -> Value:
    if isinstance(after, Spread):
        return (after.since(before) if isinstance(before, Spread) else after).times(factor)
    began = before if isinstance(before, float) and before <= after else 0.0
    return (after - began) * factor


def _merged(several: Iterable[Told]) -> Told:
    merged: dict[Instrument, dict[Labels, Value]] = {}
    for told in several:
        for of, series in told.items():
            ours = merged.setdefault(of, {})
            for labels, value in series.items():
                ours[labels] = together(of, ours[labels], value) if labels in ours else value
    return merged


def _grouped(told: Told, of: Instrument, labels: Sequence[str]) -> Mapping[Labels, Value]:
    places = [of.labels.index(label) for label in labels]
    groups: dict[Labels, Value] = {}
    for key, value in told.get(of, {}).items():
        group = tuple(key[place] for place in places)
        groups[group] = together(of, groups[group], value) if group in groups else value
    return groups


def _numbers(told: Told, of: Instrument, labels: Sequence[str]) -> Mapping[Labels, float]:
    return {key: value for key, value in _grouped(told, of, labels).items() if not isinstance(value, Spread)}


def _spreads(told: Told, of: Instrument, labels: Sequence[str]) -> Mapping[Labels, Spread]:
    return {key: value for key, value in _grouped(told, of, labels).items() if isinstance(value, Spread)}


def _only(numbers: Mapping[Labels, float], *, known: bool) -> float | None:
    """Return the one number; where there is none but the metric is known, nothing was counted yet."""
    return numbers.get((), 0.0 if known else None)
