"""From Arrow record batches to ids, event times and feature columns of rows, and the rows that are refused."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import compress
from typing import Final

import numpy as np

from recsvc.errors import ConfigError
from recsvc.online.ingest_arrow import pa
from recsvc.online.ingest_columns import Bad, column
from recsvc.online.ingest_ids import id_column
from recsvc.online.ingest_rules import TimeUnit
from recsvc.online.ingest_suitable import id_problem, type_problem
from recsvc.online.row import BoolArray, Int64Array, Values
from recsvc.registry.model import FeatureView
from recsvc.registry.schema import Schema
from recsvc.registry.types import TIMESTAMP

AHEAD: Final = timedelta(hours=1)
"""How far ahead of the clock an event time may be: clocks differ, but a row of the far future would stay for ever."""
EVENT_TIME: Final = "event_time"


@dataclass(slots=True)
class Converted:
    """The rows of a batch that were accepted, and the others.

    ``rows`` has the index in the batch of each accepted row, ``ids`` a list of texts per entity of the view,
    ``columns`` what RowCodec.encode takes; ``rejected`` are (index in the batch, reason), by index.
    """

    rows: Int64Array
    ids: list[list[str]]
    event_micros: Int64Array
    columns: list[tuple[Values, BoolArray | None]]
    rejected: Bad

    def __len__(self) -> int:
        return len(self.rows)


class Converter:
    """Converts batches for one view. Join keys and features are found by their names in the batch.

    ``now_micros`` is the clock; ``event_time_column`` None: as the view's source says, else ``event_time``. ``unit`` is
    what plain numbers count that stand for times; None: they are refused.
    """

    def __init__(
        self,
        view: FeatureView,
        schema: Schema,
        *,
        now_micros: int,
        event_time_column: str | None = None,
        unit: TimeUnit | None = None,
    ) -> None:
        source = view.live_source
        self.view = view
        self.schema = schema
        self.event_time = event_time_column or (source.event_time if source else EVENT_TIME)
        self._latest = now_micros + AHEAD // timedelta(microseconds=1)
        self._now = now_micros
        self._unit = unit

    def __repr__(self) -> str:
        return f"Converter({self.view.label}, event time {self.event_time!r}, unit {self._unit and self._unit.name})"

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that a batch must have."""
        return (*(e.join_key for e in self.view.entities), self.event_time, *self.schema.names)

    def check(self, columns: pa.Schema, where: str) -> tuple[str, ...]:
        """Return the names of surplus columns.

        Raises ConfigError, with all that is wrong, where a column is missing, ambiguous, or of a type that cannot be.
        """
        counts = Counter(columns.names)
        missing = [n for n in dict.fromkeys(self.needed) if n not in counts]
        problems = [_missing(missing, columns.names)] if missing else []
        problems += [f"column {n!r} is there {counts[n]} times" for n in dict.fromkeys(self.needed) if counts[n] > 1]
        if not problems:
            problems = self._type_problems(columns)
        if problems:
            raise ConfigError(f"{where} does not fit view {self.view.label}: {'; '.join(problems)}")
        return tuple(n for n in columns.names if n not in set(self.needed))

    def _type_problems(self, columns: pa.Schema) -> list[str]:
        found = [id_problem(columns.field(e.join_key)) for e in self.view.entities]
        wanted = [(self.event_time, TIMESTAMP), *zip(self.schema.names, self.schema.types, strict=True)]
        found += [type_problem(columns.field(name), of, self._unit) for name, of in wanted]
        return [problem for problem in found if problem is not None]

    def convert(self, batch: pa.RecordBatch) -> Converted:
        """Convert a batch whose columns were checked."""
        reasons: defaultdict[int, list[str]] = defaultdict(list)
        ids = []
        for entity in self.view.entities:
            texts, bad = id_column(batch.column(entity.join_key), entity)
            ids.append(texts)
            _note(reasons, entity.join_key, bad)
        event_micros = self._event_times(batch.column(self.event_time), reasons)
        columns = []
        for name, of in zip(self.schema.names, self.schema.types, strict=True):
            found = column(batch.column(name), of, self._unit)
            columns.append((found.values, found.valid))
            _note(reasons, name, found.bad)
        rows = np.arange(batch.num_rows, dtype=np.int64)
        whole = Converted(rows, ids, event_micros, columns, [])
        return _without(whole, reasons) if reasons else whole

    def _event_times(self, array: pa.Array, reasons: defaultdict[int, list[str]]) -> Int64Array:
        found = column(array, TIMESTAMP, self._unit)
        micros: Int64Array = np.asarray(found.values, np.int64)
        wrong = {index for index, _ in found.bad}
        if found.valid is not None:
            nulls = np.flatnonzero(~found.valid).tolist()
            found.bad += [(i, "is null, every row needs an event time") for i in nulls if i not in wrong]
        if len(micros) and micros.max() > self._latest:
            ahead = [i for i in np.flatnonzero(micros > self._latest).tolist() if i not in wrong]
            found.bad += [(i, self._ahead(int(micros[i]))) for i in ahead]
        _note(reasons, self.event_time, found.bad)
        return micros

    def _ahead(self, micros: int) -> str:
        hours = (micros - self._now) / 3.6e9
        moment = np.datetime64(micros, "us").astype("datetime64[s]")
        return f"{moment}Z is {hours:,.1f} h ahead of the clock, at most 1 h is allowed"


def _missing(missing: Sequence[str], has: Sequence[str]) -> str:
    hint = " (only one column: is --delimiter right?)" if len(has) == 1 else ""
    return f"no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, has)) or 'none'}{hint}"


def _note(reasons: defaultdict[int, list[str]], name: str, bad: Bad) -> None:
    for index, reason in bad:
        reasons[index].append(f"{name}: {reason}")


def _without(whole: Converted, reasons: dict[int, list[str]]) -> Converted:
    keep = np.ones(len(whole), np.bool_)
    keep[list(reasons)] = False
    return Converted(
        whole.rows[keep],
        [list(compress(texts, keep)) for texts in whole.ids],
        whole.event_micros[keep],
        [(_kept(values, keep), None if valid is None else valid[keep]) for values, valid in whole.columns],
        [(index, "; ".join(reasons[index])) for index in sorted(reasons)],
    )


def _kept(values: Values, keep: BoolArray) -> Values:
    return values[keep] if isinstance(values, np.ndarray) else list(compress(values, keep))
