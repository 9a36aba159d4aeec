"""Follows the changes of a catalogue's views, and gives snapshots that cost little where little changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Column
from recsvc.recommend.catalogue import UNKNOWN, Catalogue, category_column
from recsvc.recommend.column_builder import DTYPES, SPARE, ColumnBuilder, NumberBuilder, StringBuilder, Values
from recsvc.recommend.copy_on_write import CopyOnWrite, Places
from recsvc.recommend.dictionary import NO_CODE, Mask
from recsvc.recommend.index.protocol import Basis
from recsvc.recommend.item_column import ItemColumn, NumberColumn
from recsvc.recommend.item_hashes import SharedHashes
from recsvc.recommend.list_builder import ListBuilder
from recsvc.recommend.popularity import ByCategory, Popularity
from recsvc.registry import placement
from recsvc.registry.types import FeatureData, FeatureType, Kind

Codes = npt.NDArray[np.int32]


class CatalogueBuilder:
    """Holds the items of one catalogue: every id that a row of one of its views names.

    For one thread at a time. Its snapshots may be used in any, and stay as they are.
    """

    def __init__(
        self, definition: placement.Catalogue, types: Mapping[str, FeatureType], *, spare: int = SPARE
    ) -> None:
        """Begin without items.

        ``types``: of all features to keep by reference, at least those that ``definition`` names. ``spare``: how many
        places of deleted items may stay beside as many as there are items; past that all items move up.
        """
        self._spare = spare
        self._definition = definition
        self._columns = {reference: _builder(reference, of, spare) for reference, of in types.items()}
        self._rows = {view_of(reference): CopyOnWrite(np.bool_, empty=False) for reference in types}
        self._ids = CopyOnWrite(np.object_, None)
        self._index: dict[str, int] = {}
        self._hashes = SharedHashes()
        self._orders: dict[str, tuple[NumberColumn, Popularity]] = {}
        self._categories: tuple[ItemColumn, Codes] | None = None
        self._grouped: tuple[Popularity, Codes, ByCategory] | None = None
        self._last: Catalogue | None = None

    def __repr__(self) -> str:
        return f"CatalogueBuilder({self._definition.name!r}, {len(self._ids)} places, {len(self._columns)} columns)"

    def put(self, view: str, item: str, values: Mapping[str, FeatureData | None]) -> None:
        """Have this row of ``view`` (its part of references, as they are written).

        ``values``, as FeatureType.normalize gives them, are by reference; None or left out: no value.
        """
        given = {r: ([v], np.array([v is not None])) for r, v in values.items()}
        self._put(view, self._places([item]), given)

    def put_columns(self, view: str, items: Sequence[str], columns: Mapping[str, Column]) -> None:
        """Have these rows, as they were read; of an item that comes twice the last row holds."""
        places = self._places(items)
        given = {r: (c.values, np.broadcast_to(c.has_value(), len(items))) for r, c in columns.items()}
        last = _last_of_each(places)
        if last is not None:
            places = places[last]
            given = {r: (_at(values, last), has_value[last]) for r, (values, has_value) in given.items()}
        self._put(view, places, given)

    def delete(self, view: str, items: Sequence[str]) -> None:
        """Have no row of ``view`` for these items; one without a row in any view is in the catalogue no more."""
        found = {self._index[item] for item in items if item in self._index}
        places = np.array(sorted(found), np.int64)
        if len(places):
            self._set(view, places, {}, has_row=False)

    def snapshot(self) -> Catalogue:
        """Return the catalogue as it is now; the same object as before where nothing was put or deleted since."""
        if self._last is None:
            exists = self._exists()
            if len(exists) - int(exists.sum()) > int(exists.sum()) + self._spare:
                self._move_up(np.flatnonzero(exists).astype(np.int64, copy=False))
                exists = self._exists()
            self._last = self._snapshot(exists)
        return self._last

    def _snapshot(self, exists: Mask) -> Catalogue:
        columns: dict[str, ItemColumn] = {reference: c.freeze() for reference, c in self._columns.items()}
        definition, available = self._definition, self._definition.available
        allowed = _allowed(exists, None if available is None else columns[available])
        passing, created = int(np.count_nonzero(allowed)), definition.created_at
        ranked, codes = self._ordered(definition.popularity, columns), self._category_codes(columns, len(exists))
        return Catalogue(
            name=definition.name,
            ids=self._ids.view(),
            exists=exists,
            basis=Basis(allowed, passing),
            columns=columns,
            ranked=ranked,
            created=None if created is None else self._ordered(created, columns),
            category=definition.category,
            category_codes=codes,
            by_category=self._by_category(ranked, codes),
            unavailable=int(np.count_nonzero(exists)) - passing,
            index=self._index,
            hashes=self._hashes,
        )

    def _ordered(self, reference: str, columns: Mapping[str, ItemColumn]) -> Popularity:
        """Return all places by a number, the highest first."""
        column = columns[reference]
        if not isinstance(column, NumberColumn):
            raise TypeError(f"{reference} is {column.type}, not a number")
        known = self._orders.get(reference)
        if known is None or known[0].values is not column.values:
            order = Popularity.of(column) if known is None else known[1].changed(column)
            known = self._orders[reference] = column, order
        return known[1]

    def _category_codes(self, columns: Mapping[str, ItemColumn], places: int) -> Codes:
        """Return the code of each item's category, UNKNOWN for none."""
        column = category_column(columns, self._definition.category)
        if column is None:
            return np.full(places, UNKNOWN, np.int32)
        if self._categories is None or not column.same(self._categories[0]):
            codes = column.first_codes(np.arange(places)).astype(np.int32)
            codes[codes == NO_CODE] = UNKNOWN
            codes.flags.writeable = False
            self._categories = column, codes
        return self._categories[1]

    def _by_category(self, ranked: Popularity, codes: Codes) -> ByCategory:
        """Return the places of each category, the most popular first."""
        known = self._grouped
        if known is None or known[0] is not ranked or known[1] is not codes:
            known = self._grouped = ranked, codes, ByCategory.of(ranked.order, codes)
        return known[2]

    def _exists(self) -> Mask:
        """Return which places have a row."""
        rows = [row.view() for row in self._rows.values()]
        exists: Mask = rows[0] if len(rows) == 1 else np.logical_or.reduce(rows)
        exists.flags.writeable = False
        return exists

    def _places(self, items: Sequence[str]) -> Places:
        """Return the places of items, and make room for those that are new."""
        index = self._index
        new = [item for item in dict.fromkeys(items) if item not in index]
        if new:
            start = self._ids.append(np.array(new, np.object_))
            size = len(self._ids)
            for row in self._rows.values():
                row.resize(size)
            for column in self._columns.values():
                column.resize(size)
            index.update(zip(new, range(start, size), strict=True))
        return np.fromiter((index[item] for item in items), np.int64, len(items))

    def _put(self, view: str, places: Places, given: Mapping[str, tuple[Values, Mask]]) -> None:
        wrong = sorted(r for r in given if r not in self._columns or view_of(r) != view)
        if wrong:
            raise ValueError(f"not features of view {view} that the catalogue keeps: {', '.join(wrong)}")
        if len(places):
            self._set(view, places, given, has_row=True)

    def _set(self, view: str, places: Places, given: Mapping[str, tuple[Values, Mask]], *, has_row: bool) -> None:
        """Replace the rows of a view at ``places``."""
        nothing = ([None] * len(places), np.zeros(len(places), np.bool_))
        for reference, column in self._columns.items():
            if view_of(reference) == view:
                column.write(places, *given.get(reference, nothing))
        self._rows[view].write(places, np.full(len(places), has_row))
        self._last = None

    def _move_up(self, places: Places) -> None:
        """Leave the places of deleted items out. Older snapshots keep theirs."""
        for array in (self._ids, *self._rows.values()):
            array.replace(array.read(places))
        for column in self._columns.values():
            column.keep(places)
        self._index = {item: place for place, item in enumerate(self._ids.view().tolist())}
        self._hashes = SharedHashes()
        self._orders.clear()


def view_of(reference: str) -> str:
    """Return the view's part of ``view:feature``."""
    return reference.partition(":")[0]


def _builder(reference: str, of: FeatureType, spare: int) -> ColumnBuilder:
    if of.kind in DTYPES:
        return NumberBuilder(of)
    if of.kind is Kind.VECTOR:
        raise ValueError(f"{reference} is {of}; a catalogue keeps numbers, strings, times and lists")
    return StringBuilder(of, spare) if of.kind is Kind.STRING else ListBuilder(of, spare)


def _allowed(exists: Mask, available: ItemColumn | None) -> Mask:
    if available is None:
        return exists
    if not isinstance(available, NumberColumn):
        raise TypeError(f"availability is {available.type}, not BOOL")
    allowed: Mask = exists & available.values
    allowed.flags.writeable = False
    return allowed


def _last_of_each(places: Places) -> Places | None:
    """Return where each place stands last; None where none comes twice."""
    distinct, from_end = np.unique(places[::-1], return_index=True)
    return None if len(distinct) == len(places) else len(places) - 1 - from_end


def _at(values: Values, rows: Places) -> Any:  # noqa: ANN401  # an array of any type
    return values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows.tolist()]
