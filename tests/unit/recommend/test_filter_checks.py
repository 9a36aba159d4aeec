"""What is wrong with filters is said, all of it, by path."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT32, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, TIMESTAMP, VECTOR
from recsvc.errors import RequestError
from recsvc.recommend.filter_checks import checked
from recsvc.registry.conditions import AllOf, AnyOf, Condition, IsPresent, IsTrue, NoneOf, Predicate, Range
from recsvc.registry.predicates import judged
from recsvc.registry.types import FeatureType
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
        checked(conditions, FILTERABLE)
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
    """A caller mends everything after one answer."""
    found = fields(
        Condition("f:other", IsTrue()),
        Condition("f:int", AnyOf(("a", 1, NAN))),
        Condition("f:float", Range(min=NAN, max="b")),
    )
    assert found == [
        "filters[0].feature",
        "filters[1].any_of[0]",
        "filters[1].any_of[2]",
        "filters[2].range.min",
        "filters[2].range.max",
    ]


VALUES = st.one_of(
    st.integers(-(2**63) - 1, 2**63),
    st.integers(-2, 2),
    st.floats(),
    st.floats(-2.0, 2.0),
    st.booleans(),
    st.text(max_size=5),
    st.text("abc", max_size=4),
    st.sampled_from(["\ud800", "ä", "äöü", "a\x80"]),
)
SCALARS = [BOOL, INT64, FLOAT32, FLOAT64, TIMESTAMP, STRING[4], STRING[16]]


@settings(max_examples=400)
@given(st.sampled_from(SCALARS), st.lists(VALUES, min_size=1, max_size=4) | st.lists(st.text(max_size=4), min_size=1))
def test_many_values_are_judged_as_each_is(of: FeatureType, values: list[Any]) -> None:
    """A look at all values together finds what a look at each of them finds, and makes the same of them."""
    one_by_one = [judged(AnyOf([value]), of) for value in values]
    alone = [(f"any_of[{i}]", what) for i, (_, wrong) in enumerate(one_by_one) for _, what in wrong]
    predicate, wrong = judged(AnyOf(values), of)
    assert wrong == alone
    for value, what in zip(values, one_by_one, strict=True):
        assert bool(what[1]) == (isnan(value) or not fits(of, value))
    if not wrong:
        normal = tuple(of.normalize(value) for value in values)
        assert predicate == AnyOf(normal)  # type: ignore[arg-type]  # of a scalar type
        assert repr(predicate) == repr(AnyOf(normal))  # type: ignore[arg-type]  # also of the same types


def isnan(value: object) -> bool:
    """Say whether a value is NaN."""
    return value != value  # noqa: PLR0124


def fits(of: FeatureType, value: object) -> bool:
    """Say whether a type takes a value."""
    try:
        of.normalize(value)
    except ValueError:
        return False
    return True


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
        checked([Condition("f:no", IsPresent())], FILTERABLE, "placement home: filters")
