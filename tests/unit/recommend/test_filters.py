"""Masks of filters: what passes is what the words say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc import BOOL, INT64
from recsvc.recommend import filters as module
from recsvc.recommend.catalogue_builder import CatalogueBuilder
from recsvc.recommend.filter_checks import checked
from recsvc.recommend.filters import dropped, mask
from recsvc.registry.conditions import AllOf, AnyOf, Condition, IsPresent, IsTrue, NoneOf, Range
from recsvc.registry.types import Kind
from tests.unit.recommend.catalogue_model import CHANGES, CONDITIONS, DEFINITION, TYPES, Model, apply, column, passes


@settings(max_examples=150)
@given(CHANGES, st.lists(CONDITIONS, max_size=4))
def test_a_mask_is_what_the_words_say(changes: list[Any], conditions: list[Condition]) -> None:
    """Exactly the available items pass for which each predicate holds, value by value."""
    model = Model()
    for change in changes:
        apply(model, change)
    catalogue = model.builder.snapshot()
    items = {item: row for item, row in model.items().items() if row.get("film:available")}
    wanted = {item for item, row in items.items() if all(passes(row, c) for c in conditions)}
    filters = checked(conditions, TYPES)
    found = mask(catalogue, filters)
    assert set(catalogue.ids[found].tolist()) == wanted
    assert sum(dropped(catalogue, filters, catalogue.allowed)) == len(items) - len(wanted)


@pytest.mark.parametrize("distinct", [3, 60, 70, 300, 70_000])
def test_lists_match_whatever_the_number_of_values(distinct: int) -> None:
    """With few values (bits) or many (codes of any width) the same items pass."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    n = max(100, distinct // 2)
    lists = [(i % distinct, (i * 7 + 1) % distinct, distinct - 1 - i % distinct) for i in range(n)]
    others = [tuple(range(value, min(value + 4, distinct))) for value in range(0, distinct, 4)]  # all values are known
    items = [str(i) for i in range(n)]
    builder.put_columns("film", items, {"film:available": column(BOOL, [True] * n)})
    tags = column(TYPES["counts:tags"], [*lists, *others])
    builder.put_columns("counts", [*items, *(f"other{i}" for i in range(len(others)))], {"counts:tags": tags})
    catalogue = builder.snapshot()
    some, every = (1, 2, distinct - 1), lists[5][:2]
    for predicate, wanted in (
        (AnyOf(some), {str(i) for i, tags in enumerate(lists) if set(some) & set(tags)}),
        (NoneOf(some), {str(i) for i, tags in enumerate(lists) if not set(some) & set(tags)}),
        (AllOf(every), {str(i) for i, tags in enumerate(lists) if set(every) <= set(tags)}),
        (AllOf((*every, -1)), set()),
        (AnyOf((-1,)), set()),
    ):
        found = mask(catalogue, [Condition("counts:tags", predicate)])
        assert set(catalogue.ids[found].tolist()) == wanted


def test_blocks_join_without_a_seam() -> None:
    """A catalogue of several blocks, the last not full, is filtered like a small one."""
    n = 2 * module.BLOCK + 17
    builder = CatalogueBuilder(DEFINITION, TYPES)
    columns = {"film:available": column(BOOL, [True] * n), "film:year": column(INT64, list(range(n)))}
    builder.put_columns("film", [str(i) for i in range(n)], columns)
    catalogue = builder.snapshot()
    found = mask(catalogue, [Condition("film:year", Range(min=module.BLOCK - 1, max=n - 2))])
    assert found.nonzero()[0].tolist() == list(range(module.BLOCK - 1, n - 1))
    many = tuple(range(module.BLOCK - 5, module.BLOCK + 5))
    assert mask(catalogue, [Condition("film:year", AnyOf(many))]).nonzero()[0].tolist() == list(many)
    assert not mask(catalogue, [Condition("film:lang", AllOf(("a", "b")))]).any()


def test_a_mask_is_the_callers_own() -> None:
    """Changing a mask changes neither the catalogue nor the next mask."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    builder.put("film", "a", {"film:available": True})
    catalogue = builder.snapshot()
    filters = [Condition("film:available", IsTrue())]
    mask(catalogue, filters)[:] = False
    mask(catalogue, [])[:] = False
    assert mask(catalogue, filters).tolist() == [True]


def test_drops_are_counted_one_filter_after_another() -> None:
    """Each filter counts what it drops of what is left; what is not available counts for none."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    for item, year, available in (("a", 1, True), ("b", 2, True), ("c", 3, True), ("d", 1, False)):
        builder.put("film", item, {"film:available": available, "film:year": year})
    filters = [Condition("film:year", Range(min=2)), Condition("film:year", NoneOf((1, 3)))]
    catalogue = builder.snapshot()
    assert dropped(catalogue, filters, catalogue.allowed) == [1, 1]
    assert dropped(catalogue, filters, np.zeros(len(catalogue), np.bool_)) == [0, 0]


def test_a_predicate_that_is_not_for_the_column_is_a_mistake_of_ours() -> None:
    """Filters that nobody checked do not pass in silence."""
    with pytest.raises(TypeError, match="film:lang is STRING"):
        mask(CatalogueBuilder(DEFINITION, TYPES).snapshot(), [Condition("film:lang", Range(min=1))])


@pytest.mark.parametrize(
    "feature", [r for r, of in TYPES.items() if of.kind in (Kind.INT64, Kind.FLOAT64, Kind.TIMESTAMP)]
)
def test_an_item_without_a_number_does_not_pass_for_zero(feature: str) -> None:
    """What stands in the column where there is no value is never taken for one."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    builder.put("film", "a", {"film:available": True})
    catalogue = builder.snapshot()
    for predicate in (AnyOf((0,)), AnyOf(tuple(range(20))), AllOf((0,)), Range(min=-1, max=1), IsPresent()):
        assert not mask(catalogue, [Condition(feature, predicate)]).any()
    assert mask(catalogue, [Condition(feature, NoneOf((0,)))]).all()


def test_a_list_that_changed_does_not_match_what_it_had() -> None:
    """Of many values too, only the elements that an item has now count."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    for i in range(100):
        builder.put("film", str(i), {"film:available": True})
        builder.put("counts", str(i), {"counts:tags": (i,)})
    builder.put("counts", "7", {"counts:tags": (8, 200)})
    catalogue = builder.snapshot()
    for predicate, wanted in (
        (AnyOf((7,)), []),
        (AnyOf((8,)), ["7", "8"]),
        (AllOf((8, 200)), ["7"]),
        (AllOf((7, 8)), []),
    ):
        assert catalogue.ids[mask(catalogue, [Condition("counts:tags", predicate)])].tolist() == wanted
