"""What is wrong with filters is said, all of it, by path."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, TIMESTAMP, VECTOR
from recsvc.errors import LimitError, RequestError
from recsvc.recommend.filter_checks import MAX_FILTERS, MAX_VALUES, check, checked
from recsvc.registry.conditions import AllOf, AnyOf, Condition, IsPresent, IsTrue, NoneOf, Predicate, Range
from tests.unit.recommend.catalogue_model import CONDITIONS, TYPES

FILTERABLE = {
    "f:bool": BOOL,
    "f:int": INT64,
    "f:float": FLOAT64,
    "f:time": TIMESTAMP,
    "f:text": STRING[4],
    "f:texts": STRING_LIST[3, 4],
    "f:ints": INT64_LIST[3],
    "f:vector": VECTOR[2],
}
NAN = float("nan")
NAIVE = datetime(2020, 1, 1)  # noqa: DTZ001  # without a time zone is what is wrong


def fields(*conditions: Condition) -> list[str]:
    """Return the paths of all that is wrong."""
    with pytest.raises(RequestError) as raised:
        check(conditions, FILTERABLE)
    return [violation.field for violation in raised.value.violations]


@settings(max_examples=40)
@given(st.lists(CONDITIONS, max_size=4))
def test_right_filters_are_not_refused(conditions: list[Condition]) -> None:
    """Filters of the right types pass, and values stay as they are."""
    assert list(checked(conditions, TYPES)) == conditions


@pytest.mark.parametrize(
    ("feature", "predicate", "field"),
    [
        ("f:int", AnyOf(()), "any_of"),
        ("f:int", AllOf(()), "all_of"),
        ("f:int", NoneOf(()), "none_of"),
        ("f:int", AnyOf((1, 2.5)), "any_of[1]"),
        ("f:int", AnyOf((True,)), "any_of[0]"),
        ("f:int", AnyOf((2**63,)), "any_of[0]"),
        ("f:float", NoneOf((1.0, NAN)), "none_of[1]"),
        ("f:bool", AnyOf((1,)), "any_of[0]"),
        ("f:text", AnyOf(("abcd", "abcde")), "any_of[1]"),
        ("f:text", AnyOf(("\ud800",)), "any_of[0]"),
        ("f:text", AnyOf("abc"), "any_of"),
        ("f:texts", AllOf(("abc", 3)), "all_of[1]"),
        ("f:ints", AnyOf(("3",)), "any_of[0]"),
        ("f:time", AnyOf((NAIVE,)), "any_of[0]"),
        ("f:float", Range(), "range"),
        ("f:float", Range(min=2.0, max=1.0), "range"),
        ("f:float", Range(min=NAN, max=1.0), "range.min"),
        ("f:float", Range(max="1"), "range.max"),
        ("f:time", Range(min=datetime(2020, 1, 2, tzinfo=UTC), max=datetime(2020, 1, 1, tzinfo=UTC)), "range"),
        ("f:text", Range(min="a"), "range"),
        ("f:bool", Range(min=False), "range"),
        ("f:ints", Range(min=1), "range"),
        ("f:int", IsTrue(), "is_true"),
    ],
)
def test_each_mistake_is_named_by_its_path(feature: str, predicate: Predicate, field: str) -> None:
    """One wrong thing gives one violation, at its path."""
    assert fields(Condition("f:int", IsPresent()), Condition(feature, predicate)) == [f"filters[1].{field}"]


@pytest.mark.parametrize("feature", ["f:other", "f", "", "f:vector"])
def test_features_that_cannot_be_filtered_by_are_named(feature: str) -> None:
    """What is not declared filterable, and vectors, are refused whatever is asked of them."""
    assert fields(Condition(feature, IsPresent())) == ["filters[0].feature"]


def test_all_mistakes_are_named_at_once() -> None:
    """A caller mends everything after one answer, limits among it."""
    too_many = tuple(range(MAX_VALUES + 1))
    found = fields(
        Condition("f:other", IsTrue()),
        Condition("f:int", AnyOf(("a", 1, NAN))),
        Condition("f:float", Range(min=NAN, max="b")),
        Condition("f:int", NoneOf(too_many)),
    )
    assert found == [
        "filters[3].none_of",
        "filters[0].feature",
        "filters[1].any_of[0]",
        "filters[1].any_of[2]",
        "filters[2].range.min",
        "filters[2].range.max",
    ]


@pytest.mark.parametrize(
    ("conditions", "limit", "actual"),
    [
        ([Condition("f:bool", IsTrue())] * (MAX_FILTERS + 1), "filters", MAX_FILTERS + 1),
        ([Condition("f:int", AnyOf(range(MAX_VALUES + 1)))], "filter_values", MAX_VALUES + 1),
    ],
)
def test_limits_alone_are_a_limit_error(conditions: list[Condition], limit: str, actual: int) -> None:
    """Too much of what is right says which limit it is and how far it is passed."""
    with pytest.raises(LimitError) as raised:
        check(conditions, FILTERABLE)
    assert raised.value.metadata["limit"] == limit
    assert raised.value.metadata["actual"] == str(actual)


def test_as_much_as_is_allowed_is_allowed() -> None:
    """The limits themselves are within the limits."""
    check([Condition("f:int", AnyOf(range(MAX_VALUES)))] * MAX_FILTERS, FILTERABLE)


@pytest.mark.parametrize(
    ("given_predicate", "wanted"),
    [
        (AnyOf([datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]), AnyOf((1_000_000,))),
        (Range(max=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), max_exclusive=True), Range(None, 1_000_000, False, True)),  # noqa: FBT003  # as it stands in the class
    ],
)
def test_values_come_as_masks_want_them(given_predicate: Any, wanted: Any) -> None:  # noqa: ANN401  # a predicate
    """Times become microseconds, ends keep what they exclude."""
    assert checked([Condition("f:time", given_predicate)], FILTERABLE)[0].predicate == wanted


def test_the_path_is_the_callers() -> None:
    """Filters of a placement are named as such."""
    with pytest.raises(RequestError, match=r"placement home: filters\[0\].feature"):
        check([Condition("f:no", IsPresent())], FILTERABLE, "placement home: filters")
