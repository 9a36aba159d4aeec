"""Rows of one view to columns with status and source, without touching single values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Bytes, Column, Degraded, Row, Source, Status
from recsvc.online.reader import ViewRows
from recsvc.online.row import NO_TIME, Block, RowCodec, blank
from recsvc.registry.model import Feature, FeatureView
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
        self._codec = codec
        max_age = view.effective_max_age
        self._max_age_micros = None if max_age is None else max_age.total_seconds() * 1e6
        self._defaults = [_default(view, f) for f in view.features]

    def __repr__(self) -> str:
        return f"ViewColumns({self._view.label})"

    def decode(self, read: ViewRead, found: ViewRows, now_micros: int) -> Decoded:
        """Return the columns that ``read`` needs from the rows of its view at the time ``now_micros`` of the answer."""
        rows = found.rows
        whole = set(map(type, rows)) <= {bytes}  # nearly always, and found without a step per row
        places = [] if whole else [i for i, row in enumerate(rows) if isinstance(row, bytes)]
        present = rows if whole else [rows[i] for i in places]
        block = self._codec.decode(cast("Sequence[bytes]", present), read.columns)
        states = self._states(block, now_micros)
        corrupt = np.flatnonzero(block.corrupt).tolist()
        if whole:
            event_micros = block.event_micros
        else:
            states, event_micros = _spread(rows, places, states, block.event_micros)
            corrupt = [places[i] for i in corrupt]
        plain = bool((states == Status.PRESENT).all())
        sources = ONE_SOURCE[found.sources] if isinstance(found.sources, Source) else found.sources
        columns = {}
        for index in read.columns:
            if plain and block.null[index] is None and block.absent[index] is None:
                columns[index] = Column(self._codec.schema.types[index], block.values[index], ALL_PRESENT, sources)
            else:
                at = None if whole else np.array(places, np.intp)
                columns[index] = self._column(index, block, states, at, sources)
        return Decoded(columns, event_micros, self._degraded(found.reasons, corrupt), corrupt, block.reasons)

    def _states(self, block: Block, now_micros: int) -> Bytes:
        """Return what is known of each decoded row as a whole; rows without one lose their event time."""
        states = np.full(len(block.corrupt), Status.PRESENT, np.uint8)
        if self._max_age_micros is not None:
            # float64 on purpose: an extreme event time must not wrap around
            states[now_micros - block.event_micros.astype(np.float64) > self._max_age_micros] = Status.OUTSIDE_MAX_AGE
        if block.deleted.any():
            states[block.deleted] = Status.NOT_FOUND
        if block.corrupt.any():
            states[block.corrupt] = Status.UNAVAILABLE
        block.event_micros[block.deleted | block.corrupt] = NO_TIME
        return states

    def _column(
        self, index: int, block: Block, states: Bytes, places: npt.NDArray[np.intp] | None, found: Bytes
    ) -> Column:
        of, default = self._codec.schema.types[index], self._defaults[index]
        statuses = states.copy()
        at: Any = slice(None) if places is None else places
        known = statuses[at]
        for mask, status in ((block.null[index], Status.NULL_VALUE), (block.absent[index], Status.NOT_FOUND)):
            if mask is not None:
                known[mask & (known == Status.PRESENT)] = status
        statuses[at] = known
        values = blank(of, len(states))
        kept = known == Status.PRESENT
        values[np.arange(len(states))[at][kept]] = block.values[index][kept]
        sources = np.empty(len(states), np.uint8)
        sources[:] = found
        lacking = statuses > Status.NULL_VALUE
        sources[lacking] = Source.NONE if default is None else Source.DEFAULT
        if default is not None:
            fill(values, lacking, of, default)
        return Column(of, values, statuses, sources)

    def _degraded(self, reasons: Sequence[Degraded], corrupt: Sequence[int]) -> list[tuple[Degraded, str]]:
        every = (*reasons, Degraded.CORRUPT_ROW) if corrupt else reasons
        return [(reason, self._view.label) for reason in every]


def _default(view: FeatureView, feature: Feature) -> object:
    """Return what stands in where no value is known, as the type keeps it; None: nothing does."""
    allowed = view.serve_default and feature.default is not None
    return feature.type.normalize(feature.default) if allowed else None


def _spread(
    rows: Sequence[Row], places: Sequence[int], states: Bytes, event_micros: npt.NDArray[np.int64]
) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Put what is known of the decoded rows in its places among all rows."""
    all_states = np.array([Status.NOT_FOUND if r is None else Status.UNAVAILABLE for r in rows], np.uint8)
    all_times = np.full(len(rows), NO_TIME, np.int64)
    all_states[places] = states
    all_times[places] = event_micros
    return all_states, all_times


@dataclass(frozen=True, slots=True)
class Decoded:
    """One view's columns by feature index, its rows' event times, what did not work, which rows are corrupt, why."""

    columns: dict[int, Column]
    event_micros: npt.NDArray[np.int64]
    degraded: list[tuple[Degraded, str]]
    corrupt: list[int]
    reasons: list[str]
