"""The feature matrix: columns of an answer as the numbers that a model reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsvc.online.answer import Column
from recsvc.recommend.ranking.card import SCALARS, Floats, width
from recsvc.recommend.ranking.errors import RankerError
from recsvc.registry.types import Kind


def matrix(columns: Sequence[Column], rows: int) -> Floats:
    """Return the values of ``columns`` (of ``rows`` values each, or of 1 for all rows) as float64[rows, width].

    Numbers are themselves (integers beyond 2**53 lose their last digits), bools 0 and 1, timestamps microseconds since
    1970. A VECTOR[d] takes d columns. Where there is no value, not even a default, stands NaN.

    Raises RankerError for a column of strings or of lists, or of another length.
    """
    # column by column in memory, as the values come
    filled = np.empty((sum(width(c.type) for c in columns), rows)).T
    begin = 0
    for place, column in enumerate(columns):
        end = begin + width(column.type)
        _check(column, place, rows)
        _fill(filled[:, begin:end], column)
        begin = end
    return filled


def _check(column: Column, place: int, rows: int) -> None:
    if column.type.kind not in SCALARS and column.type.kind is not Kind.VECTOR:
        raise RankerError(f"column {place} is of type {column.type}; a matrix takes numbers, bools, times and vectors")
    if len(column) not in (1, rows):
        raise RankerError(f"column {place} has {len(column)} values; it must have {rows}, or 1 for all rows")


def _fill(into: Floats, column: Column) -> None:
    """Write a column's values to its part (rows × width) of a matrix."""
    if not len(column):
        return
    into[:] = column.values.reshape(len(column), -1)
    there = column.has_value()
    if not there.all():
        into[~there if len(there) > 1 else slice(None)] = np.nan
