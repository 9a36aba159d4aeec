"""Builds the columns of numbers and strings of a catalogue, change by change; lists are in list_builder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from recsvc.recommend.copy_on_write import CopyOnWrite, Places
from recsvc.recommend.dictionary import NO_CODE, Dictionary, Mask, code_type
from recsvc.recommend.item_column import ItemColumn, NumberColumn, StringColumn
from recsvc.registry.types import FeatureType, Kind

Values = Sequence[Any] | npt.NDArray[Any]
"""Values of a feature as recsvc.online.answer.Column has them; anything where there is none."""
DTYPES: Final = {
    Kind.INT64: np.int64,
    Kind.TIMESTAMP: np.int64,
    Kind.FLOAT64: np.float64,
    Kind.FLOAT32: np.float32,
    Kind.BOOL: np.bool_,
}
SPARE: Final = 1_024
"""How much that no item needs any more a column or a catalogue may keep, beside as much as is needed."""


class ColumnBuilder(Protocol):
    """What builds one column; ``places`` are distinct and below the last ``resize``."""

    def resize(self, size: int) -> None:
        """Append items without a value."""
        ...

    def write(self, places: Places, values: Values, has_value: Mask) -> None:
        """Set the values of some items; where ``has_value`` is false they have none from now on."""
        ...

    def keep(self, places: Places) -> None:
        """Leave out all items but these, which get the places 0, 1, …; forget values that none of them has."""
        ...

    def freeze(self) -> ItemColumn:
        """Return the column as it is now; later changes do not reach it."""
        ...


class NumberBuilder:
    """Builds a NumberColumn."""

    __slots__ = ("_has_value", "_type", "_values")

    def __init__(self, of: FeatureType) -> None:
        self._type = of
        self._values = CopyOnWrite(np.int8 if of.kind is Kind.INT64 else DTYPES[of.kind], 0)
        self._has_value = CopyOnWrite(np.bool_, empty=False)

    def __repr__(self) -> str:
        return f"NumberBuilder({len(self._values)} × {self._type})"

    def resize(self, size: int) -> None:
        """See ColumnBuilder."""
        self._values.resize(size)
        self._has_value.resize(size)

    def write(self, places: Places, values: Values, has_value: Mask) -> None:
        """See ColumnBuilder."""
        array: npt.NDArray[Any] = np.zeros(len(places), DTYPES[self._type.kind])
        array[has_value] = np.asarray(values)[has_value]
        if self._type.kind is Kind.INT64:
            self._values.widen(np.promote_types(self._values.dtype, integer_type(array)))
        self._values.write(places, array.astype(self._values.dtype, copy=False))
        self._has_value.write(places, has_value)

    def keep(self, places: Places) -> None:
        """See ColumnBuilder."""
        self._values.replace(self._values.read(places))
        self._has_value.replace(self._has_value.read(places))

    def freeze(self) -> NumberColumn:
        """See ColumnBuilder."""
        return NumberColumn(self._type, self._values.view(), self._has_value.view())


def integer_type(values: npt.NDArray[np.int64]) -> np.dtype[Any]:
    """Return the narrowest type for integers: a year takes 2 bytes, and a filter reads a quarter of what it would."""
    return np.promote_types(np.min_scalar_type(values.min(initial=-1)), np.min_scalar_type(-values.max(initial=0) - 1))


class StringBuilder:
    """Builds a StringColumn."""

    __slots__ = ("_codes", "_dictionary", "_spare", "_type")

    def __init__(self, of: FeatureType, spare: int = SPARE) -> None:
        """``spare``: how many values that no item has any more are kept, beside twice as many as there are items."""
        self._type = of
        self._spare = spare
        self._codes = CopyOnWrite(np.uint8, NO_CODE)
        self._dictionary = Dictionary()

    def __repr__(self) -> str:
        return f"StringBuilder({len(self._codes)} × {self._type}, {self._dictionary!r})"

    def resize(self, size: int) -> None:
        """See ColumnBuilder."""
        self._codes.resize(size)

    def write(self, places: Places, values: Values, has_value: Mask) -> None:
        """See ColumnBuilder."""
        codes = np.zeros(len(places), np.int64)
        codes[has_value] = self._dictionary.encode(values[i] for i in np.flatnonzero(has_value).tolist())
        self._codes.widen(code_type(len(self._dictionary.values)))
        self._codes.write(places, codes.astype(self._codes.dtype))

    def keep(self, places: Places) -> None:
        """See ColumnBuilder."""
        self._codes.replace(self._codes.read(places))
        self._forget()

    def freeze(self) -> StringColumn:
        """See ColumnBuilder."""
        if len(self._dictionary.codes) > 2 * len(self._codes) + self._spare:
            self._forget()
        return StringColumn(self._type, self._codes.view(), self._dictionary.seen())

    def _forget(self) -> None:
        self._dictionary, codes = only_used(self._dictionary, self._codes.view())
        self._codes.replace(codes)


def only_used(dictionary: Dictionary, codes: npt.NDArray[Any]) -> tuple[Dictionary, npt.NDArray[Any]]:
    """Return a dictionary of the values that ``codes`` has, and its codes in place of them."""
    used = np.unique(codes)
    used = used[used != NO_CODE]
    kept = Dictionary()
    renamed = np.zeros(len(dictionary.values), code_type(len(used) + 1))
    renamed[used] = kept.encode(dictionary.values[code] for code in used.tolist())
    return kept, renamed[codes]
