"""What a call answers: one row, or many rows in columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsvc.client.columns import Column, FeatureData, nearest_datetime, read_column, read_times, to_datetime
from recsvc.client.vocabulary import DegradationReason, Source, Status
from recsvc.pb import serving_pb2
from recsvc.pb.packed import Twin


@dataclass(frozen=True, slots=True)
class Degradation:
    """One thing that did not work while the answer was made; ``view`` is ``view@v2``, with its version."""

    reason: DegradationReason
    view: str


@dataclass(frozen=True, slots=True, eq=False)
class ServedView:
    """Which version of a view answered.

    ``event_times`` is datetime64[us] in UTC: one per row (one, where all join keys of the view were broadcast), NaT where no row is known;
    empty in an answer for one row, and where event times were not asked for.
    """

    view: str
    version: int
    event_times: NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class FeatureValue:
    """One feature of one row. ``value`` is None where there is none (status NULL_VALUE or source NONE).

    ``event_time`` (UTC) is there where it was asked for and a row is known. datetime ends at year 9999: later ones are that, exact in
    ``event_time_micros``.
    """

    name: str
    value: FeatureData | None
    status: Status
    source: Source
    event_time: datetime | None = None
