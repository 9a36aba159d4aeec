"""The matrix has each value where the model looks for it, and NaN where nothing is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT32, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, TIMESTAMP, VECTOR
from recsvc.online.answer import Column, Source, Status
from recsvc.online.columns import repeated
from recsvc.online.row_values import Tails
from recsvc.online.tail_column import TailColumn
from recsvc.recommend.ranking.errors import RankerError
from recsvc.recommend.ranking.matrix import matrix
from recsvc.registry.types import FeatureType, Kind

SCALARS = [INT64, FLOAT64, FLOAT32, BOOL, TIMESTAMP]
TYPES = [*SCALARS, VECTOR[3]]
# What is known of a value, and whether there is one: DESIGN's table.
STATES = [
    (Status.PRESENT, Source.STORE, True),
    (Status.PRESENT, Source.CACHE, True),
    (Status.NOT_FOUND, Source.DEFAULT, True),
    (Status.UNAVAILABLE, Source.DEFAULT, True),
    (Status.NOT_FOUND, Source.NONE, False),
    (Status.OUTSIDE_MAX_AGE, Source.NONE, False),
    (Status.NULL_VALUE, Source.STORE, False),
    (Status.NULL_VALUE, Source.CACHE, False),
]


def codes(*values: int) -> npt.NDArray[np.uint8]:
    """Return statuses or sources as columns have them."""
    return np.array(values, np.uint8)


def column(of: FeatureType, values: object, *states: int) -> Column:
    """Return a column of values in the states of these indices (one for all, or one each)."""
    chosen = [STATES[s] for s in states or (0,)]
    array = np.array(values, repeated(of, None, 1).dtype)
    return Column(of, array, codes(*(c[0] for c in chosen)), codes(*(c[1] for c in chosen)))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], int, list[list[float]]]:
    """Columns of all types and states, broadcast ones among them, with the rows that they make value by value."""
    rows = draw(st.integers(0, 5))
    columns, wanted = [], [list[float]() for _ in range(rows)]
    for of in draw(st.lists(st.sampled_from(TYPES), max_size=5)):
        count = draw(st.sampled_from([1, rows]))
        width = of.bound or 1
        numbers = draw(st.lists(st.integers(0, 1), min_size=count * width, max_size=count * width))
        states = draw(st.lists(st.integers(0, len(STATES) - 1), min_size=1, max_size=1))
        if draw(st.booleans()) and count:
            states = draw(st.lists(st.integers(0, len(STATES) - 1), min_size=count, max_size=count))
        shape = (count, width) if of.kind is Kind.VECTOR else (count,)
        columns.append(column(of, np.reshape(numbers, shape), *states))
        for row, into in enumerate(wanted):
            place = min(row, count - 1)
            there = STATES[states[min(place, len(states) - 1)]][2]
            values = numbers[place * width : (place + 1) * width]
            into.extend(float(v) if there else np.nan for v in values)
    return columns, rows, wanted


@given(tables())
def test_every_value_stands_where_it_belongs(table: tuple[list[Column], int, list[list[float]]]) -> None:
    """Row by row and value by value: the features in order, vectors spread, one value for all rows repeated."""
    columns, rows, wanted = table
    found = matrix(columns, rows)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.array(wanted, np.float64).reshape(rows, found.shape[1]))


def test_values_keep_their_size() -> None:
    """Numbers are themselves, bools 0 and 1, times microseconds."""
    columns = [
        column(INT64, [-(2**53)]),
        column(FLOAT64, [1e300]),
        column(FLOAT32, [0.5]),
        column(BOOL, [True]),
        column(TIMESTAMP, [1_800_000_000_000_001]),
    ]
    assert matrix(columns, 1).tolist() == [[-(2.0**53), 1e300, 0.5, 1.0, 1_800_000_000_000_001.0]]


def test_a_column_is_not_changed() -> None:
    """Replies and impressions show the same columns: the NaN is the matrix's alone."""
    given_column = column(FLOAT64, [1.0, 2.0], 0, 4)
    given_column.values.flags.writeable = False
    matrix([given_column], 2)[:] = 7.0
    assert given_column.values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("of", [STRING, INT64_LIST[3], STRING_LIST[3, 8]], ids=str)
def test_what_is_no_number_is_refused(of: FeatureType) -> None:
    """Strings and lists have no place in a matrix, and the error says which column has them."""
    wrong = TailColumn(Tails(of, []), codes(Status.PRESENT), codes(Source.STORE))
    with pytest.raises(RankerError, match=f"column 1 is of type {of.kind.value}"):
        matrix([column(BOOL, []), wrong], 0)


def test_a_column_of_another_length_is_refused() -> None:
    """Two values for three rows belong to nobody."""
    with pytest.raises(RankerError, match="column 0 has 2 values; it must have 3"):
        matrix([column(INT64, [1, 2])], 3)
