"""Counts and histograms: what is recorded is what is read, with few series and no surprises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.telemetry.names import OTHER
from recsvc.telemetry.series import (
    SERIES_KEPT,
    Distribution,
    Example,
    Family,
    Histogram,
    Instrument,
    Kind,
    NoFamily,
    Point,
    quantile,
)

COUNTER = Instrument("c", Kind.COUNTER, "1", "a count", ("view",))
HISTOGRAM = Instrument("h", Kind.HISTOGRAM, "s", "a histogram", (), (1.0, 2.0, 5.0))


@given(st.lists(st.floats(-10, 10), max_size=50))
def test_a_histogram_counts_values_up_to_each_bound(values: list[float]) -> None:
    """A value on a bound is in the bucket that ends there, as Prometheus and OpenTelemetry count."""
    made = Histogram(HISTOGRAM.bounds)
    for value in values:
        made.record(value)
    found = made.read()
    assert isinstance(found, Distribution)
    up_to = [sum(value <= bound for value in values) for bound in (*HISTOGRAM.bounds, math.inf)]
    assert list(np.cumsum(found.counts)) == up_to
    assert found.sum == pytest.approx(sum(values))


def test_what_is_no_number_is_not_counted() -> None:
    """NaN is in no bucket, and does not spoil the sum."""
    made = Histogram(HISTOGRAM.bounds)
    made.record(math.nan)
    made.record(1.5)
    assert made.read() == Distribution(HISTOGRAM.bounds, [0, 1, 0, 0], 1.5, [])


def test_each_bucket_keeps_its_last_example() -> None:
    """Exemplars are bounded: one for each bucket."""
    made = Histogram(HISTOGRAM.bounds)
    for value in (0.5, 0.7, 9.0):
        made.record(value)
        made.exemplify(Example(value, 1, 2, 3))
    found = made.read()
    assert isinstance(found, Distribution)
    assert [example.value for example in found.examples] == [0.7, 9.0]


def test_series_are_bounded_whatever_labels_come() -> None:
    """From a number of series on, new labels are counted under one name."""
    family = Family(COUNTER)
    for number in range(SERIES_KEPT + 500):
        family.count(f"view{number}").add()
    points = dict(family.points())
    assert len(points) == SERIES_KEPT + 1
    assert points[OTHER,] == 500


def test_observed_series_are_bounded_too() -> None:
    """Points that somebody gives at collection cannot grow without end either."""
    family = Family(COUNTER)
    family.observe(lambda: [((f"view{number}",), 1) for number in range(SERIES_KEPT + 500)])
    assert len(family.points()) == SERIES_KEPT + 1


def test_one_that_cannot_be_read_takes_no_other_away(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises costs its own points, and is logged; what else there is of the metric stays."""

    def fail() -> list[Point]:
        raise RuntimeError("it changed while it was read")

    family = Family(COUNTER)
    family.count("a").add()
    family.observe(fail)
    family.observe(lambda: [(("b",), 2)])
    assert dict(family.points()) == {("a",): 1, ("b",): 2}
    assert "metric c cannot be read" in caplog.text


def test_labels_must_be_those_of_the_instrument() -> None:
    """A label too many or too few is a mistake of ours, and so is a histogram of a counter."""
    with pytest.raises(TypeError, match="1 labels, not 0"):
        Family(COUNTER).count()
    with pytest.raises(TypeError, match="c is a counter"):
        Family(COUNTER).histogram("a")


def test_without_metrics_nothing_is_kept() -> None:
    """What is switched off takes values and gives none."""
    family = NoFamily(COUNTER)
    family.count("a").add()
    family.observe(lambda: [(("b",), 1)])
    assert family.points() == []


@given(st.lists(st.floats(0, 4.999), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    """The estimate from buckets lies between the bounds that the true quantile lies between."""
    made = Histogram(HISTOGRAM.bounds)
    for value in values:
        made.record(value)
    found = made.read()
    assert isinstance(found, Distribution)
    estimate = quantile(q, found.bounds, found.counts)
    true = sorted(values)[math.ceil(round(q * len(values), 9)) - 1]
    bounds = [0.0, *HISTOGRAM.bounds]
    index = next(i for i in range(1, len(bounds)) if true <= bounds[i])
    assert bounds[index - 1] <= estimate <= bounds[index] + 1e-9


def test_a_quantile_of_nothing_is_no_number() -> None:
    """Where nothing was counted there is no quantile; above the last bound it is that bound."""
    assert math.isnan(quantile(0.5, HISTOGRAM.bounds, [0, 0, 0, 0]))
    assert quantile(0.5, HISTOGRAM.bounds, [0, 0, 0, 3]) == 5.0
