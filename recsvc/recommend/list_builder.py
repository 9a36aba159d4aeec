"""Builds the columns of lists of a catalogue, change by change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc.recommend.column_builder import SPARE, Values, only_used
from recsvc.recommend.copy_on_write import CopyOnWrite, Places
from recsvc.recommend.dictionary import NO_CODE, Dictionary, Mask, bits_type, code_type
from recsvc.recommend.list_column import ListColumn
from recsvc.registry.types import FeatureType


class ListBuilder:
    """Builds a ListColumn: a list that changes is appended, and the elements that it had get code 0."""

    __slots__ = (
        "_bits",
        "_dictionary",
        "_elements",
        "_has_value",
        "_lengths",
        "_owners",
        "_spare",
        "_starts",
        "_type",
        "_unused",
    )

    def __init__(self, of: FeatureType, spare: int = SPARE) -> None:
        """``spare``: how many elements of replaced lists are kept, beside as many as are in use."""
        self._type = of
        self._spare = spare
        self._has_value = CopyOnWrite(np.bool_, empty=False)
        self._starts = CopyOnWrite(np.int64, 0)
        self._lengths = CopyOnWrite(np.int32, 0)
        self._elements = CopyOnWrite(np.uint8, NO_CODE)
        self._owners = CopyOnWrite(np.int64, 0)
        self._bits: CopyOnWrite | None = CopyOnWrite(np.uint8, 0)
        self._dictionary = Dictionary()
        self._unused = 0

    def __repr__(self) -> str:
        return (
            f"ListBuilder({len(self._lengths)} × {self._type}, "
            f"{len(self._elements)} elements, {self._unused} unused, {self._dictionary!r})"
        )

    def resize(self, size: int) -> None:
        """See ColumnBuilder."""
        for column in (self._has_value, self._starts, self._lengths):
            column.resize(size)
        if self._bits is not None:
            self._bits.resize(size)

    def write(self, places: Places, values: Values, has_value: Mask) -> None:
        """See ColumnBuilder."""
        rows = [_plain(values[i]) if there else () for i, there in enumerate(has_value.tolist())]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        codes = np.array(self._dictionary.encode(chain.from_iterable(rows)), np.int64)
        self._fit()
        self._has_value.write(places, has_value)
        changed = self._changed(places, codes, lengths)
        if changed.any():
            self._put(places[changed], codes[np.repeat(changed, lengths)], lengths[changed])

    def keep(self, places: Places) -> None:
        """See ColumnBuilder."""
        for column in (self._has_value, self._starts, self._lengths):
            column.replace(column.read(places))
        if self._bits is not None:
            self._bits.replace(self._bits.read(places))
        self._pack()

    def freeze(self) -> ListColumn:
        """See ColumnBuilder."""
        if 2 * self._unused > len(self._elements) + self._spare:
            self._pack()
        return ListColumn(
            self._type,
            self._has_value.view(),
            self._starts.view(),
            self._lengths.view(),
            self._elements.view(),
            self._owners.view(),
            None if self._bits is None else self._bits.view(),
            self._dictionary.seen(),
        )

    def _fit(self) -> None:
        """Make room for codes that came new."""
        self._elements.widen(code_type(len(self._dictionary.values)))
        if self._bits is not None:
            dtype = bits_type(len(self._dictionary.codes))
            if dtype is None:
                self._bits = None
            else:
                self._bits.widen(dtype)

    def _changed(self, places: Places, codes: Places, lengths: Places) -> Mask:
        """Say which of the rows (their codes, one after another) are not what their items have already."""
        changed: Mask = self._lengths.read(places) != lengths
        there = self._elements.read(ranges(self._starts.read(places[~changed]), lengths[~changed]))
        of = np.repeat(np.arange(len(places)), lengths)
        compared = ~changed[of]
        changed[of[compared][there != codes[compared]]] = True
        return changed

    def _put(self, places: Places, codes: Places, lengths: Places) -> None:
        """Give some items other elements."""
        self._drop(ranges(self._starts.read(places), self._lengths.read(places)))
        start = self._elements.append(codes.astype(self._elements.dtype))
        self._owners.append(np.repeat(places, lengths))
        self._starts.write(places, start + np.cumsum(lengths) - lengths)
        self._lengths.write(places, lengths.astype(np.int32))
        if self._bits is not None:
            rows = np.repeat(np.arange(len(places)), lengths)
            self._bits.write(places, bit_sets(len(places), rows, codes, self._bits.dtype.type))

    def _drop(self, elements: Places) -> None:
        """Let elements belong to no item."""
        if len(elements):
            self._elements.write(elements, np.zeros(len(elements), self._elements.dtype))
            self._unused += len(elements)

    def _pack(self) -> None:
        """Leave out what belongs to no item: elements, and values of the dictionary."""
        lengths = self._lengths.view()
        elements = self._elements.read(ranges(self._starts.view(), lengths))
        self._dictionary, elements = only_used(self._dictionary, elements)
        self._elements.replace(elements)
        self._owners.replace(np.repeat(np.arange(len(lengths)), lengths))
        self._starts.replace(np.cumsum(lengths, dtype=np.int64) - lengths)
        self._unused = 0
        self._bits = self._packed_bits()

    def _packed_bits(self) -> CopyOnWrite | None:
        """Return the bits of all items anew, for codes were renamed."""
        dtype = bits_type(len(self._dictionary.codes))
        if dtype is None:
            return None
        bits = CopyOnWrite(dtype, 0)
        bits.replace(bit_sets(len(self._lengths), self._owners.view(), self._elements.view(), dtype))
        return bits


def bit_sets(n: int, rows: npt.NDArray[Any], codes: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:  # noqa: ANN401  # a type of numpy's
    """Return n sets of codes: row ``rows[i]`` has ``codes[i]``, code 1 as the lowest bit."""
    sets = np.zeros(n, dtype)
    np.bitwise_or.at(sets, rows, dtype(1) << (codes.astype(dtype) - dtype(1)))
    return sets


def ranges(starts: npt.NDArray[np.int64], lengths: npt.NDArray[Any]) -> Places:
    """Return start, start + 1, … of each of some ranges, one after another."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    places: Places = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return places


def _plain(row: npt.NDArray[np.int64] | Sequence[Any]) -> Sequence[Any]:
    """Return the elements as Python has them."""
    return row.tolist() if isinstance(row, np.ndarray) else row
