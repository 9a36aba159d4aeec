"""Reads interactions from Parquet, CSV and TSV files, with the readers and rules of ``recsvc load``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recsvc.errors import ConfigError
from recsvc.online.ingest import open_reader
from recsvc.online.ingest_arrow import pa
from recsvc.online.ingest_columns import Bad, column
from recsvc.online.ingest_ids import id_column
from recsvc.online.ingest_readers import Piece, Reader
from recsvc.online.ingest_rules import TimeUnit
from recsvc.online.ingest_suitable import id_problem, type_problem
from recsvc.registry.model import Entity
from recsvc.registry.types import FLOAT32, TIMESTAMP, FeatureType
from recsvc.training.errors import TrainingError
from recsvc.training.interactions import Int64s, Interactions


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Which columns of a file are read. Without ``weight``, every pair weighs 1.

    ``unit``: what plain numbers count in the column ``time``.
    """

    user: str
    item: str
    weight: str | None = None
    time: str | None = None
    unit: TimeUnit | None = None

    @property
    def values(self) -> Sequence[tuple[str, FeatureType]]:
        """The columns beside the ids, with their types."""
        optional = ((self.weight, FLOAT32), (self.time, TIMESTAMP))
        return [(name, of) for name, of in optional if name is not None]

    @property
    def needed(self) -> Sequence[str]:
        """All columns that a file must have."""
        return [self.user, self.item, *(name for name, _ in self.values)]


class _Read(NamedTuple):
    """What a piece of a file holds."""

    users: list[str]
    items: list[str]
    weights: np.ndarray[tuple[int], np.dtype[np.float32]]
    micros: Int64s


def read_interactions(  # noqa: PLR0913  # a file, what it holds, and who wants to know how far it is
    path: Path,
    user: Entity,
    item: Entity,
    columns: FileColumns,
    *,
    delimiter: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _size: None,
) -> Interactions:
    """Read a file; ``on_progress`` gets how much of which size was read.

    Raises ConfigError where a column is missing or of a type that cannot be, and TrainingError for the first row that
    is wrong: a model that is trained without some of its rows looks just like a good one.
    """
    reader = open_reader(path, delimiter)
    _check(reader, user, item, columns)
    parts = []
    for piece in reader.pieces(columns.needed):
        parts.append(_converted(reader, piece, (user, item), columns))
        on_progress(piece.done, reader.size)
    if not any(part.users for part in parts):
        raise TrainingError(f"{path} has no rows: there is nothing to train on")
    return Interactions.from_columns(
        [text for part in parts for text in part.users],
        [text for part in parts for text in part.items],
        weights=np.concatenate([part.weights for part in parts]),
        micros=np.concatenate([part.micros for part in parts]),
    )


def _check(reader: Reader, user: Entity, item: Entity, columns: FileColumns) -> None:
    counts = Counter(reader.columns.names)
    problems = [f"no column {name!r}" for name in columns.needed if counts[name] == 0]
    problems += [f"column {name!r} is there {counts[name]} times" for name in columns.needed if counts[name] > 1]
    if problems:
        has = ", ".join(map(repr, reader.columns.names)) or "none"
        raise ConfigError(f"{reader.name}: {'; '.join(problems)}; it has {has}")
    found = [id_problem(reader.columns.field(name)) for name in (columns.user, columns.item)]
    found += [type_problem(reader.columns.field(name), of, columns.unit) for name, of in columns.values]
    wrong = [problem for problem in found if problem is not None]
    if wrong:
        of = f"{user.name} and {item.name}"
        raise ConfigError(f"{reader.name} does not fit interactions of {of}: {'; '.join(wrong)}")


def _converted(reader: Reader, piece: Piece, entities: tuple[Entity, Entity], columns: FileColumns) -> _Read:
    wrong: list[tuple[int, str]] = list(piece.malformed)
    batch, numbers = piece.batch, piece.numbers
    texts = []
    for name, entity in zip((columns.user, columns.item), entities, strict=True):
        found, bad = id_column(batch.column(name), entity)
        texts.append(found)
        wrong += _placed(numbers, name, bad)
    n = batch.num_rows
    weights, micros = np.ones(n, np.float32), np.zeros(n, np.int64)
    for name, of in columns.values:
        values, bad = _values(batch.column(name), of, columns.unit)
        wrong += _placed(numbers, name, bad)
        if of is TIMESTAMP:
            micros = values.astype(np.int64)
        else:
            weights = values.astype(np.float32)
            wrong += _placed(numbers, name, _unfit(weights, {index for index, _ in bad}))
    if wrong:
        number, reason = min(wrong)
        raise TrainingError(f"{reader.name} {reader.unit} {number}: {reason}; mend the file, nothing was trained")
    return _Read(texts[0], texts[1], weights, micros)


def _values(array: pa.Array, of: FeatureType, unit: TimeUnit | None) -> tuple[Int64s, Bad]:
    """Return the values of a column, and which are wrong: one that is null is."""
    found = column(array, of, unit)
    nulls = [] if found.valid is None else np.flatnonzero(~found.valid).tolist()
    known = {index for index, _ in found.bad}
    return np.asarray(found.values), [*found.bad, *((i, "is null") for i in nulls if i not in known)]


def _unfit(weights: np.ndarray[tuple[int], np.dtype[np.float32]], known: set[int]) -> Bad:
    rows = np.flatnonzero(~(np.isfinite(weights) & (weights > 0))).tolist()
    return [(row, f"{weights[row]} is no weight: it must be finite and above 0") for row in rows if row not in known]


def _placed(numbers: Int64s, name: str, bad: Bad) -> list[tuple[int, str]]:
    return [(int(numbers[index]), f"{name}: {reason}") for index, reason in bad]
