"""One feature of all items of a catalogue, as a column that filters are answered from without a loop over items.

A predicate becomes a ``Test``, which is asked block by block, so that what lies between is in the processor's cache.
Columns are read-only; so are the masks that tests give, which may be columns' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.dictionary import FEW, NO_CODE, Codes, Mask, equal_any
from recsvc.registry.conditions import Range
from recsvc.registry.types import FeatureScalar, FeatureType

Test = Callable[[slice], Mask]
"""Says of each item of a block of places whether a predicate holds."""


class ItemColumn(Protocol):
    """What all columns can; a place is the index of an item. Wanted values are as FeatureType.normalize gives them."""

    @property
    def type(self) -> FeatureType:
        """The feature's type."""
        ...

    def __len__(self) -> int: ...

    def present(self) -> Test:
        """Test whether an item has a value (an empty list and NaN are values)."""
        ...

    def any_of(self, wanted: Sequence[FeatureScalar]) -> Test:
        """Test whether an item's value (of a list: an element) is one of ``wanted``."""
        ...

    def all_of(self, wanted: Sequence[FeatureScalar]) -> Test:
        """Test whether an item's value is each of ``wanted`` (of a list: whether it has all of them)."""
        ...

    def value(self, place: int) -> Any:  # noqa: ANN401  # of the column's type
        """Return one item's value, as FeatureType.normalize gives it, or None."""
        ...


def never(block: slice) -> Mask:
    """Test what holds for no item."""
    return np.zeros(block.stop - block.start, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class NumberColumn:
    """INT64, FLOAT64, FLOAT32, BOOL or TIMESTAMP (µs): ``values`` has 0 where there is no value.

    Integers are as wide as the widest needs. Wanted values and ends of ranges are rounded to float32 where the column
    is, so that what was written is found.
    """

    type: FeatureType
    values: npt.NDArray[Any]
    has_value: Mask

    def __repr__(self) -> str:
        return f"NumberColumn({len(self)} × {self.type})"

    def __len__(self) -> int:
        return len(self.values)

    def present(self) -> Test:
        """See ItemColumn."""
        return self.has_value.__getitem__

    def any_of(self, wanted: Sequence[FeatureScalar]) -> Test:
        """See ItemColumn; NaN equals nothing."""
        sought = np.unique(np.array([v for v in wanted if self._fits(v)], self.values.dtype))
        return self._few(sought) if len(sought) <= FEW else self._many(sought)

    def all_of(self, wanted: Sequence[FeatureScalar]) -> Test:
        """See ItemColumn."""
        return self.any_of(wanted) if len({self._rounded(v) for v in wanted}) == 1 else never

    def within(self, wanted: Range) -> Test:
        """Test whether an item's value lies in the range; NaN lies in none."""
        low, high = self._rounded(wanted.min), self._rounded(wanted.max)
        above = np.greater if wanted.min_exclusive else np.greater_equal
        below = np.less if wanted.max_exclusive else np.less_equal

        def test(block: slice) -> Mask:
            values, hit = self.values[block], self.has_value[block]
            if low is not None:
                hit = hit & above(values, low)
            if high is not None:
                hit = hit & below(values, high)
            return hit

        return test

    def true(self) -> Test:
        """Test whether an item's value is true; for BOOL."""
        return self.values.__getitem__

    def value(self, place: int) -> Any:  # noqa: ANN401  # int, float or bool
        """See ItemColumn."""
        return self.values[place].item() if self.has_value[place] else None

    def _few(self, sought: npt.NDArray[Any]) -> Test:
        def test(block: slice) -> Mask:
            hit = equal_any(self.values[block], sought)
            return np.logical_and(hit, self.has_value[block], out=hit)

        return test

    def _many(self, sought: npt.NDArray[Any]) -> Test:
        def test(block: slice) -> Mask:
            values = self.values[block]
            at = np.minimum(np.searchsorted(sought, values), len(sought) - 1)
            hit: Mask = (sought[at] == values) & self.has_value[block]
            return hit

        return test

    def _fits(self, wanted: FeatureScalar) -> bool:
        """Say whether an item of the column can have the value; an integer may be too wide for all of them."""
        if not np.issubdtype(self.values.dtype, np.signedinteger):
            return True
        limits = np.iinfo(self.values.dtype)
        return isinstance(wanted, int) and limits.min <= wanted <= limits.max

    def _rounded(self, wanted: FeatureScalar | None) -> Any:  # noqa: ANN401  # a number, of Python's or of numpy's
        """Return a wanted value as the column would have it; integers as they are, for they may not fit."""
        return np.float32(wanted) if wanted is not None and self.values.dtype == np.float32 else wanted  # type: ignore[arg-type]  # a number


@dataclass(frozen=True, slots=True, eq=False)
class StringColumn:
    """STRING, as a code for each item."""

    type: FeatureType
    codes: npt.NDArray[Any]
    dictionary: Codes

    def __repr__(self) -> str:
        return f"StringColumn({len(self)} × {self.type}, {self.dictionary.count - 1} values)"

    def __len__(self) -> int:
        return len(self.codes)

    def present(self) -> Test:
        """See ItemColumn."""

        def test(block: slice) -> Mask:
            there: Mask = self.codes[block] != NO_CODE
            return there

        return test

    def any_of(self, wanted: Sequence[FeatureScalar]) -> Test:
        """See ItemColumn."""
        match = self.dictionary.matcher(self.dictionary.known(wanted))
        return lambda block: match(self.codes[block])

    def all_of(self, wanted: Sequence[FeatureScalar]) -> Test:
        """See ItemColumn."""
        return self.any_of(wanted) if len(set(wanted)) == 1 else never

    def value(self, place: int) -> Any:  # noqa: ANN401  # str or None
        """See ItemColumn."""
        return self.dictionary.value(int(self.codes[place]))

    def same(self, other: ItemColumn) -> bool:
        """Say whether another column is of the same arrays; where it is not, it may be equal all the same."""
        return isinstance(other, StringColumn) and other.codes is self.codes

    def first_codes(self, places: Places) -> npt.NDArray[np.int64]:
        """Return the code of each item's value; 0 where it has none."""
        return self.codes[places].astype(np.int64)
