"""Masks that are kept are those that are made anew, and whoever gets one may change it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend import masks
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.filters import mask
from recsvc.recommend.masks import Masks
from recsvc.registry.conditions import AnyOf, Condition
from tests.unit.recommend.catalogue_model import CHANGES, CONDITIONS, Model, apply

DRAMA = Condition("film:genres", AnyOf(["drama"]))
CRIME = Condition("film:genres", AnyOf(["crime"]))


@given(CHANGES, st.lists(st.tuples(st.lists(CONDITIONS, max_size=2), st.lists(CONDITIONS, max_size=2)), max_size=4))
def test_kept_masks_are_those_made_anew(
    changes: list[Any], asked: list[tuple[list[Condition], list[Condition]]]
) -> None:
    """Asked any number of times, and spoiled by whoever got it, a mask is what the filters make of the catalogue."""
    model = Model()
    for change in changes:
        apply(model, change)
    catalogue = model.builder.snapshot()
    for own, others in asked * 3:
        found = catalogue.masks.get(own, others, partial(mask, catalogue))
        assert found.mask.tolist() == mask(catalogue, [*own, *others]).tolist()
        assert found.passing == found.mask.sum()
        copy = catalogue.masks.copy(found)
        copy[:] = ~copy
        assert catalogue.masks.copy(found).tolist() == found.mask.tolist()


def test_masks_that_come_again_are_made_once() -> None:
    """Those of placements are made once, those of requests twice: the second time they are kept."""
    made: list[Sequence[Condition]] = []

    def make(conditions: Sequence[Condition]) -> Mask:
        made.append(conditions)
        return np.ones(3, np.bool_)

    kept = Masks()
    for _ in range(4):
        kept.get([DRAMA], [], make)
        kept.get([DRAMA], [CRIME], make)
    assert made == [[DRAMA], [CRIME], [CRIME]]
    assert repr(kept) == "Masks(2 kept)"


def test_no_more_masks_are_kept_than_allowed() -> None:
    """Of any number of filters only some masks, and some names, stay."""
    kept = Masks()
    for number in range(3 * masks.SEEN):
        for _ in range(2):
            kept.get([], [Condition("film:genres", AnyOf([str(number)]))], lambda _: np.ones(1, np.bool_))
    assert len(kept._kept) == masks.KEPT
    assert len(kept._seen) == masks.SEEN
