"""Rows of one view to columns with status and source, without touching single values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Bytes, Column, Degraded, Source, Status
from recsvc.online.reader import ViewRows
from recsvc.online.row import NO_TIME, Block, RowCodec, blank
from recsvc.online.row_decode import RowDecoder
from recsvc.online.row_values import Tails
from recsvc.online.stand_in import Known, StandIn, put
from recsvc.online.tail_column import TailColumn
from recsvc.registry.model import FeatureView
from recsvc.registry.plan import ViewRead
from recsvc.registry.types import VARIABLE, FeatureType, Kind

ALL_PRESENT: Final = np.array([Status.PRESENT], np.uint8)
ONE_SOURCE: Final = {source: np.array([source], np.uint8) for source in Source}


def repeated(of: FeatureType, value: object, n: int) -> npt.NDArray[Any]:
    """Return a column of n times ``value`` (as FeatureType.normalize gives it), or of n empty slots for None."""
    column = blank(of, n)
    if value is not None:
        fill(column, slice(None), of, value)
    return column


def fill(column: npt.NDArray[Any], at: Any, of: FeatureType, value: object) -> None:  # noqa: ANN401  # an index of numpy's
    """Put ``value`` (as FeatureType.normalize gives it) into the slots at ``at``."""
    if of.kind is Kind.INT64_LIST:
        value = np.array(value, np.int64)
    if of.kind in VARIABLE:
        places = np.arange(len(column))[at]
        for place in places.tolist():
            column[place] = value
    else:
        column[at] = value


class ViewColumns:
    """Makes the columns of one view."""

    def __init__(self, view: FeatureView, codec: RowCodec) -> None:
        self._view = view
        self._types = codec.schema.types
        self._decoder = RowDecoder(codec.schema)
        max_age = view.effective_max_age
        self._max_age_micros = None if max_age is None else max_age.total_seconds() * 1e6
        self._defaults = [stand_in_of(view, index) for index in range(len(view.features))]

    def __repr__(self) -> str:
        return f"ViewColumns({self._view.label})"

    def decode(self, read: ViewRead, found: ViewRows, now_micros: int) -> Decoded:
        """Return the columns that ``read`` needs from the rows of its view at the time ``now_micros`` of the answer."""
        block = self._decoder.decode_own(found.rows, read.columns)
        if block is None or block.null or block.reasons or not self._is_young(block, now_micros):
            return self._decode_mixed(read, found, now_micros)
        sources = ONE_SOURCE[found.sources] if isinstance(found.sources, Source) else found.sources
        columns = {
            i: TailColumn(values, ALL_PRESENT, sources)
            if isinstance(values, Tails)
            else Column(self._types[i], values, ALL_PRESENT, sources)
            for i, values in block.values.items()
        }
        return Decoded(columns, block.event_micros, self._degraded(found.reasons), [], [])

    def _is_young(self, block: Block, now_micros: int) -> bool:
        """Say whether no row is past max age."""
        return self._max_age_micros is None or now_micros - int(block.event_micros.min()) <= self._max_age_micros

    def _decode_mixed(self, read: ViewRead, found: ViewRows, now_micros: int) -> Decoded:
        """Decode rows of any kind."""
        rows = found.rows
        places = np.array([i for i, row in enumerate(rows) if isinstance(row, bytes)], np.intp)
        block = self._decoder.decode([row for row in rows if isinstance(row, bytes)], read.columns)
        states = self._states(block, now_micros)
        statuses = np.array([Status.NOT_FOUND if r is None else Status.UNAVAILABLE for r in rows], np.uint8)
        statuses[places] = states
        event_micros = np.full(len(rows), NO_TIME, np.int64)
        event_micros[places] = block.event_micros
        kept = np.flatnonzero(states == Status.PRESENT)
        known = Known(statuses, found.sources, kept, places[kept])
        columns = {i: self._column(i, block, known) for i in read.columns}
        corrupt = places[block.corrupt].tolist()
        degraded = self._degraded(found.reasons, Degraded.CORRUPT_ROW if corrupt else None)
        counts = np.bincount(statuses, minlength=len(Status) + 1).tolist()
        defaulted = {status.name: counts[status] for status in Status if status > Status.NULL_VALUE and counts[status]}
        return Decoded(columns, event_micros, degraded, corrupt, block.reasons, defaulted)

    def _states(self, block: Block, now_micros: int) -> Bytes:
        """Return what is known of each decoded row as a whole; rows without one lose their event time."""
        states = np.full(len(block), Status.PRESENT, np.uint8)
        if self._max_age_micros is not None:
            # float64 on purpose: an extreme event time must not wrap around
            states[now_micros - block.event_micros.astype(np.float64) > self._max_age_micros] = Status.OUTSIDE_MAX_AGE
        states[block.deleted] = Status.NOT_FOUND
        states[block.corrupt] = Status.UNAVAILABLE
        block.event_micros[block.deleted | block.corrupt] = NO_TIME
        return states

    def _column(self, index: int, block: Block, known: Known) -> Column:
        stand_in = self._defaults[index]
        marks = [
            (known.at[mask[known.kept]], status)
            for mask, status in (
                (block.null.get(index), Status.NULL_VALUE),
                (block.absent.get(index), Status.NOT_FOUND),
            )
            if mask is not None
        ]
        statuses, sources = known.codes(marks, stand_in.source)
        values = stand_in.column(len(statuses))
        put(values, known.at, block.values[index], known.kept)
        for places, status in marks:
            stand_in.put(values, places, blank=status is Status.NULL_VALUE)
        if isinstance(values, Tails):
            return TailColumn(values, statuses, sources)
        return Column(self._types[index], values, statuses, sources)

    def _degraded(self, reasons: Sequence[Degraded], corrupt: Degraded | None = None) -> list[tuple[Degraded, str]]:
        every = reasons if corrupt is None else (*reasons, corrupt)
        return [(reason, self._view.label) for reason in every]


def stand_in_of(view: FeatureView, index: int) -> StandIn:
    """Return what stands in for feature ``index`` of a view where no value is known."""
    feature = view.features[index]
    allowed = view.serve_default and feature.default is not None
    return StandIn.of(feature.type, feature.type.normalize(feature.default) if allowed else None)


@dataclass(slots=True)
class Decoded:
    """One view's columns by feature index, its rows' event times, what did not work, which rows are corrupt, why.

    ``defaulted``: how many rows answer with defaults, by the name of their status.
    """

    columns: dict[int, Column]
    event_micros: npt.NDArray[np.int64]
    degraded: list[tuple[Degraded, str]]
    corrupt: list[int]
    reasons: list[str]
    defaulted: Mapping[str, int] = field(default_factory=dict)
