"""Pages of metrics as plain numbers."""

from __future__ import annotations

import math

import pytest

from recsvc.inspect.page_series import PageError, Spread, parse
from recsvc.telemetry import metrics as m
from recsvc.telemetry.metrics import INSTRUMENTS, Metrics
from recsvc.telemetry.series import Instrument, Kind
from tests.unit.inspect.rendered import page_of, text_of

HIT = '{recsvc_result="hit"}'


def labels_of(instrument: Instrument) -> tuple[str, ...]:
    """Return a value for each label that a page must escape."""
    return tuple(f'{label} "quoted" \\ and\nbroken' for label in instrument.labels)


def test_every_metric_is_read_as_it_was_written() -> None:
    """What a server counts comes back: each metric of ours by its labels, in their order."""
    metrics = Metrics()
    for number, of in enumerate(INSTRUMENTS, 1):
        labels = labels_of(of)
        match of.kind:
            case Kind.COUNTER:
                metrics[of].count(*labels).add(number)
            case Kind.GAUGE | Kind.UP_DOWN:
                metrics[of].observe(lambda labels=labels, number=number: [(labels, number)])  # type: ignore[misc]
            case Kind.HISTOGRAM:
                metrics[of].histogram(*labels).record(of.bounds[0])
                metrics[of].histogram(*labels).record(of.bounds[-1] + 1)
    page = page_of(metrics, "me")
    assert page.instance == "me"
    for number, of in enumerate(INSTRUMENTS, 1):
        value = page.series[of][labels_of(of)]
        if isinstance(value, Spread):
            assert [bound for bound, count in value.counts.items() if count] == [of.bounds[0], math.inf]
            assert value.total == 2
            assert value.sum == pytest.approx(of.bounds[0] + of.bounds[-1] + 1)
        else:
            assert value == number


def test_what_has_counted_nothing_is_known_and_empty() -> None:
    """A metric without series is not the same as one that the server does not know."""
    assert page_of(Metrics()).series == {of: {} for of in INSTRUMENTS}
    older = parse("# TYPE recsvc_fetch_shed_total counter\nrecsvc_fetch_shed_total 3.0\nup 1\n")
    assert older.series == {m.FETCH_SHED: {(): 3.0}}


def test_series_that_differ_in_others_labels_are_one() -> None:
    """Labels that somebody has added on the way, such as the job, make no series of their own."""
    lines = [f'recsvc_cache_lookups_total{{recsvc_result="hit",job="{job}"}} 4.0' for job in "ab"]
    lines += [f'recsvc_loop_lag_seconds_bucket{{le="{le}",job="{job}"}} 2.0' for job in "ab" for le in ("1.0", "+Inf")]
    lines += [f'recsvc_recommend_quality_factor_ratio{{recsvc_placement="home",job="{n}"}} .{n}' for n in (7, 5, 6)]
    page = parse("\n".join(lines))
    assert page.series == {
        m.CACHE_LOOKUPS: {("hit",): 8.0},
        m.LOOP_LAG: {(): Spread({1.0: 4.0, math.inf: 0.0}, 0.0)},
        m.QUALITY: {("home",): 0.5},
    }


def test_what_is_no_number_is_not_there() -> None:
    """NaN stands for no data and goes no further."""
    page = parse(f"recsvc_cache_lookups_total{HIT} NaN\nrecsvc_cache_rows 1")
    assert page.series == {m.CACHE_LOOKUPS: {}, m.CACHE_ROWS: {(): 1.0}}


def test_whole_numbers_are_numbers_like_others() -> None:
    """Who passes a page on may write 3 for 3.0."""
    value = parse("recsvc_cache_rows 3").series[m.CACHE_ROWS][()]
    assert isinstance(value, float)
    assert value == 3.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no metrics of recsvc"),
        ("up 1\n", "has no metrics of recsvc"),
        ("<!doctype html><p>Hello", "not a page of metrics"),
        (f"recsvc_cache_lookups_total{HIT} many\n", "not a page of metrics"),
        ('recsvc_loop_lag_seconds_bucket{les="1"} 2\n', "not a page of metrics"),
    ],
)
def test_other_texts_are_refused(text: str, why: str) -> None:
    """A text that is no page of ours is refused, and what is wrong with it is said."""
    with pytest.raises(PageError, match=why):
        parse(text)


def test_quantiles_lie_evenly_within_their_bucket() -> None:
    """Of 4 values up to 1 and 4 from there to 2, the median is 1 and three quarters are up to 1.5."""
    spread = Spread({2.0: 4.0, math.inf: 0.0, 1.0: 4.0}, 8.0)
    assert (spread.quantile(0.5), spread.quantile(0.75), spread.mean) == (1.0, 1.5, 1.0)
    assert Spread({1.0: 0.0, math.inf: 3.0}, 8.0).quantile(0.5) == 1.0


@pytest.mark.parametrize("counts", [{}, {1.0: 0.0, math.inf: 0.0}, {math.inf: 0.0}])
def test_without_values_there_is_no_quantile(counts: dict[float, float]) -> None:
    """There is no number that could be taken for one."""
    assert Spread(counts, 0.0).quantile(0.5) is None
    assert Spread(counts, 0.0).mean is None


def test_histograms_of_other_bounds_can_be_added() -> None:
    """Two versions of a server may have other buckets: each keeps its counts."""
    both = Spread({1.0: 1.0, math.inf: 2.0}, 9.0).plus(Spread({0.5: 4.0, math.inf: 1.0}, 3.0))
    assert both == Spread({0.5: 4.0, 1.0: 1.0, math.inf: 3.0}, 12.0)


def test_states_can_be_seen() -> None:
    """A page says what it holds."""
    assert "instruments" in repr(parse(text_of(Metrics())))
