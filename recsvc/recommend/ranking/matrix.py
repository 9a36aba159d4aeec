"""The feature matrix: columns of an answer as the numbers that a model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from recsvc.online.answer import Column
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.ranking.card import SCALARS, Floats, width
from recsvc.recommend.ranking.errors import RankerError
from recsvc.registry.types import Kind


def matrix(columns: Sequence[Column], rows: int) -> Floats:
    """Return the values of ``columns`` (of ``rows`` values each, or of 1 for all rows) as float64[rows, width].

    Numbers are themselves (integers beyond 2**53 lose their last digits), bools 0 and 1, timestamps microseconds since
    1970. A VECTOR[d] takes d columns. Where there is no value, not even a default, stands NaN.

    Raises RankerError for a column of strings or of lists, or of another length.
    """
    for place, column in enumerate(columns):
        _check(column, place, rows)
    # column by column in memory, as the values come
    if all(column.values.shape == (rows,) for column in columns):
        filled = np.array([column.values for column in columns], np.float64).reshape(len(columns), rows).T
    else:
        filled = np.empty((sum(width(c.type) for c in columns), rows)).T
        for part, column in _parts(columns):
            filled[:, part] = column.values.reshape(len(column), -1)
    for (part, _), lacking in zip(_parts(columns), _lacking(columns), strict=True):
        if lacking is not None:
            filled[lacking if len(lacking) > 1 else slice(None), part] = np.nan
    return filled


def _check(column: Column, place: int, rows: int) -> None:
    if column.type.kind not in SCALARS and column.type.kind is not Kind.VECTOR:
        raise RankerError(f"column {place} is of type {column.type}; a matrix takes numbers, bools, times and vectors")
    if len(column) not in (1, rows):
        raise RankerError(f"column {place} has {len(column)} values; it must have {rows}, or 1 for all rows")


def _parts(columns: Sequence[Column]) -> Iterator[tuple[slice, Column]]:
    """Yield columns with their parts of the matrix; not those without values."""
    begin = 0
    for column in columns:
        end = begin + width(column.type)
        if len(column):
            yield slice(begin, end), column
        begin = end


def _lacking(columns: Sequence[Column]) -> Iterator[Mask | None]:
    """Yield for each column with values which of them there are not (one for all); None: all are there."""
    known: dict[tuple[int, int], Mask | None] = {}  # columns of one view often share their statuses and sources
    for column in columns:
        if len(column):
            key = id(column.statuses), id(column.sources)
            if key not in known:
                there = column.has_value()
                known[key] = None if there.all() else ~there
            yield known[key]
