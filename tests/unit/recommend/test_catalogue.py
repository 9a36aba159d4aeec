"""Snapshots of a catalogue: what they show, that they stay, and what a place means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from recsvc import BOOL, FLOAT64, INT64, STRING, STRING_LIST, VECTOR
from recsvc.recommend.catalogue import UNKNOWN
from recsvc.recommend.catalogue_builder import CatalogueBuilder
from recsvc.recommend.popularity import ByCategory
from tests.unit.recommend.catalogue_model import CHANGES, DEFINITION, TYPES, Model, apply, column, comparable, shown


@settings(max_examples=150)
@given(CHANGES)
def test_a_snapshot_shows_what_was_put_and_not_deleted(changes: list[Any]) -> None:
    """After any changes a snapshot has the rows of a plain dictionary that had the same changes."""
    model = Model()
    for change in changes:
        apply(model, change)
    assert shown(model.builder.snapshot()) == {item: comparable(row) for item, row in model.items().items()}


@settings(max_examples=100)
@given(CHANGES, CHANGES)
def test_a_snapshot_stays_as_it_was(before: list[Any], after: list[Any]) -> None:
    """No later change reaches an older snapshot, whatever other snapshots there are in between."""
    model, kept = Model(), []
    for number, change in enumerate([*before, *after]):
        apply(model, change)
        if number % 3 == 0:
            catalogue = model.builder.snapshot()
            places = np.arange(len(catalogue))
            kept.append((catalogue, shown(catalogue), len(catalogue), catalogue.categories(places).tolist()))
    for catalogue, rows, length, categories in kept:
        assert shown(catalogue) == rows
        assert len(catalogue) == length
        assert catalogue.categories(np.arange(length)).tolist() == categories
        assert catalogue.id_texts(catalogue.places(sorted(rows))) == sorted(rows)


@settings(max_examples=150)
@given(CHANGES)
def test_the_order_of_popularity_is_that_of_sorting_all(changes: list[Any]) -> None:
    """However it is kept, the order is by popularity, most first, and by place where that is the same."""
    model = Model()
    for change in changes:
        apply(model, change)
        catalogue = model.builder.snapshot()
        wanted = sorted(range(len(catalogue)), key=lambda place: (-catalogue.popularity[place], place))
        assert catalogue.ranked.order.tolist() == wanted
        assert np.isfinite(catalogue.popularity).all()


@settings(max_examples=150)
@given(CHANGES)
def test_each_category_has_its_places_by_popularity(changes: list[Any]) -> None:
    """However categories and popularity change: of each its items, in the order of all, and nothing else."""
    model = Model()
    for change in changes:
        apply(model, change)
        catalogue = model.builder.snapshot()
        order, codes = catalogue.ranked.order.tolist(), catalogue.category_codes.tolist()
        for code in {*codes} - {UNKNOWN}:
            assert catalogue.by_category.places(code).tolist() == [place for place in order if codes[place] == code]


def test_many_categories_are_grouped_as_few() -> None:
    """Codes of more than two bytes are sorted as well."""
    codes = np.arange(70_000, dtype=np.int32) // 2 * 2
    grouped = ByCategory.of(np.arange(69_999, -1, -1), codes)
    assert [grouped.places(code).tolist() for code in (0, 2, 65_536, 69_998)] == [
        [1, 0],
        [3, 2],
        [65_537, 65_536],
        [69_999, 69_998],
    ]


@settings(max_examples=100)
@given(CHANGES)
def test_a_place_stays_an_items_own_while_the_index_is_the_same(changes: list[Any]) -> None:
    """As long as snapshots share their index, a place never changes its item."""
    model = Model()
    ids: list[str] = []
    index = None
    for change in changes:
        apply(model, change)
        catalogue = model.builder.snapshot()
        if catalogue.index is index:
            assert catalogue.ids[: len(ids)].tolist() == ids
        index, ids = catalogue.index, catalogue.ids.tolist()


def test_unknown_deleted_and_later_items_have_no_place() -> None:
    """An id that is no item of the snapshot is UNKNOWN; the place of a deleted one is kept for its return."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    for item in ("a", "b"):
        builder.put("film", item, {"film:available": True})
    builder.delete("film", ["a", "never"])
    catalogue = builder.snapshot()
    builder.put("film", "c", {})
    assert catalogue.places(["a", "b", "c", "d"]).tolist() == [UNKNOWN, 1, UNKNOWN, UNKNOWN]
    assert catalogue.kept_places(["a", "b", "c", "d"]).tolist() == [0, 1, UNKNOWN, UNKNOWN]
    builder.put("film", "a", {"film:available": True})
    assert builder.snapshot().places(["a", "c"]).tolist() == [0, 2]


def test_only_available_items_are_allowed() -> None:
    """An item that is not available, or not known to be, exists but is not allowed."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    for item, available in (("a", True), ("b", False), ("c", None)):
        builder.put("film", item, {"film:available": available})
    assert builder.snapshot().exists.tolist() == [True, True, True]
    assert builder.snapshot().allowed.tolist() == [True, False, False]


def test_an_item_stays_while_a_view_has_a_row_of_it() -> None:
    """Deleting the row of one view takes its features, not the item."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    builder.put("film", "a", {"film:lang": "en"})
    builder.put("counts", "a", {"counts:pop": 3.0})
    builder.delete("film", ["a"])
    catalogue = builder.snapshot()
    assert catalogue.places(["a"]).tolist() == [0]
    assert catalogue.columns["film:lang"].value(0) is None
    assert catalogue.popularity.tolist() == [3.0]


