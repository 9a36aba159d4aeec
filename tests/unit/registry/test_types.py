"""Types: what they take, how they are shown, and how much of a reply a value can be."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from recsvc import BOOL, FLOAT32, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, TIMESTAMP, VECTOR
from recsvc.registry.types import FLOAT32_MAX, INT64_MAX, INT64_MIN, MAX_BOUND, FeatureType, Kind

CET = timezone(timedelta(hours=1))
RIGHT: list[tuple[FeatureType, object, object]] = [
    (INT64, INT64_MIN, INT64_MIN),
    (INT64, INT64_MAX, INT64_MAX),
    (FLOAT64, 1, 1.0),
    (FLOAT64, math.inf, math.inf),
    (FLOAT32, -FLOAT32_MAX, -FLOAT32_MAX),
    (FLOAT32, -math.inf, -math.inf),
    (FLOAT32, 3, 3.0),
    (BOOL, False, False),
    (STRING, "", ""),
    (STRING[4], "\U0001f600", "\U0001f600"),
    (TIMESTAMP, datetime(1970, 1, 1, tzinfo=UTC), 0),
    (TIMESTAMP, datetime(1970, 1, 1, 1, 0, 0, 7, CET), 7),
    (TIMESTAMP, datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), -1),
    (TIMESTAMP, 5, 5),
    (VECTOR[2], [1, 2.5], (1.0, 2.5)),
    (INT64_LIST[2], (), ()),
    (INT64_LIST[2], [3, 4], (3, 4)),
    (STRING_LIST[2, 3], ["", "abc"], ("", "abc")),
]


@pytest.mark.parametrize(("of", "value", "kept"), RIGHT, ids=repr)
def test_a_right_value_is_kept_in_one_form(of: FeatureType, value: object, kept: object) -> None:
    """Sequences become tuples, times become microseconds, numbers become the type's own."""
    normal = of.normalize(value)
    assert normal == kept
    assert type(normal) is type(kept)


WRONG: list[tuple[FeatureType, object, str]] = [
    (INT64, INT64_MAX + 1, "is not an integer of 64 bits"),
    (INT64, 1.0, "1.0 is not an integer of 64 bits"),
    (INT64, True, "True is a bool, not INT64"),
    (INT64, "1", "'1' is not an integer"),
    (FLOAT64, "x", "'x' is not a number"),
    (FLOAT64, True, "True is a bool, not FLOAT64"),
    (FLOAT64, 10**400, "is not a number"),
    (FLOAT32, 10**400, "is not a number that fits 32 bits"),
    (FLOAT32, 1e39, "is not a number that fits 32 bits"),
    (BOOL, 1, "1 is not True or False"),
    (STRING, 5, "5 is not a string"),
    (STRING, b"a", "b'a' is not a string"),
    (STRING[3], "abcd", "has 4 bytes, more than the bound 3"),
    (STRING[3], "\U0001f600", "has 4 bytes, more than the bound 3"),
    (STRING, "\ud800", "cannot be written as UTF-8"),
    (TIMESTAMP, datetime(1970, 1, 1), "a datetime with a time zone"),  # noqa: DTZ001  # that is the mistake
    (TIMESTAMP, INT64_MIN, "a datetime with a time zone"),
    (VECTOR[2], [1.0], "has 1 components, must have 2"),
    (VECTOR[2], [1.0, 2.0, 3.0], "has 3 components, must have 2"),
    (VECTOR[2], [1.0, "x"], "'x' is not a number"),
    (VECTOR[2], [1.0, 1e39], "is not a number that fits 32 bits"),
    (VECTOR[2], "ab", "'ab' is not a sequence of 2 numbers"),
    (VECTOR[2], 5, "5 is not a sequence of 2 numbers"),
    (INT64_LIST[2], [1, 2, 3], "has 3 items, more than the bound 2"),
    (INT64_LIST[2], [1.5], "1.5 is not an integer"),
    (INT64_LIST[2], {1}, "is not a sequence of at most 2 items"),
    (STRING_LIST[2, 3], "ab", "is not a sequence of at most 2 items"),
    (STRING_LIST[2, 3], ["abcd"], "has 4 bytes, more than the bound 3"),
    (STRING_LIST[2, 3], [None], "None is not a string"),
]


@pytest.mark.parametrize(("of", "value", "words"), WRONG, ids=lambda v: str(v)[:30])
def test_a_wrong_value_says_what_would_be_right(of: FeatureType, value: object, words: str) -> None:
    """Nothing is converted that could be a mistake, and nothing but ValueError is raised."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the words are compared below
        of.normalize(value)
    assert words in str(caught.value)


def test_nan_is_a_number() -> None:
    """NaN is a value of both float types."""
    for of in (FLOAT64, FLOAT32):
        normal = of.normalize(math.nan)
        assert isinstance(normal, float)
        assert math.isnan(normal)


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (VECTOR, "VECTOR needs a bound from 1 to 65536, such as VECTOR[64]"),
        (VECTOR[0], "VECTOR needs a bound"),
        (VECTOR[-1], "VECTOR needs a bound"),
        (VECTOR[MAX_BOUND + 1], "VECTOR needs a bound"),
        (VECTOR[True], "VECTOR needs a bound"),
        (VECTOR[2.0], "VECTOR needs a bound"),  # type: ignore[index]  # that is the mistake
        (VECTOR[2, 3], "VECTOR takes one bound, such as VECTOR[64]"),
        (INT64_LIST, "INT64_LIST needs a bound"),
        (STRING[0], "STRING needs a bound"),
        (STRING_LIST, "STRING_LIST needs two bounds from 1 to 65536, such as STRING_LIST[50, 64]"),
        (STRING_LIST[5, 0], "STRING_LIST needs two bounds"),
        (INT64[5], "INT64 takes no bound"),
        (BOOL[5], "BOOL takes no bound"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_a_wrong_type_says_what_would_be_right(of: FeatureType, words: str) -> None:
    """A missing or impossible bound is told with an example."""
    problem = of.problem()
    assert problem is not None
    assert words in problem


@pytest.mark.parametrize(
    ("of", "shown", "layout", "size"),
    [
        (INT64, "INT64", "INT64", 8),
        (FLOAT64, "FLOAT64", "FLOAT64", 8),
        (FLOAT32, "FLOAT32", "FLOAT32", 4),
        (BOOL, "BOOL", "BOOL", 1),
        (TIMESTAMP, "TIMESTAMP", "TIMESTAMP", 8),
        (STRING[32], "STRING[32]", "STRING", 36),
        (VECTOR[64], "VECTOR[64]", "VECTOR[64]", 256),
        (INT64_LIST[50], "INT64_LIST[50]", "INT64_LIST", 404),
        (STRING_LIST[50, 20], "STRING_LIST[50, 20]", "STRING_LIST", 1204),
        (STRING_LIST[50], "STRING_LIST[50, 64]", "STRING_LIST", 3404),
    ],
)
def test_a_type_is_shown_as_it_is_written(of: FeatureType, shown: str, layout: str, size: int) -> None:
    """The text is that of the definition; the layout has what decides bytes; the size is the most in a reply."""
    assert (str(of), of.layout, of.max_reply_bytes, of.problem()) == (shown, layout, size, None)


def test_each_kind_has_a_type() -> None:
    """No kind is left without a name to write definitions with."""
    named = {t.kind for t in (INT64, FLOAT64, FLOAT32, BOOL, STRING, TIMESTAMP, VECTOR, INT64_LIST, STRING_LIST)}
    assert named == set(Kind)
