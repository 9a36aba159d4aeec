"""What may be wrong with a predicate on a feature: one check, for the filters of placements and of requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from recsvc.registry.conditions import AllOf, AnyOf, IsPresent, IsTrue, NoneOf, Predicate, Range
from recsvc.registry.types import INT64, STRING, FeatureScalar, FeatureType, Kind

PATHS: Final = {AnyOf: "any_of", AllOf: "all_of", NoneOf: "none_of"}
"""How the contract calls the predicates that have values."""
_RANGED: Final = frozenset({Kind.INT64, Kind.FLOAT64, Kind.FLOAT32, Kind.TIMESTAMP})


def element(of: FeatureType) -> FeatureType:
    """Return the type of what is compared with values: of a list its elements, else the type itself."""
    if of.kind is Kind.INT64_LIST:
        return INT64
    return STRING[of.item_bytes] if of.kind is Kind.STRING_LIST else of


def predicate_problems(predicate: Predicate, of: FeatureType, most: int | None = None) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a predicate on a feature of type ``of``, which is no VECTOR: where in it, and what.

    ``most``: how many values are looked at; None: all.
    """
    match predicate:
        case AnyOf(values) | AllOf(values) | NoneOf(values):
            yield from _of_values(values, element(of), PATHS[type(predicate)], most)
        case Range():
            yield from _of_range(predicate, of)
        case IsTrue():
            if of.kind is not Kind.BOOL:
                yield "is_true", f"the feature is {of}; is_true is for BOOL"
        case IsPresent():
            pass


def normalized(predicate: Predicate, of: FeatureType) -> Predicate:
    """Return a predicate without problems with all values as FeatureType.normalize gives them."""
    compared = element(of)
    match predicate:
        case AnyOf(values) | AllOf(values) | NoneOf(values):
            return replace(predicate, values=tuple(_normal(value, compared) for value in values))
        case Range(low, high):
            ends = [None if end is None else _normal(end, compared) for end in (low, high)]
            return replace(predicate, min=ends[0], max=ends[1])
        case _:
            return predicate


def _of_values(
    values: Sequence[FeatureScalar], of: FeatureType, path: str, most: int | None
) -> Iterator[tuple[str, str]]:
    if isinstance(values, str):
        yield path, f"is the string {values!r}, needs a sequence of values"
    elif not values:
        yield path, "has no values, needs at least one"
    else:
        for index, value in enumerate(values[:most]):
            wrong = _wrong(value, of)
            if wrong is not None:
                yield f"{path}[{index}]", wrong


def _of_range(wanted: Range, of: FeatureType) -> Iterator[tuple[str, str]]:
    if of.kind not in _RANGED:
        yield "range", f"the feature is {of}; a range is for numbers and times"
        return
    ends = {name: end for name, end in (("min", wanted.min), ("max", wanted.max)) if end is not None}
    if not ends:
        yield "range", "has no end, needs min or max or both"
    wrong = {name: text for name, end in ends.items() if (text := _wrong(end, of)) is not None}
    for name, text in wrong.items():
        yield f"range.{name}", text
    if len(ends) > 1 and not wrong and _normal(ends["min"], of) > _normal(ends["max"], of):  # type: ignore[operator]  # numbers
        yield "range", f"has min {wanted.min} above max {wanted.max}"


def _wrong(value: FeatureScalar, of: FeatureType) -> str | None:
    """Say why nothing can be compared with ``value``, or None."""
    if value != value:  # noqa: PLR0124  # NaN
        return "NaN equals nothing and lies in no range"
    try:
        of.normalize(value)
    except ValueError as error:
        return str(error)
    return None


def _normal(value: FeatureScalar, of: FeatureType) -> FeatureScalar:
    return of.normalize(value)  # type: ignore[return-value]  # of a scalar type
