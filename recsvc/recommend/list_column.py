"""A list feature of all items: all elements one after another, and where they are few kinds, a set of bits per item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.dictionary import Codes, Mask
from recsvc.recommend.item_column import ItemColumn, Test, never
from recsvc.registry.types import FeatureScalar, FeatureType


@dataclass(frozen=True, slots=True, eq=False)
class ListColumn:
    """INT64_LIST or STRING_LIST.

    The codes of an item's elements are ``elements[start : start + length]``; ``owners`` has the item of each element.
    Elements of lists that were replaced stay behind with code 0. ``bits``: which codes an item has (code 1 is the
    lowest bit), while there are at most 64; 1 M items are then matched in half the time, or less.
    """

    type: FeatureType
    has_value: Mask
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    elements: npt.NDArray[Any]
    owners: npt.NDArray[np.int64]
    bits: npt.NDArray[Any] | None
    dictionary: Codes

    def __repr__(self) -> str:
        return (
            f"ListColumn({len(self)} × {self.type}, {len(self.elements)} elements, {self.dictionary.count - 1} values)"
        )

    def __len__(self) -> int:
        return len(self.has_value)

    def present(self) -> Test:
        """See ItemColumn."""
        return self.has_value.__getitem__

    def any_of(self, wanted: Sequence[FeatureScalar]) -> Test:
        """See ItemColumn."""
        codes = self.dictionary.known(wanted)
        if self.bits is not None:
            return _some(self.bits, _bits(codes, self.bits.dtype))
        hit = np.zeros(len(self), np.bool_)
        hit[self.owners[self._matched(codes)]] = True
        return hit.__getitem__

    def all_of(self, wanted: Sequence[FeatureScalar]) -> Test:
        """See ItemColumn."""
        codes = self.dictionary.known(wanted)
        if len(codes) < len(set(wanted)):  # one that no item has
            return never
        if self.bits is not None:
            return _every(self.bits, _bits(codes, self.bits.dtype))
        matched = self._matched(codes)
        pairs = np.unique(self.owners[matched] * self.dictionary.count + self.elements[matched])
        hit: Mask = np.bincount(pairs // self.dictionary.count, minlength=len(self)) == len(codes)
        return hit.__getitem__

    def value(self, place: int) -> tuple[Any, ...] | None:
        """See ItemColumn."""
        if not self.has_value[place]:
            return None
        start = int(self.starts[place])
        return tuple(map(self.dictionary.value, self.elements[start : start + int(self.lengths[place])].tolist()))

    def same(self, other: ItemColumn) -> bool:
        """Say whether another column is of the same arrays; where it is not, it may be equal all the same."""
        if not isinstance(other, ListColumn):
            return False
        return other.elements is self.elements and other.starts is self.starts and other.lengths is self.lengths

    def first_codes(self, places: Places) -> npt.NDArray[np.int64]:
        """Return the code of each item's first element; 0 where it has none."""
        first = np.zeros(len(places), np.int64)
        some = np.flatnonzero(self.lengths[places])
        first[some] = self.elements[self.starts[places[some]]]
        return first

    def _matched(self, codes: list[int]) -> npt.NDArray[np.intp]:
        """Return which elements have one of these codes."""
        return np.flatnonzero(self.dictionary.matcher(codes)(self.elements))


def _some(bits: npt.NDArray[Any], wanted: Any) -> Test:  # noqa: ANN401  # a number of numpy's
    def test(block: slice) -> Mask:
        hit: Mask = (bits[block] & wanted) != 0
        return hit

    return test


def _every(bits: npt.NDArray[Any], wanted: Any) -> Test:  # noqa: ANN401  # a number of numpy's
    def test(block: slice) -> Mask:
        hit: Mask = (bits[block] & wanted) == wanted
        return hit

    return test


def _bits(codes: Sequence[int], dtype: np.dtype[Any]) -> Any:  # noqa: ANN401  # a number of numpy's
    return dtype.type(sum(1 << (code - 1) for code in codes))
