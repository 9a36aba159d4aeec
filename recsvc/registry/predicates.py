"""What may be wrong with a predicate on a feature: one check, for the filters of placements and of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Final

from recsvc.registry.conditions import AllOf, AnyOf, IsTrue, NoneOf, Predicate, Range
from recsvc.registry.ids import is_utf8
from recsvc.registry.types import FLOAT32_MAX, INT64, INT64_MAX, INT64_MIN, STRING, FeatureScalar, FeatureType, Kind

PATHS: Final[Mapping[type[AnyOf | AllOf | NoneOf], str]] = {AnyOf: "any_of", AllOf: "all_of", NoneOf: "none_of"}
"""How the contract calls the predicates that have values."""
_RANGED: Final = frozenset({Kind.INT64, Kind.FLOAT64, Kind.FLOAT32, Kind.TIMESTAMP})


def element(of: FeatureType) -> FeatureType:
    """Return the type of what is compared with values: of a list its elements, else the type itself."""
    if of.kind is Kind.INT64_LIST:
        return INT64
    return STRING[of.item_bytes] if of.kind is Kind.STRING_LIST else of


def predicate_problems(predicate: Predicate, of: FeatureType) -> list[tuple[str, str]]:
    """Return what is wrong with a predicate on a feature of type ``of``, which is no VECTOR: where in it, and what."""
    return judged(predicate, of)[1]


def normalized(predicate: Predicate, of: FeatureType) -> Predicate:
    """Return a predicate without problems with all values as FeatureType.normalize gives them."""
    return judged(predicate, of)[0]


def judged(predicate: Predicate, of: FeatureType) -> tuple[Predicate, list[tuple[str, str]]]:
    """Return what ``normalized`` and ``predicate_problems`` do, by one look at each value."""
    match predicate:
        case AnyOf(values) | AllOf(values) | NoneOf(values):
            normal, wrong = _values(values, element(of), PATHS[type(predicate)])
            return replace(predicate, values=normal), wrong
        case Range():
            return _range(predicate, of)
        case IsTrue() if of.kind is not Kind.BOOL:
            return predicate, [("is_true", f"the feature is {of}; is_true is for BOOL")]
        case _:
            return predicate, []


def _values(
    values: Sequence[FeatureScalar], of: FeatureType, path: str
) -> tuple[Sequence[FeatureScalar], list[tuple[str, str]]]:
    if isinstance(values, str):
        return values, [(path, f"is the string {values!r}, needs a sequence of values")]
    if not values:
        return values, [(path, "has no values, needs at least one")]
    if _all_normal(values, of):
        return tuple(values), []
    found = [_value(value, of) for value in values]
    wrong = [(f"{path}[{index}]", text) for index, (_, text) in enumerate(found) if text is not None]
    return tuple(value for value, _ in found), wrong


def _range(wanted: Range, of: FeatureType) -> tuple[Range, list[tuple[str, str]]]:
    if of.kind not in _RANGED:
        return wanted, [("range", f"the feature is {of}; a range is for numbers and times")]
    low, high = (None if end is None else _value(end, of) for end in (wanted.min, wanted.max))
    ends = {name: found for name, found in (("min", low), ("max", high)) if found is not None}
    wrong = [(f"range.{name}", text) for name, (_, text) in ends.items() if text is not None]
    if not ends:
        wrong = [("range", "has no end, needs min or max or both")]
    if wrong:
        return wanted, wrong
    normal = replace(wanted, min=None if low is None else low[0], max=None if high is None else high[0])
    if len(ends) > 1 and normal.min > normal.max:  # type: ignore[operator]  # numbers
        return wanted, [("range", f"has min {wanted.min} above max {wanted.max}")]
    return normal, []


def _value(value: FeatureScalar, of: FeatureType) -> tuple[FeatureScalar, str | None]:
    """Return a value as FeatureType.normalize gives it, and why nothing can be compared with it, or None."""
    if value != value:  # noqa: PLR0124  # NaN
        return value, "NaN equals nothing and lies in no range"
    try:
        return of.normalize(value), None  # type: ignore[return-value]  # of a scalar type
    except ValueError as error:
        return value, str(error)


def _all_normal(values: Sequence[Any], of: FeatureType) -> bool:
    """Say whether all are as FeatureType.normalize gives them, as a few looks at all together find.

    False: look at each. A request may have 32,000 values, which one by one take 0.1 s.
    """
    kinds = set(map(type, values))
    match of.kind:
        case Kind.STRING:
            return kinds == {str} and _all_fit(values, of.bound)
        case Kind.INT64 | Kind.TIMESTAMP:
            return kinds == {int} and min(values) > INT64_MIN and max(values) <= INT64_MAX
        case Kind.FLOAT64 | Kind.FLOAT32:
            return kinds == {float} and all(map(isfinite, values)) and max(map(abs, values)) <= FLOAT32_MAX
        case _:
            return False


def _all_fit(texts: Sequence[str], max_bytes: int) -> bool:
    joined, longest = "".join(texts), max(map(len, texts))
    return longest <= max_bytes if joined.isascii() else 4 * longest <= max_bytes and is_utf8(joined)