def test_columns_as_they_are_read_come_in_at_once() -> None:
    """Rows of a read make the items that puts make; null values are none; of two rows of an item the last holds."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    given_columns = {
        "film:year": column(INT64, [1990, 1991, 1992]),
        "film:available": column(BOOL, [True, False, True], 1),
        "film:lang": column(STRING[8], ["en", "de", "fr"], 2),
        "film:genres": column(STRING_LIST[4, 8], [("x",), (), ("y", "x")]),
    }
    builder.put_columns("film", ["a", "b", "a"], given_columns)
    rows = shown(builder.snapshot())
    assert rows["a"] == comparable({"film:year": 1992, "film:available": True, "film:genres": ("y", "x")})
    assert rows["b"] == comparable({"film:year": 1991, "film:lang": "de", "film:genres": ()})


def test_nothing_changed_is_the_same_snapshot() -> None:
    """Asking twice costs nothing, and deleting what is not there changes nothing."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    builder.put("film", "a", {})
    first = builder.snapshot()
    builder.delete("film", ["b"])
    assert builder.snapshot() is first


def test_columns_that_did_not_change_are_shared() -> None:
    """A change of one feature copies the column of that feature alone."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    row: dict[str, Any] = {"film:available": True, "film:year": 1990, "film:lang": "en", "film:genres": ("x",)}
    builder.put("film", "a", row)
    first = builder.snapshot()
    builder.put("film", "a", {**row, "film:year": 1991})
    second = builder.snapshot()
    assert first.columns["film:genres"].elements is second.columns["film:genres"].elements  # type: ignore[attr-defined]
    assert first.columns["film:lang"].codes is second.columns["film:lang"].codes  # type: ignore[attr-defined]
    assert first.columns["film:year"].values is not second.columns["film:year"].values  # type: ignore[attr-defined]
    assert first.columns["film:year"].value(0) == 1990


def test_arrays_of_a_snapshot_are_read_only() -> None:
    """Nobody can write into what others read."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    builder.put("film", "a", {"film:available": True})
    catalogue = builder.snapshot()
    arrays = (catalogue.ids, catalogue.exists, catalogue.allowed, catalogue.popularity, catalogue.ranked.order)
    assert not any(array.flags.writeable for array in arrays)


def test_what_lists_and_strings_leave_behind_is_dropped() -> None:
    """A thousand changes of one item leave columns of bounded size."""
    builder = CatalogueBuilder(DEFINITION, TYPES, spare=4)
    for number in range(1_000):
        builder.put("film", "a", {"film:lang": str(number), "film:genres": (str(number), "x")})
        catalogue = builder.snapshot()
    lang, genres = catalogue.columns["film:lang"], catalogue.columns["film:genres"]
    assert lang.dictionary.count < 10  # type: ignore[attr-defined]
    assert len(genres.elements) < 10  # type: ignore[attr-defined]
    assert genres.value(0) == ("999", "x")


def test_a_category_has_a_code_and_a_name() -> None:
    """Items with the same first element share a code, and the code tells the category."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    for item, genres in (("a", ("x", "y")), ("b", ("y",)), ("c", ("x",)), ("d", ()), ("e", None)):
        builder.put("film", item, {"film:genres": genres})
    catalogue = builder.snapshot()
    codes = catalogue.categories(catalogue.places(["a", "b", "c", "d", "e"])).tolist()
    assert codes[0] == codes[2] != codes[1]
    assert codes[3:] == [UNKNOWN, UNKNOWN]
    assert [catalogue.category_name(code) for code in codes] == ["x", "y", "x", None, None]


@pytest.mark.parametrize("values", [{"film:unknown": 1}, {"counts:pop": 1.0}])
def test_features_of_no_column_are_refused(values: dict[str, Any]) -> None:
    """A feature that the catalogue does not keep, or one of another view, is named."""
    with pytest.raises(ValueError, match=next(iter(values))):
        CatalogueBuilder(DEFINITION, TYPES).put("film", "a", values)


def test_vectors_are_refused() -> None:
    """A vector is no column of a catalogue."""
    with pytest.raises(ValueError, match="film:v is VECTOR"):
        CatalogueBuilder(DEFINITION, {"film:v": VECTOR[3], "counts:pop": FLOAT64})


def test_reprs_tell_the_state() -> None:
    """Builder, snapshot and columns say how large they are."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    builder.put("film", "a", {"film:genres": ("x", "y")})
    catalogue = builder.snapshot()
    assert repr(builder) == "CatalogueBuilder('films', 1 places, 9 columns)"
    assert repr(catalogue) == "Catalogue('films', 1 items, 0 allowed)"
    assert repr(catalogue.by_category) == "ByCategory(1 items, 1 categories)"
    assert repr(catalogue.columns["film:genres"]) == "ListColumn(1 × STRING_LIST[4, 8], 2 elements, 2 values)"
