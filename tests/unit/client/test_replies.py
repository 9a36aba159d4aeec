"""Answers as the client shows them: views with the ages of copies that stood in, and why."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from recsvc.client import DegradationReason
from recsvc.client.replies import read_batch, read_row
from recsvc.pb import packed, serving_pb2

HOUR_MICROS = 3_600_000_000


def test_a_row_says_how_old_its_copies_are() -> None:
    """Each view has the age of its copy, none where it has none; the reasons have their names."""
    reply = serving_pb2.GetFeaturesResponse(
        views=[
            serving_pb2.ServedView(view="a", version=1, stale_age_micros=[HOUR_MICROS]),
            serving_pb2.ServedView(view="b", version=2),
        ],
        degraded=[
            serving_pb2.Degradation(reason=serving_pb2.DEGRADATION_REASON_SATURATED, view="a@v1"),
            serving_pb2.Degradation(reason=serving_pb2.DEGRADATION_REASON_CIRCUIT_OPEN, view="a@v1"),
        ],
    )
    row = read_row(reply)
    assert [view.stale_age for view in row.views] == [timedelta(hours=1), timedelta(0)]
    assert [len(view.stale_ages) for view in row.views] == [1, 0]
    assert [d.reason for d in row.degraded] == [DegradationReason.SATURATED, DegradationReason.CIRCUIT_OPEN]


def test_a_batch_says_how_old_each_copy_is() -> None:
    """Ages are one per row, 0 for a row that is no such copy; the oldest stands for the view."""
    ages = np.array([0, HOUR_MICROS, 5], np.int64)
    reply = packed.GetFeaturesBatchResponse(
        row_count=3, views=[packed.ServedView(view="a", version=1, stale_age_micros=ages.tobytes())]
    )
    (view,) = read_batch(reply).views
    assert view.stale_ages.astype(np.int64).tolist() == [0, HOUR_MICROS, 5]
    assert view.stale_age == timedelta(hours=1)
