"""One mask says which items may come, and how many each step of it took out."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.catalogue import UNKNOWN
from recsvc.recommend.masking import Masking
from recsvc.registry.conditions import AnyOf, Condition
from tests.unit.recommend.catalogue_model import CHANGES, CONDITIONS, Model, apply, passes
from tests.unit.recommend.queries import builder_of

DRAMA = Condition("film:genres", AnyOf(["drama"]))
CRIME = Condition("film:genres", AnyOf(["crime"]))


@given(CHANGES, st.lists(CONDITIONS, max_size=2), st.lists(CONDITIONS, max_size=2), st.sets(st.integers(-1, 8)))
def test_a_mask_is_what_every_step_lets_pass(
    changes: list[Any], own: list[Condition], asked: list[Condition], out: set[int]
) -> None:
    """An item passes that is available, meets the placement's and the request's filters, and was not taken out."""
    model = Model()
    for change in changes:
        apply(model, change)
    catalogue = model.builder.snapshot()
    masking = Masking(catalogue)
    masking.filter(own, asked, count=True)
    masking.exclude("excluded", np.array([p for p in out if p < len(catalogue)], np.int64))
    wanted = {
        item
        for item, row in model.items().items()
        if row.get("film:available")
        and all(passes(row, c) for c in (*own, *asked))
        and int(catalogue.places([item])[0]) not in out
    }
    assert set(catalogue.id_texts(np.flatnonzero(masking.mask))) == wanted
    assert sum(count for _, count in masking.drops) == len(model.items()) - len(wanted)
    assert masking.passed == len(wanted)


def test_drops_name_each_step() -> None:
    """Filters are told by whose they are and which; what was taken out already does not count again."""
    builder = builder_of(9)
    builder.put("film", "i0", {"film:available": False})
    for view in ("film", "counts"):
        builder.delete(view, ["i8"])
    catalogue = builder.snapshot()
    masking = Masking(catalogue)
    masking.filter([DRAMA], [DRAMA, CRIME], count=True)
    assert masking.drops == [("available", 1), ("placement.filters[0]", 5), ("filters[0]", 0), ("filters[1]", 2)]
    masking = Masking(catalogue)
    masking.filter([DRAMA], [], count=False)
    masking.exclude("excluded", catalogue.places(["i3", "i1", "nobody", "i3"]))
    masking.exclude("seen", catalogue.places(["i3"]))
    masking.exclude("seeds", np.zeros(0, np.int64))
    assert masking.drops == [("available", 1), ("excluded", 1), ("seen", 0)]
    assert np.flatnonzero(masking.mask).tolist() == [6]


def test_what_was_taken_out_before_a_filter_is_not_dropped_by_it() -> None:
    """Of items that a step before took out a filter drops none; where none is left it drops none at all."""
    catalogue = builder_of(9).snapshot()
    masking = Masking(catalogue)
    masking.exclude("excluded", np.array([1, 2]))
    masking.filter([], [DRAMA], count=True)
    assert masking.drops == [("available", 0), ("excluded", 2), ("filters[0]", 4)]
    masking = Masking(catalogue)
    masking.exclude_all("stale")
    masking.filter([DRAMA], [CRIME], count=True)
    assert masking.drops == [("available", 0), ("stale", 9), ("placement.filters[0]", 0), ("filters[0]", 0)]


def test_unknown_items_take_nothing_out() -> None:
    """An item that the catalogue has not is passed over, also where the catalogue is empty."""
    for count in (0, 3):
        masking = Masking(builder_of(count).snapshot())
        masking.exclude("excluded", np.array([UNKNOWN, UNKNOWN]))
        assert masking.passed == count


def test_a_mask_is_its_own() -> None:
    """Taking items out of one request's mask changes neither the catalogue nor another's."""
    catalogue = builder_of(3).snapshot()
    Masking(catalogue).exclude("excluded", np.array([0, 1, 2]))
    assert Masking(catalogue).passed == 3
    assert catalogue.allowed.all()


def test_a_mask_shows_how_many_pass() -> None:
    """repr() tells how many items pass, of how many places."""
    masking = Masking(builder_of(3).snapshot())
    masking.exclude("excluded", np.array([1]))
    assert repr(masking) == "Masking(2 of 3 pass)"


def test_all_items_can_be_taken_out_at_once() -> None:
    """Then nothing passes, and the step says how many it took out."""
    catalogue = builder_of(3).snapshot()
    masking = Masking(catalogue)
    masking.exclude_all("stale")
    assert (masking.passed, masking.drops) == (0, [("available", 0), ("stale", 3)])
    assert not masking.mask.any()
    assert catalogue.allowed.all()
