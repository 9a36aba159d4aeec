"""The collector's configuration is run: what it keeps of many calls, and that Jaeger then has it whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.deploy.traffic import SERVICE, SPANS, Fate, Traffic, exporting
from tests.parts.jaeger import BUILD_S, Jaeger
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.timeout(BUILD_S)

COLLECTOR: Final = Path(__file__).parents[2] / "deploy" / "otel" / "collector.yaml"
WRONG: Final = (Fate.FAILED, Fate.DEGRADED, Fate.SLOW)
CALLS: Final = 5_000
WRONG_EACH: Final = 40
WAIT_S: Final = 90.0


@contextmanager
def sampled_into_jaeger(**environment: str) -> Iterator[tuple[str, Jaeger]]:
    """Run a collector before a Jaeger, by their files; yield where the collector takes spans, and Jaeger."""
    with Jaeger.running() as jaeger:
        variables = {"JAEGER_OTLP": jaeger.otlp_grpc, "TAIL_DECISION_WAIT": "1s", **environment}
        with Jaeger.running(COLLECTOR, variables) as collector:
            yield collector.otlp_grpc, jaeger


def make_calls(traffic: Traffic) -> None:
    """Make CALLS, of which WRONG_EACH go wrong in each way, in some order; the last one fails."""
    fates = [fate for fate in WRONG for _ in range(WRONG_EACH)]
    fates += [Fate.FINE] * (CALLS - len(fates))
    Random(1).shuffle(fates)
    for fate in [*fates, Fate.FAILED]:
        traffic.call(fate)
    traffic.queue.flush()


def arrived(jaeger: Jaeger, traffic: Traffic) -> set[str]:
    """Wait until Jaeger has every call that went wrong, with all of its spans, and return all traces that it has."""
    wanted = [trace_id for fate in WRONG for trace_id in traffic.sent[fate]]
    for trace_id in wanted:
        wait_until(lambda of=trace_id: len(jaeger.trace(of) or ()) == SPANS, WAIT_S)  # type: ignore[misc]  # bound now
    known = jaeger.trace_ids(SERVICE)
    while (more := jaeger.trace_ids(SERVICE)) != known:
        known = more
    return known


@pytest.mark.parametrize("percent", [None, 10], ids=["by default", "as set"])
def test_what_went_wrong_is_kept_and_some_of_the_rest(percent: int | None) -> None:
    """Each failed, degraded and slow call is found by its trace id; of the others the share that is configured."""
    environment = {} if percent is None else {"TAIL_KEEP_PERCENT": str(percent)}
    with sampled_into_jaeger(**environment) as (collector, jaeger), exporting(collector, seed=20) as traffic:
        make_calls(traffic)
        known = arrived(jaeger, traffic)
    fine = set(traffic.sent[Fate.FINE])
    share = (percent or 1) / 100
    expected, spread = len(fine) * share, math.sqrt(len(fine) * share * (1 - share))
    assert abs(len(known & fine) - expected) < 5 * spread
    assert known <= fine | {trace_id for fate in WRONG for trace_id in traffic.sent[fate]}


def test_late_spans_are_kept() -> None:
    """In head mode a collector keeps every late span, also of a call that was not slow by its own measure."""
    with (
        sampled_into_jaeger(TAIL_SLOW_MS="60000", TAIL_KEEP_PERCENT="0") as (collector, jaeger),
        exporting(collector, seed=21, ratio=0.0) as traffic,
    ):
        late = [traffic.call(fate) for fate in WRONG]
        fine = traffic.call(Fate.FINE)
        traffic.queue.flush()
        for trace_id in late:
            wait_until(lambda of=trace_id: jaeger.trace(of), WAIT_S)  # type: ignore[misc]  # bound now
            assert [span["operationName"] for span in jaeger.trace(trace_id) or ()] == ["recsvc.late"]
        assert jaeger.trace(fine) is None


def test_all_is_kept_where_recsvc_has_chosen() -> None:
    """With TAIL_KEEP_PERCENT=100, as head mode wants it, no call is lost."""
    with (
        sampled_into_jaeger(TAIL_KEEP_PERCENT="100") as (collector, jaeger),
        exporting(collector, seed=22) as traffic,
    ):
        fine = [traffic.call(Fate.FINE) for _ in range(200)]
        traffic.queue.flush()
        wait_until(lambda: jaeger.trace_ids(SERVICE) >= set(fine), WAIT_S)
