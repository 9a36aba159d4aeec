"""What the live view looks like: it fits a terminal, and says first what matters."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from rich.console import Console

from recsvc.inspect.page_fetch import PageAddress, address_of
from recsvc.inspect.page_rates import Rates, between
from recsvc.inspect.page_series import Page
from recsvc.inspect.top_frame import frame
from recsvc.inspect.top_numbers import age, megabytes, milliseconds, number, percent, span, whole
from recsvc.inspect.top_watch import Sight
from recsvc.telemetry import metrics as m
from recsvc.telemetry.metrics import INSTRUMENTS, Metrics
from recsvc.telemetry.series import Instrument, Kind
from tests.unit.inspect.rendered import page_of

METHODS = ("GetFeatures", "GetFeaturesBatch", "Recommend")


def lines_of(rates: Rates, silent: Mapping[PageAddress, str] | None = None, width: int = 80) -> list[str]:
    """Return a frame of one server, 10 s long."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(frame(Sight(rates, 10.0, 1, silent or {})))
    return captured.get().splitlines()


def busy() -> Rates:
    """Return rates of a server of which every metric has several series, all of them with long names."""
    metrics = Metrics()
    for of in INSTRUMENTS:
        for number_ in range(6):
            _fill(metrics, of, tuple(f"{label.rpartition('.')[2]}_with_a_long_name@v{number_}" for label in of.labels))
    for method in METHODS:
        metrics[m.CALL_DURATION].histogram("grpc", f"recsvc.v1.ServingService/{method}", "OK", "").record(0.0123)
        metrics[m.CALL_DURATION].histogram("grpc", f"recsvc.v1.ServingService/{method}", "UNAVAILABLE", "").record(
            0.0123
        )
    return between(Page("one"), page_of(metrics), 10.0)


def _fill(metrics: Metrics, of: Instrument, labels: tuple[str, ...]) -> None:
    match of.kind:
        case Kind.COUNTER:
            metrics[of].count(*labels).add(12_345)
        case Kind.GAUGE:
            metrics[of].observe(lambda: [(labels, 1_234.5)])
        case Kind.HISTOGRAM if of != m.CALL_DURATION:
            metrics[of].histogram(*labels).record(1.5)
        case _:
            pass


def test_a_frame_fits_a_terminal() -> None:
    """However many series there are, a frame has at most 80 columns and 35 lines."""
    lines = lines_of(busy())
    assert max(map(len, lines)) <= 80
    assert 25 <= len(lines) <= 35


def test_a_frame_says_health_time_and_damage_in_that_order() -> None:
    """Health first, then where the time is, then what is degraded."""
    lines = lines_of(busy())
    assert lines[0].startswith("● UNHEALTHY: ")
    heads = [word for line in lines if (word := line.split(" ", 1)[0]).isupper()]
    assert heads == ["CALLS", "HOPS", "STORE", "CACHE", "PROCESS", "REDIS", "VIEWS", "SLATES"]


@pytest.mark.parametrize("rates", [Rates(), between(None, page_of(Metrics()), 0.0)])
def test_without_data_there_are_dashes(rates: Rates) -> None:
    """What has no data is "-": no nought that nobody has counted, and never nan."""
    lines = lines_of(rates)
    assert lines[0] == "○ LOOKING: one reading so far, and rates take two"
    assert "nan" not in "\n".join(lines)
    cells = [cell for line in lines[2:] for cell in line.split() if not re.search("[A-Za-z%/]", cell)]
    assert set(cells) <= {"-", "0"}
    assert "-" in cells


def test_a_quiet_server_is_not_judged() -> None:
    """A server that is not asked, or no longer, may be ill: nobody would see it."""
    lines = lines_of(between(page_of(Metrics()), page_of(Metrics()), 10.0))
    assert lines[0] == "○ IDLE: no calls in this time, so there is no traffic to judge by"
    assert lines[1].strip() == "1 of 1 page · last 10.0 s · - calls/s · 0 rows/s"
    metrics = Metrics()
    metrics[m.CALL_DURATION].histogram("grpc", "recsvc.v1.ServingService/GetFeatures", "OK", "").record(0.0008)
    assert lines_of(between(page_of(metrics), page_of(metrics), 10.0))[0] == lines[0]
    assert lines_of(between(Page("one"), page_of(metrics), 10.0))[0] == "● HEALTHY: nothing is over its threshold"


def test_pages_that_do_not_answer_are_shown() -> None:
    """A dead page is named with its reason; names with brackets are shown as they are."""
    lines = lines_of(Rates(), {address_of("[::1]:9464"): "nobody listens there"})
    assert lines[0] == "● DEGRADED: page [::1]:9464: nobody listens there"
    assert lines[1].strip().startswith("1 of 2 pages")


def test_figures_stand_under_their_heads() -> None:
    """A number can be found by the name of its row and the head of its column."""
    metrics = Metrics()
    for _ in range(50):
        metrics[m.CALL_DURATION].histogram("grpc", "recsvc.v1.ServingService/GetFeatures", "OK", "").record(0.0008)
    lines = lines_of(between(Page("one"), page_of(metrics), 10.0))
    head = next(line for line in lines if line.startswith("CALLS"))
    row = next(line for line in lines if line.startswith("GetFeatures"))
    assert head.split() == ["CALLS", "per", "s", "p50", "ms", "p99", "ms", "fail", "%"]
    assert row.split() == ["GetFeatures", "5.00", "0.875", "1.00", "0"]


def test_a_long_path_shows_its_end() -> None:
    """Of the path of a socket the end tells which it is; other names are cut behind."""
    metrics = Metrics()
    metrics[m.BREAKER_STATE].observe(lambda: [(("/tmp/recsvc-0/throwaway-abcdef/redis.sock",), 0)])  # noqa: S108
    text = "\n".join(lines_of(between(Page("one"), page_of(metrics), 10.0)))
    assert "…way-abcdef/redis.sock " in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0"), (0.0004, "<.001"), (0.25, "0.250"), (0.996, "1.00"), (9.94, "9.94"), (9.96, "10.0"),
        (99.4, "99.4"), (99.6, "100"), (12_345.6, "12,346"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    """A cell has three digits, or all those before the point."""
    assert number(value) == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (percent(0.123), "12.3"),
        (milliseconds(0.00123), "1.23"),
        (milliseconds(5.0), ">5,000"),
        (megabytes(12_345_678), "12.3"),
        (whole(1_234.0), "1,234"),
        (span(90_000.0), "1.0d"),
        (span(0.5), "0.5s"),
        (age(90_000.0), "1.0d"),
        (age(2_592_000.0), ">30d"),
        *((form(None), "-") for form in (percent, milliseconds, megabytes, whole, span, age)),
    ],
)
def test_units(cell: str, text: str) -> None:
    """Shares are percent, times milliseconds or their largest unit, bytes millions."""
    assert cell == text
