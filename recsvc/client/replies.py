"""What a call answers: one row, or many rows in columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsvc.client.columns import Column, FeatureData, nearest_datetime, read_ages, read_column, read_times, to_datetime
from recsvc.client.vocabulary import DegradationReason, Source, Status
from recsvc.pb import serving_pb2
from recsvc.pb.packed import Twin

_Answer = TypeVar("_Answer")
_LISTS: Final = frozenset({"vector_value", "int64_list_value", "string_list_value"})


@dataclass(frozen=True, slots=True)
class Degradation:
    """One thing that did not work while the answer was made.

    ``view`` is ``view@v2``, with its version; ``source`` is the part of a placement concerned, by name.
    """

    reason: DegradationReason
    view: str
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ServedView:
    """Which version of a view answered.

    ``event_times`` is datetime64[us] in UTC: one per row (one, where all join keys of the view were broadcast), NaT
    where no row is known; empty in an answer for one row, and where event times were not asked for.

    ``stale_ages`` is timedelta64[us]: how old each row's copy is where copies stood in for the store (`Source`
    STALE_CACHE), counted from when its fetch was sent; 0 for a row that is no such copy. Empty where there is none.
    """

    view: str
    version: int
    event_times: NDArray[np.datetime64]
    stale_ages: NDArray[np.timedelta64] = field(default_factory=lambda: read_ages(b""))

    @property
    def stale_age(self) -> timedelta:
        """The age of the oldest copy that stood in for the store; 0 where there is none."""
        return timedelta(microseconds=int(self.stale_ages.view(np.int64).max(initial=0)))


@dataclass(frozen=True, slots=True)
class FeatureValue:
    """One feature of one row. ``value`` is None where there is none (status NULL_VALUE or source NONE).

    ``event_time_micros`` (since 1970, UTC) is there where event times were asked for and a row is known.
    """

    name: str
    value: FeatureData | None
    status: Status
    source: Source
    event_time_micros: int | None = None

    @property
    def event_time(self) -> datetime | None:
        """``event_time_micros`` as a datetime in UTC; out of datetime's range, the first or last one it has."""
        return None if self.event_time_micros is None else nearest_datetime(self.event_time_micros)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FeatureRow(Mapping[str, FeatureValue]):
    """The answer to get_features: a mapping from feature reference to `FeatureValue`, in the order asked."""

    features: Mapping[str, FeatureValue]
    degraded: tuple[Degradation, ...]
    registry_fingerprint: str
    views: tuple[ServedView, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The references, in the order asked."""
        return tuple(self.features)

    def __getitem__(self, name: str) -> FeatureValue:
        return _found(self.features, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        return f"FeatureRow({len(self)} features, {len(self.degraded)} degraded, registry {self.registry_fingerprint})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FeatureBatch(Mapping[str, Column]):
    """The answer to get_features_batch: a mapping from feature reference to `Column`, in the order asked."""

    rows: int
    columns: Mapping[str, Column]
    degraded: tuple[Degradation, ...]
    registry_fingerprint: str
    views: tuple[ServedView, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The references, in the order asked."""
        return tuple(self.columns)

    def __getitem__(self, name: str) -> Column:
        return _found(self.columns, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        return (
            f"FeatureBatch({self.rows} rows × {len(self)} features, {len(self.degraded)} degraded, "
            f"registry {self.registry_fingerprint})"
        )


def read_row(reply: serving_pb2.GetFeaturesResponse) -> FeatureRow:
    """Return the row that a reply holds."""
    return FeatureRow(
        features={feature.name: _feature(feature) for feature in reply.features},
        degraded=read_degradations(reply.degraded),
        registry_fingerprint=reply.registry_fingerprint,
        views=tuple(
            ServedView(view.view, view.version, read_times(b""), np.array(view.stale_age_micros, "<m8[us]"))
            for view in reply.views
        ),
    )


def read_batch(reply: Twin) -> FeatureBatch:
    """Return the columns that a reply (the twin) holds. Raises ClientError where a column cannot be read."""
    return FeatureBatch(
        rows=reply.row_count,
        columns={column.name: read_column(column) for column in reply.columns},
        degraded=read_degradations(reply.degraded),
        registry_fingerprint=reply.registry_fingerprint,
        views=tuple(
            ServedView(view.view, view.version, read_times(view.event_time_micros), read_ages(view.stale_age_micros))
            for view in reply.views
        ),
    )


def _found(features: Mapping[str, _Answer], name: str) -> _Answer:
    try:
        return features[name]
    except KeyError:
        raise KeyError(f"{name} is not in the answer, which has {', '.join(features)}") from None


def read_degradations(sent: Iterable[Any]) -> tuple[Degradation, ...]:
    """Return what did not work, as messages or their twins have it."""
    return tuple(Degradation(DegradationReason(one.reason), one.view, one.source) for one in sent)


def _feature(sent: serving_pb2.FeatureValue) -> FeatureValue:
    return FeatureValue(
        name=sent.name,
        value=_python(sent.value) if sent.HasField("value") else None,
        status=Status(sent.status),
        source=Source(sent.source),
        event_time_micros=sent.event_time_micros if sent.HasField("event_time_micros") else None,
    )


def _python(sent: serving_pb2.Value) -> FeatureData | None:
    kind = sent.WhichOneof("kind")
    if kind is None:
        return None
    value = getattr(sent, kind)
    if kind == "timestamp_micros_value":
        return to_datetime(value)
    return tuple(value.values) if kind in _LISTS else value
