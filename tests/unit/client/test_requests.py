"""Ids of Python and numpy become ids of the contract, or are refused with the join key's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from recsvc.client import ClientError
from recsvc.client.requests import Selection, batch_request, row_request
from recsvc.pb import serving_pb2

RANKING = Selection(service="ranking", features=(), max_staleness=None, event_times=False)


def key_column(ids: Any) -> serving_pb2.KeyColumn:  # noqa: ANN401  # whatever a caller may give
    """What a server reads of the ids of one join key."""
    request = batch_request({"id": ids}, None, RANKING)
    return serving_pb2.GetFeaturesBatchRequest.FromString(request.SerializeToString()).entities["id"]


@pytest.mark.parametrize(
    "ids", [[1, -2], (1, -2), np.array([1, -2]), np.array([1, -2], dtype=object), [np.int64(1), -2]]
)
def test_integers_go_packed(ids: Any) -> None:  # noqa: ANN401  # whatever a caller may give
    """Integers of any kind are Int64Ids."""
    assert list(key_column(ids).int64s.values) == [1, -2]


@pytest.mark.parametrize("ids", [["a", "ü"], np.array(["a", "ü"]), np.array(["a", "ü"], dtype=object)])
def test_strings_stay_strings(ids: Any) -> None:  # noqa: ANN401  # whatever a caller may give
    """Strings of any kind are StringIds, also where they look like numbers."""
    assert list(key_column(ids).strings.values) == ["a", "ü"]
    assert list(key_column("007").strings.values) == ["007"]


def test_a_single_id_is_a_column_of_one() -> None:
    """A scalar stands for all rows: a column of length 1."""
    assert list(key_column(7).int64s.values) == [7]
    assert list(key_column(np.int32(7)).int64s.values) == [7]


def test_no_ids_is_a_request_for_no_rows() -> None:
    """An empty list is sent as an empty column of ids."""
    assert key_column([]).WhichOneof("ids") == "strings"
    assert key_column(np.array([], dtype=np.int64)).WhichOneof("ids") == "int64s"


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([1.0], r"entities\['id'\]: float64 is no id; give str or int"),
        ([True], r"entities\['id'\]: bool is no id"),
        ([1, "a"], r"entities\['id'\]: mixes int64 and string"),
        ([None], r"entities\['id'\]: NoneType is not one of"),
        ([2**63], r"entities\['id'\]: 9223372036854775808 does not fit"),
        (np.eye(2), r"entities\['id'\]: has 2 dimensions"),
        (["\ud800"], r"entities\['id'\]: has a lone surrogate"),
    ],
)
def test_what_is_no_id_is_refused(ids: Any, reason: str) -> None:  # noqa: ANN401  # whatever a caller may give
    """An id is text or an integer, and the error names the join key."""
    with pytest.raises(ClientError, match=reason):
        key_column(ids)


@pytest.mark.parametrize(
    ("entities", "reason"),
    [
        ({"a": True, "b": 1.0}, r"\['a'\]: bool is no id; give a str or an int; entities\['b'\]: float is no id"),
        ({"a": ["1"]}, r"entities\['a'\]: list is no id"),
        ({"a": "\ud800"}, r"entities\['a'\]: has a lone surrogate"),
    ],
)
def test_one_row_takes_one_id_of_each(entities: Mapping[str, Any], reason: str) -> None:
    """A row's id is one str or int; all that are not are listed."""
    with pytest.raises(ClientError, match=reason):
        row_request(entities, None, RANKING)


def test_integers_of_a_row_are_canonical_decimals() -> None:
    """An integer id of any kind is sent as its decimal digits."""
    request = row_request({"a": -7, "b": np.int16(7), "c": "007"}, None, RANKING)
    assert dict(request.entities) == {"a": "-7", "b": "7", "c": "007"}
