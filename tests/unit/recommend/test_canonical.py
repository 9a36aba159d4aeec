"""Canonical bytes: equal for equal values, different for different ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.canonical import canonical
from recsvc.registry.conditions import AllOf, AnyOf, Condition, Range

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from(["1,", "s1:a", "", ":", "1", "\ud800"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def typed(value: Any) -> Any:  # noqa: ANN401  # any value
    """Return a value that equals another's only where type and value are the same, unlike 1, True and 1.0."""
    if isinstance(value, list):
        return [typed(v) for v in value]
    if isinstance(value, dict):
        return {k: typed(v) for k, v in value.items()}
    return type(value), repr(value)


@given(values, values)
def test_bytes_are_equal_exactly_where_values_are(one: object, other: object) -> None:
    """No two values share their bytes."""
    assert (canonical(one) == canonical(other)) == (typed(one) == typed(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([[1], 2], [[1, 2]]),
        ([["a"], "b"], [["a", "b"]]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}, "c": 2}),
        ([{1}, 2], [{1, 2}]),
        (["ab", "c"], ["a", "bc"]),
        ([[], []], [[[]]]),
    ],
)
def test_nesting_counts(one: object, other: object) -> None:
    """The same values in other brackets are another value."""
    assert canonical(one) != canonical(other)


@given(st.lists(scalars, max_size=5), st.lists(scalars, max_size=5))
def test_lists_do_not_run_into_each_other(one: list[object], other: list[object]) -> None:
    """Where a value ends is told by its bytes alone."""
    assert (canonical([one, other]) == canonical([[], one + other])) == (one == [])


@given(st.dictionaries(st.text(max_size=3), scalars, max_size=5), st.randoms())
def test_the_order_of_mappings_and_sets_does_not_count(entries: dict[str, object], random: Any) -> None:  # noqa: ANN401
    """They have none."""
    shuffled = list(entries.items())
    random.shuffle(shuffled)
    assert canonical(entries) == canonical(dict(shuffled))
    assert canonical(set(entries)) == canonical({k for k, _ in shuffled})


def test_conditions_are_told_apart() -> None:
    """The kind of a predicate, its values and its feature all count."""
    conditions = [
        Condition("item:genre", AnyOf(["Comedy"])),
        Condition("item:genre", AllOf(["Comedy"])),
        Condition("item:genre", AnyOf(["Comedy", "Drama"])),
        Condition("item:mood", AnyOf(["Comedy"])),
        Condition("item:year", Range(min=1990)),
        Condition("item:year", Range(max=1990)),
        Condition("item:year", Range(min=1990.0)),
    ]
    assert len({canonical(c) for c in conditions}) == len(conditions)
    assert canonical(conditions) == canonical(tuple(conditions))


def test_every_nan_is_the_same() -> None:
    """A NaN in the context does not change from page to page."""
    assert canonical(math.nan) == canonical(-math.nan) == canonical(float("nan"))


@pytest.mark.parametrize("value", [np.zeros(3), np.int64(3), object(), AnyOf, [1, iter(())]])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    """Better no digest than one that is not the same everywhere."""
    with pytest.raises(TypeError, match="no canonical bytes"):
        canonical(value)
