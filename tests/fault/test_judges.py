"""What judges the answers, the breakers and the drills' figures finds what is wrong, and nothing else."""

from __future__ import annotations

import datetime as dt
import io
import logging
from dataclasses import replace
from typing import Final

import numpy as np
import pytest

from recsvc.client import DegradationReason, FeatureBatch, FeatureRow, FeatureValue, Source, Status
from recsvc.client.columns import Column, FeatureData
from recsvc.client.replies import Degradation, ServedView
from recsvc.telemetry.logs import formatter
from tests.bench.report import Expectation, Relation, Report
from tests.fault import drill_metastable
from tests.fault.breaker_log import changes, illegal
from tests.fault.checking import NUMBER, RATIO, TEXT, check_batch, check_row
from tests.fault.judging import BEHIND, in_time, was_disturbed
from tests.fault.plan import CANCELLED, Calls, Plan
from tests.fault.stage import log_lines, unexpected
from tests.fault.values import event_micros, numbers, ratios, texts

IDS: Final = np.array([3, 14, 15])
DOWN: Final = (Degradation(DegradationReason.STORE_UNAVAILABLE, "profile@v1"),)


def row(user: int, source: Source = Source.STORE) -> FeatureRow:
    """Return the right answer for a user who has a row."""
    ids = np.array([user])
    at = int(event_micros(ids)[0])
    values: dict[str, FeatureData] = {NUMBER: int(numbers(ids)[0]), RATIO: float(ratios(ids)[0]), TEXT: texts(ids)[0]}
    features = {name: FeatureValue(name, value, Status.PRESENT, source, at) for name, value in values.items()}
    return FeatureRow(features, (), "0" * 16, ())


def changed(answer: FeatureRow, name: str, **fields: object) -> FeatureRow:
    """Return an answer with something else in one feature."""
    feature = replace(answer[name], **fields)  # type: ignore[arg-type]  # by their names
    return replace(answer, features={**answer.features, name: feature})


def batch() -> FeatureBatch:
    """Return the right answer for several users."""
    present, store = np.full(3, Status.PRESENT, np.uint8), np.full(3, Source.STORE, np.uint8)
    data = {NUMBER: numbers(IDS), RATIO: ratios(IDS), TEXT: np.array(texts(IDS), object)}
    columns = {name: Column(name, values, present, store) for name, values in data.items()}
    return FeatureBatch(3, columns, (), "0" * 16, (ServedView("profile", 1, event_micros(IDS).astype("M8[us]")),))


def test_right_rows_pass() -> None:
    """From Redis, from copies and, flagged, from stale copies."""
    assert check_row(3, row(3)).wrong == []
    assert check_row(3, row(3, Source.CACHE)).wrong == []
    assert check_row(3, replace(row(3, Source.STALE_CACHE), degraded=DOWN)).wrong == []


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        (4, row(3)),
        (9, row(9)),
        (3, row(3, Source.STALE_CACHE)),
        (3, row(3, Source.DEFAULT)),
        (3, replace(row(3), degraded=DOWN)),
        (3, changed(row(3), NUMBER, value=0)),
        (3, changed(row(3), RATIO, value=ratios(np.array([4]))[0])),
        (3, changed(row(3), TEXT, status=Status.NOT_FOUND)),
        (3, changed(row(3), TEXT, event_time_micros=1)),
    ],
)
def test_wrong_rows_do_not(user: int, answer: FeatureRow) -> None:
    """Another user's row, one that is not there, a missing or a needless flag, one wrong value, status or time."""
    assert check_row(user, answer).wrong != []


def test_batches_are_judged_row_by_row() -> None:
    """A right one passes; rows in another order, one value of another user, and a missing flag do not."""
    right = batch()
    assert check_batch(IDS, right).wrong == []
    assert len(check_batch(IDS[::-1].copy(), right).wrong) == 2
    for name, column in right.columns.items():
        values = column.values.copy()
        values[1] = values[0]
        other = replace(right, columns={**right.columns, name: replace(column, data=values)})
        assert check_batch(IDS, other).wrong == ["user 14"], name
    stale = {n: replace(c, sources=np.full(3, Source.STALE_CACHE, np.uint8)) for n, c in right.columns.items()}
    assert check_batch(IDS, replace(right, columns=stale)).wrong != []
    assert check_batch(IDS, replace(right, columns=stale, degraded=DOWN)).wrong == []


