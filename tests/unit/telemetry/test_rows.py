"""What is counted of the rows in answers, by view."""

from __future__ import annotations

from datetime import timedelta

import pytest

from recsvc.telemetry import metrics as m
from recsvc.telemetry.rows import ServedRows

VIEW = "film@v1"


@pytest.mark.parametrize("freshness", [timedelta(seconds=300), timedelta(days=1), timedelta(days=30)], ids=str)
def test_rows_are_late_by_the_promise_of_their_view(freshness: timedelta) -> None:
    """Exactly those are that are older than 1.25 × the freshness, whatever it is, and each way of counting knows."""
    metrics = m.Metrics()
    rows = ServedRows(metrics, VIEW, freshness)
    micros = freshness / timedelta(microseconds=1)
    for times_as_old in (0.5, 1.02, 1.25):
        rows.row(micros * times_as_old)
        rows.rows(10, micros * times_as_old, 0, {})
    assert dict(metrics[m.ROWS_LATE].points()) == {(VIEW,): 0}
    rows.row(micros * 1.26)
    rows.rows(10, micros * 3, 0, {})
    rows.rows(1, None, 0, {})
    assert dict(metrics[m.ROWS_LATE].points()) == {(VIEW,): 2}


def test_no_promise_is_broken_that_was_not_made() -> None:
    """Rows of a view without a freshness are never late."""
    metrics = m.Metrics()
    ServedRows(metrics, VIEW, None).row(1e18)
    assert dict(metrics[m.ROWS_LATE].points()) == {(VIEW,): 0}
