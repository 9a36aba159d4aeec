"""Rows of one view to columns with status and source, without touching single values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import UNREAD, Bytes, Column, Degraded, Row, Source, Status, Unread
from recsvc.online.row import NO_TIME, Block, RowCodec, blank
from recsvc.registry.model import Feature, FeatureView
from recsvc.registry.plan import ViewRead
from recsvc.registry.types import VARIABLE, FeatureType, Kind

ALL_PRESENT: Final = np.array([Status.PRESENT], np.uint8)
ALL_STORE: Final = np.array([Source.STORE], np.uint8)


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
        self._defaults = [_default(f) for f in view.features]

    def __repr__(self) -> str:
        return f"ViewColumns({self._view.label})"

    def decode(self, read: ViewRead, rows: Sequence[Row], now_micros: int) -> Decoded:
        """Return the columns that ``read`` needs from the rows of its view at the time ``now_micros`` of the answer."""
        kinds = set(map(type, rows))
        whole = kinds <= {bytes}  # nearly always, and found without a step per row
        places = [] if whole else [i for i, row in enumerate(rows) if isinstance(row, bytes)]
        present = rows if whole else [rows[i] for i in places]
        block = self._codec.decode(cast("Sequence[bytes]", present), read.columns)
        states = self._states(block, now_micros)
        if whole:
            event_micros = block.event_micros
        else:
            states, event_micros = _spread(rows, places, states, block.event_micros)
        plain = bool((states == Status.PRESENT).all())
        columns = {}
        for index in read.columns:
            if plain and block.null[index] is None and block.absent[index] is None:
                columns[index] = Column(self._codec.schema.types[index], block.values[index], ALL_PRESENT, ALL_STORE)
            else:
                columns[index] = self._column(index, block, states, None if whole else np.array(places, np.intp))
        corrupt = int(block.corrupt.sum())
        return Decoded(columns, event_micros, list(self._degraded(kinds, corrupt)), corrupt, block.reasons)

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

    def _column(self, index: int, block: Block, states: Bytes, places: npt.NDArray[np.intp] | None) -> Column:
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
        sources = np.full(len(states), Source.STORE, np.uint8)
        lacking = statuses > Status.NULL_VALUE
        sources[lacking] = Source.NONE if default is None else Source.DEFAULT
        if default is not None:
            fill(values, lacking, of, default)
        return Column(of, values, statuses, sources)

    def _degraded(self, kinds: set[type], corrupt: int) -> Iterator[tuple[Degraded, str]]:
        if Unread in kinds:
            yield Degraded.STORE_UNAVAILABLE, self._view.label
        if corrupt:
            yield Degraded.CORRUPT_ROW, self._view.label


def _default(feature: Feature) -> object:
    return None if feature.default is None else feature.type.normalize(feature.default)


def _spread(
    rows: Sequence[Row], places: Sequence[int], states: Bytes, event_micros: npt.NDArray[np.int64]
) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Put what is known of the decoded rows in its places among all rows."""
    all_states = np.array([Status.UNAVAILABLE if r is UNREAD else Status.NOT_FOUND for r in rows], np.uint8)
    all_times = np.full(len(rows), NO_TIME, np.int64)
    all_states[places] = states
    all_times[places] = event_micros
    return all_states, all_times


@dataclass(frozen=True, slots=True)
class Decoded:
    """One view's columns by feature index, its rows' event times, what did not work, how many rows are corrupt, why."""

    columns: dict[int, Column]
    event_micros: npt.NDArray[np.int64]
    degraded: list[tuple[Degraded, str]]
    corrupt: int
    reasons: list[str]
