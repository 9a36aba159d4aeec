"""Conditions on items, for placements and requests. Plain data; values are as FeatureType.normalize gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsvc.registry.types import FeatureScalar


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The value is one of ``values``; of a list, an element is."""

    values: Sequence[FeatureScalar]


@dataclass(frozen=True, slots=True)
class AllOf:
    """A list has all of ``values`` as elements; a single value is each of them."""

    values: Sequence[FeatureScalar]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The value is none of ``values``, or there is none; of a list, no element is."""

    values: Sequence[FeatureScalar]


@dataclass(frozen=True, slots=True)
class Range:
    """The number or time lies between ``min`` and ``max``; None: no end there. An exclusive end is outside itself."""

    min: FeatureScalar | None = None
    max: FeatureScalar | None = None
    min_exclusive: bool = False
    max_exclusive: bool = False


@dataclass(frozen=True, slots=True)
class IsTrue:
    """The value is true."""


@dataclass(frozen=True, slots=True)
class IsPresent:
    """There is a value."""


Predicate = AnyOf | AllOf | NoneOf | Range | IsTrue | IsPresent


@dataclass(frozen=True, slots=True)
class Condition:
    """``predicate`` holds for the item's ``feature``, a reference (``view:feature``).

    An item that lacks the value passes only NoneOf.
    """

    feature: str
    predicate: Predicate