def test_the_order_of_breaker_states_is_read_off_the_log() -> None:
    """Changes are found among other lines; steps that no breaker makes are named."""
    lines = [
        "2026-11-21 07:00:00,001 WARNING breaker of redis 127.0.0.1:6379: closed -> open (3 of 5 calls failed)",
        "something else",
        "breaker of redis 127.0.0.1:6379: open -> half-open (first probe after 0.5 s)",
        "breaker of redis 127.0.0.1:6379: half-open -> closed (2 of 2 probes good)",
    ]
    assert [(c.node, c.after) for c in changes(lines)] == [
        ("127.0.0.1:6379", state) for state in ("open", "half-open", "closed")
    ]
    assert illegal(changes(lines)) == []
    assert illegal(changes(lines[2:])) != []
    assert illegal(changes([lines[0], lines[3]])) != []
    assert illegal(changes([lines[0].replace("closed -> open", "closed -> half-open")])) != []


def line(sent: float, took: float, code: int = 0) -> tuple[float, ...]:
    """Return one call with a deadline of 0.1 s."""
    return (sent, took, 0.1, 0.0, code, 0, 1, 1, 0, 1 << Source.STORE, 7)


def test_late_calls_are_found() -> None:
    """Those that took longer than their deadline or failed are late; callers who left are not."""
    calls = Calls.of([line(0, 0.05), line(1, 0.102), line(2, 0.1, 4), line(3, 0.01, CANCELLED)])
    longest, share = in_time("it", calls)
    assert (round(longest.ratio, 6), longest.met) == (2.0, True)
    assert (share.ratio, share.met) == (0.5, False)


def test_goodput_is_back_when_it_stays() -> None:
    """A single good half second is not enough, and never is infinitely late."""
    assert drill_metastable._back_after(np.array([0.1, 1.0, 0.2, 1.0, 1.0, 1.0, 1.0, 0.5])) == 1.5
    assert drill_metastable._back_after(np.array([1.0, 1.0, 1.0, 0.9])) == float("inf")
    calls = Calls.of([line(0.1, 0.01), line(0.2, 0.2), line(0.6, 0.01)])
    assert drill_metastable.goodput(calls, 0.0, 1.5).tolist() == [0.5, 1.0]


def test_a_generator_that_was_held_up_is_noticed() -> None:
    """A run counts as disturbed where the generator itself was later than the slack."""
    missed = [Expectation("it", 1.0, Relation.AT_MOST, 0.0)]
    assert was_disturbed(Report("it", [], {BEHIND: 5.1}, missed))
    assert not was_disturbed(Report("it", [], {BEHIND: 4.9}, missed))
    assert not was_disturbed(Report("it", [], {}, missed))


def test_a_plan_survives_the_command_line() -> None:
    """What a load generator is told is what was meant."""
    plan = Plan("127.0.0.1:1", 0, 10, rate=5.0, deadlines_s=(0.04, 0.25), cancel_share=0.5)
    assert Plan.of(plan.text()) == plan


def test_tracebacks_in_a_log_are_found() -> None:
    """Only gRPC's own about callers who left are passed over."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(formatter(as_json=True))
    logger = logging.Logger("recsvc.test")  # noqa: LOG001  # of this test alone
    logger.addHandler(handler)
    logger.error("ExecuteBatchError raised in core by servicer method [/x]", exc_info=ValueError("theirs"))
    logger.error("a call failed", exc_info=ValueError("ours"))
    logger.warning("breaker of redis h:1: closed -> open (all failed; 1 so far)")
    log.write("Traceback (most recent call last): of nobody's logger\n")
    assert unexpected(log.getvalue()) == [
        "a call failed\nValueError: ours",
        "Traceback (most recent call last): of nobody's logger\n",
    ]
    (changed,) = [line for line in log_lines(log.getvalue()) if changes([line["event"]])]
    assert dt.datetime.fromisoformat(changed["timestamp"]).tzinfo is not None
