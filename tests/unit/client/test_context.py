"""Python and numpy values become the one typed value that they can be, or are refused with the reason."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from recsvc.client.context import to_column, to_value
from recsvc.client.typed import plain, typed
from recsvc.pb import serving_pb2

NOON: Final = datetime(2024, 5, 1, 12, tzinfo=UTC)
MICROS: Final = int(NOON.timestamp()) * 1_000_000


def as_dict(message: Message) -> dict[str, Any]:
    """The message as plain Python, with integers as integers."""
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def column(given_value: Any) -> dict[str, Any]:  # noqa: ANN401  # whatever a caller may give
    """What a server reads of a column."""
    return as_dict(serving_pb2.ColumnValues.FromString(to_column(given_value).SerializeToString()))


@pytest.mark.parametrize(
    ("given_value", "wire"),
    [
        (True, {"bool_value": True}),
        (np.bool_(False), {"bool_value": False}),  # noqa: FBT003  # the value is the example
        (7, {"int64_value": "7"}),
        (np.uint8(7), {"int64_value": "7"}),
        (-(2**63), {"int64_value": str(-(2**63))}),
        (1.5, {"float64_value": 1.5}),
        (np.float64(1.5), {"float64_value": 1.5}),
        (np.float32(1.5), {"float32_value": 1.5}),
        (np.float16(1.5), {"float32_value": 1.5}),
        (np.array(1.5, dtype="f4"), {"float32_value": 1.5}),
        ("ü", {"string_value": "ü"}),
        (np.str_("ü"), {"string_value": "ü"}),
        (NOON, {"timestamp_micros_value": str(MICROS)}),
        (NOON.astimezone(timezone(timedelta(hours=5))), {"timestamp_micros_value": str(MICROS)}),
        (np.datetime64("2024-05-01T12:00:00.000000999", "ns"), {"timestamp_micros_value": str(MICROS)}),
        (np.datetime64("2024-05-01T12", "h"), {"timestamp_micros_value": str(MICROS)}),
        ([0.5, 1.5], {"vector_value": {"values": [0.5, 1.5]}}),
        ((1, 2.5), {"vector_value": {"values": [1.0, 2.5]}}),
        (np.array([0.5, 1.5]), {"vector_value": {"values": [0.5, 1.5]}}),
        ([1, 2], {"int64_list_value": {"values": ["1", "2"]}}),
        (range(1, 3), {"int64_list_value": {"values": ["1", "2"]}}),
        (np.array([], dtype=np.int32), {"int64_list_value": {}}),
        (["a", "b"], {"string_list_value": {"values": ["a", "b"]}}),
        (np.array(["a", "b"]), {"string_list_value": {"values": ["a", "b"]}}),
        (np.array(["a", "b"], dtype=object), {"string_list_value": {"values": ["a", "b"]}}),
    ],
)
def test_one_value(given_value: Any, wire: dict[str, Any]) -> None:  # noqa: ANN401  # whatever a caller may give
    """Each Python or numpy value has one kind in a row."""
    assert as_dict(to_value(given_value)) == wire


@pytest.mark.parametrize(
    ("given_value", "wire"),
    [
        (7, {"int64s": {"values": ["7"]}}),
        ("a", {"strings": {"values": ["a"]}}),
        (NOON, {"timestamps": {"micros": [str(MICROS)]}}),
        ([1, 2], {"int64s": {"values": ["1", "2"]}}),
        ([1, 2.5, np.float32(0.5)], {"float64s": {"values": [1.0, 2.5, 0.5]}}),
        ([np.float32(0.5)], {"float32s": {"values": [0.5]}}),
        ([True, np.bool_(False)], {"bools": {"values": [True, False]}}),  # noqa: FBT003  # the value is the example
        (["a", ""], {"strings": {"values": ["a", ""]}}),
        ([NOON, np.datetime64(1, "s")], {"timestamps": {"micros": [str(MICROS), "1000000"]}}),
        (np.array([1, 2], dtype=">i2"), {"int64s": {"values": ["1", "2"]}}),
        (np.array([0.5, 1.5], dtype=">f8"), {"float64s": {"values": [0.5, 1.5]}}),
        (np.array([0.5, 1.5, 2.5], dtype="f2")[::2], {"float32s": {"values": [0.5, 2.5]}}),
        (np.array([True]), {"bools": {"values": [True]}}),
        (np.array(["2024-05-01T12"], dtype="M8[h]"), {"timestamps": {"micros": [str(MICROS)]}}),
        (np.array([1, "a"], dtype=object)[:1], {"int64s": {"values": ["1"]}}),
        (np.array([], dtype="f8"), {"float64s": {}}),
        ([], {}),
        (np.eye(2), {"vectors": {"dimension": 2, "values": [1.0, 0.0, 0.0, 1.0]}}),
        (np.asfortranarray([[1.5, 2.5], [3.5, 4.5]]), {"vectors": {"dimension": 2, "values": [1.5, 2.5, 3.5, 4.5]}}),
        ([[0.5, 1], (2, 3)], {"vectors": {"dimension": 2, "values": [0.5, 1.0, 2.0, 3.0]}}),
        ([np.array([0.5]), np.array([1.5])], {"vectors": {"dimension": 1, "values": [0.5, 1.5]}}),
        (np.empty((0, 3)), {"vectors": {"dimension": 3}}),
        ([[1, 2], [], [3]], {"int64_lists": {"values": ["1", "2", "3"], "lengths": [2, 0, 1]}}),
        (np.array([[1, 2]]), {"int64_lists": {"values": ["1", "2"], "lengths": [2]}}),
        ([["a"], []], {"string_lists": {"values": ["a"], "lengths": [1, 0]}}),
    ],
)
def test_columns(given_value: Any, wire: dict[str, Any]) -> None:  # noqa: ANN401  # whatever a caller may give
    """A single value is a column of one, a list or array one value per row, two dimensions a vector or list per row."""
    assert column(given_value) == wire


@pytest.mark.parametrize(
    ("given_value", "reason"),
    [
        (None, "NoneType is not one of bool, int"),
        ({}, "dict is not one of"),
        ({1, 2}, "set is not one of"),
        (b"x", "bytes is not one of"),
        (1j, "complex is not one of"),
        (date(2024, 5, 1), "date is not one of"),
        (2**63, "9223372036854775808 does not fit 64 bits"),
        (NOON.replace(tzinfo=None), "2024-05-01T12:00:00 has no time zone"),
        (np.datetime64("NaT", "us"), "NaT is not a time"),
        (np.datetime64(10**7, "Y"), "has a time that does not fit"),
        ([1, "a"], "mixes int64 and string; give one type"),
        ([True, 2], "mixes bool and int64; give one type"),
        (np.array([2**63], dtype=np.uint64), "9223372036854775808 does not fit 64 bits"),
        (np.array([b"x"]), r"dtype \|S1 is not one of"),
        (np.array([1.0], dtype=np.longdouble), "dtype .* is not one of bool, integers"),
        (np.array([1j]), "dtype complex128 is not one of"),
        (np.zeros((1, 1, 1)), "has 3 dimensions"),
    ],
)
def test_what_has_no_type_is_refused(given_value: Any, reason: str) -> None:  # noqa: ANN401
    """A value that is nothing in the contract is refused in a row and in a batch, with the reason."""
    with pytest.raises(ValueError, match=reason):
        to_value(given_value)
    with pytest.raises(ValueError, match=reason):
        to_column(given_value)


@pytest.mark.parametrize(
    ("given_value", "reason"),
    [
        ([], "is empty and tells no type"),
        ([True], "is a list of bool"),
        ([NOON], "is a list of timestamp"),
        (np.eye(2), "has 2 dimensions, one too many"),
        ([[1]], "list is not one of"),
        ([1e39], "components that do not fit 32 bits"),
    ],
)
def test_what_one_row_cannot_hold(given_value: Any, reason: str) -> None:  # noqa: ANN401  # whatever a caller may give
    """Lists of a row are vectors, INT64_LIST or STRING_LIST; nothing else."""
    with pytest.raises(ValueError, match=reason):
        to_value(given_value)


@pytest.mark.parametrize(
    ("given_value", "reason"),
    [
        ([[], []], "is empty and tells no type"),
        ([[0.5], [0.5, 1.5]], "vectors of 1 to 2 components"),
        ([[1], 2], "mixes lists and single values"),
        ([[True]], "has lists of bool"),
        ([[[1]]], "list is not one of"),
        ([np.eye(2)], "has 2 dimensions, one too many"),
        (np.array([[1e39]]), "components that do not fit 32 bits"),
    ],
)
def test_what_a_column_cannot_hold(given_value: Any, reason: str) -> None:  # noqa: ANN401  # whatever a caller may give
    """Rows of a column have one type and, as vectors, one length."""
    with pytest.raises(ValueError, match=reason):
        to_column(given_value)


def test_infinite_components_are_components() -> None:
    """An infinity that was given is sent; only one that narrowing would make is refused."""
    assert list(to_value([np.inf, 1.0]).vector_value.values) == [np.inf, 1.0]


class Series:
    """Stands for the columns of data frames: not a sequence, but an array can be made of it."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
        """Return the array."""
        return np.array([1, 2])


def test_anything_that_numpy_takes_is_a_column() -> None:
    """Objects with __array__ (data frames' columns, tensors) are taken as their array."""
    assert column(Series()) == {"int64s": {"values": ["1", "2"]}}


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_arrive_exactly(values: list[int]) -> None:
    """Every int64 reads as it was given."""
    sent = serving_pb2.ColumnValues.FromString(to_column(values).SerializeToString())
    assert list(sent.int64s.values) == values


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1))
def test_times_arrive_exactly(values: list[datetime]) -> None:
    """Every time that datetime can hold reads as it was given, to the microsecond."""
    found = typed(plain(values))  # type: ignore[arg-type]  # a list stays one
    assert found is not None
    assert [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=m) for m in found.wire.tolist()] == values
