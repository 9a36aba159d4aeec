"""Columns of a reply are read into numpy with nothing copied, widened on demand, and told apart from fillers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pytest

from recsvc.client import ClientError, Column, FeatureValue, Source, Status
from recsvc.client.columns import read_column
from recsvc.client.replies import read_row
from recsvc.pb import packed, serving_pb2

PRESENT: Final = bytes([Status.PRESENT])
STORE: Final = bytes([Source.STORE])


def column(statuses: bytes = PRESENT, sources: bytes = STORE, /, **values: Any) -> Column:  # noqa: ANN401  # by the kind
    """Read a column as it comes from the wire."""
    sent = packed.FeatureColumn(name="view:feature", values=values, statuses=statuses, sources=sources)
    return read_column(packed.FeatureColumn.FromString(sent.SerializeToString()))


LISTS: Final[dict[str, Any]] = {
    "values": np.array([1, 2, 3]).tobytes(),
    "lengths": np.array([2, 0, 1], dtype="u4").tobytes(),
}


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("int64s", {"values": np.array([1, -2]).tobytes()}, np.array([1, -2])),
        ("float64s", {"values": np.array([0.1, np.nan]).tobytes()}, np.array([0.1, np.nan])),
        ("float32s", {"values": np.array([0.1], dtype="f4").tobytes()}, np.array([0.1], dtype="f4")),
        ("bools", {"values": b"\0\1"}, np.array([False, True])),
        ("strings", {"values": ["a", ""]}, np.array(["a", ""], dtype=object)),
        ("timestamps", {"micros": np.array([1]).tobytes()}, np.array([1], dtype="M8[us]")),
        (
            "vectors",
            {"dimension": 2, "values": np.arange(6, dtype="f4").tobytes()},
            np.arange(6, dtype="f4").reshape(3, 2),
        ),
    ],
)
def test_each_type_has_its_dtype(kind: str, values: dict[str, Any], expected: Any) -> None:  # noqa: ANN401
    """Every kind of column reads as the numpy dtype that its documentation gives, read only."""
    found = column(**{kind: values})
    np.testing.assert_array_equal(found.values, expected)
    assert (found.values.dtype, len(found)) == (expected.dtype, len(expected))
    assert not found.values.flags.writeable
    assert found.statuses.dtype == found.sources.dtype == np.uint8
    with pytest.raises(TypeError, match=r"one .* per row, no lists"):
        _ = found.lists


@pytest.mark.parametrize("kind", ["int64s", "float64s", "float32s", "bools", "strings", "timestamps", "vectors"])
def test_no_rows(kind: str) -> None:
    """A column of no rows has length 0 and can be widened to no rows."""
    found = column(**{kind: {}})
    assert len(found) == len(found.expanded(0)) == len(found.to_list()) == 0


def test_lists_are_flat_with_offsets() -> None:
    """A list column gives its elements flat, its rows by index, and Python lists where they are asked for."""
    found = column(int64_lists=LISTS)
    assert (found.lists.flat.tolist(), found.lists.offsets.tolist()) == ([1, 2, 3], [0, 2, 2, 3])
    assert [row.tolist() for row in found.lists] == [[1, 2], [], [3]]
    assert found.lists[-1].tolist() == [3]
    assert [row.tolist() for row in found.lists[:2]] == [[1, 2], []]
    with pytest.raises(IndexError):
        _ = found.lists[3]
    assert found.values.tolist() == [[1, 2], [], [3]]
    assert found.to_list() == [(1, 2), (), (3,)]
    assert repr(found) == "Column('view:feature', 3 × lists)"
    assert repr(found.lists) == "Lists(3 rows, 3 × int64)"


def test_lists_of_strings() -> None:
    """The elements of a STRING_LIST are str objects."""
    found = column(string_lists={"values": ["a", "b"], "lengths": np.array([0, 2], dtype="u4").tobytes()})
    assert found.lists.to_list() == [[], ["a", "b"]]


def test_a_broadcast_column_stands_for_all_rows() -> None:
    """Widening repeats value, status and source without taking memory; lists are copied."""
    wide = column(float64s={"values": np.array([1.5]).tobytes()}).expanded(500)
    assert wide.values.tolist() == [1.5] * 500
    assert (wide.values.strides, wide.statuses.shape, wide.sources.shape) == ((0,), (500,), (500,))
    vector = column(vectors={"dimension": 2, "values": np.arange(2, dtype="f4").tobytes()}).expanded(3)
    assert vector.values.tolist() == [[0.0, 1.0]] * 3
    one = {"values": np.array([4, 5]).tobytes(), "lengths": np.array([2], dtype="u4").tobytes()}
    assert column(int64_lists=one).expanded(3).lists.to_list() == [[4, 5]] * 3


def test_a_full_column_is_its_own_expansion() -> None:
    """Widening leaves values that are one per row, and gives each row the status that holds for all."""
    found = column(int64_lists=LISTS).expanded(3)
    assert (found.lists.to_list(), found.statuses.tolist()) == ([[1, 2], [], [3]], [1, 1, 1])


@pytest.mark.parametrize("values", [{"int64s": {"values": bytes(24)}}, {"int64_lists": LISTS}])
def test_a_column_of_another_length_cannot_be_widened(values: dict[str, Any]) -> None:
    """Three values stand for three rows only."""
    with pytest.raises(ValueError, match="a column of 3 values cannot stand for 4 rows"):
        column(**values).expanded(4)


def test_fillers_are_told_from_values() -> None:
    """A slot holds a value unless its status is NULL_VALUE or its source NONE; a default is a value."""
    statuses = bytes([Status.PRESENT, Status.NULL_VALUE, Status.NOT_FOUND, Status.NOT_FOUND])
    sources = bytes([Source.STORE, Source.STORE, Source.DEFAULT, Source.NONE])
    found = column(statuses, sources, int64s={"values": np.array([1, 0, 5, 0]).tobytes()})
    assert found.has_value.tolist() == [True, False, True, False]
    assert found.to_list() == [1, None, 5, None]


def test_python_values_have_their_own_types() -> None:
    """to_list gives bool, str, datetime in UTC and tuples; times out of datetime's range stay datetime64."""
    assert column(bools={"values": b"\1"}).to_list() == [True]
    assert column(vectors={"dimension": 2, "values": bytes(8)}).to_list() == [(0.0, 0.0)]
    assert column(timestamps={"micros": np.array([1_000_000, 2**62]).tobytes()}).to_list() == [
        datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        np.datetime64(2**62, "us"),
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"int64s": {"values": b"123"}}, "buffer size must be a multiple"),
        ({"vectors": {"dimension": 2, "values": bytes(12)}}, "cannot reshape"),
        ({"vectors": {"values": bytes(12)}}, "cannot reshape"),
        ({"int64_lists": {"values": bytes(8), "lengths": b"\2\0\0\0"}}, "lengths add up to 2, there are 1 elements"),
        ({}, "of a type that this client does not know"),
    ],
)
def test_bytes_that_are_no_column(values: dict[str, Any], problem: str) -> None:
    """A column that its type cannot explain is one error that names the feature."""
    with pytest.raises(ClientError, match=f"view:feature.*{problem}"):
        column(**values)


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ({"int64_value": 0}, 0),
        ({"float64_value": 0.1}, 0.1),
        ({"float32_value": 0.5}, 0.5),
        ({"bool_value": False}, False),
        ({"string_value": ""}, ""),
        ({"timestamp_micros_value": 1_000_000}, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ({"timestamp_micros_value": -(2**63) + 1}, np.datetime64(-(2**63) + 1, "us")),
        ({"vector_value": {"values": [0.5, 1.5]}}, (0.5, 1.5)),
        ({"int64_list_value": {"values": [1, 2]}}, (1, 2)),
        ({"string_list_value": {"values": []}}, ()),
        ({}, None),
    ],
)
def test_values_of_a_row(sent: dict[str, Any], value: object) -> None:
    """Every kind of value reads as the Python type that stands for it; zero and empty are values."""
    feature = serving_pb2.FeatureValue(name="f", value=serving_pb2.Value(**sent))
    found = read_row(serving_pb2.GetFeaturesResponse(features=[feature]))["f"].value
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("micros", "year"), [(2**62, 9999), (-(2**62), 1)])
def test_event_times_out_of_range(micros: int, year: int) -> None:
    """An event time that datetime cannot hold is its first or last one, and exact in microseconds."""
    feature = FeatureValue("f", None, Status.NULL_VALUE, Source.STORE, micros)
    assert feature.event_time is not None
    assert (feature.event_time.year, feature.event_time_micros) == (year, micros)
