"""Which items of a catalogue pass the filters: one mask over all places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.item_column import ItemColumn, NumberColumn, Test
from recsvc.registry.conditions import AllOf, AnyOf, Condition, IsPresent, IsTrue, NoneOf, Range

BLOCK: Final = 1 << 16
"""Places that are tested at a time: what a predicate makes of them fits the second-level cache."""


def mask(catalogue: Catalogue, filters: Sequence[Condition]) -> Mask:
    """Return which places hold an item that may be recommended and passes all of ``filters``; the caller's to change.

    ``filters`` are as ``filter_checks.checked`` returns them.
    """
    passing = catalogue.allowed.copy()
    narrow = [_narrowing(catalogue, condition) for condition in filters]
    for start in range(0, len(passing) if narrow else 0, BLOCK):
        block = slice(start, min(start + BLOCK, len(passing)))
        part = passing[block]
        for step in narrow:
            step(part, block)
    return passing


def dropped(catalogue: Catalogue, filters: Sequence[Condition], passing: Mask) -> list[int]:
    """Return how many items each filter drops that all before it let pass; ``passing``: what comes to the first."""
    passing = passing.copy()
    every = slice(0, len(passing))
    drops, left = [], int(np.count_nonzero(passing))
    for condition in filters:
        _narrowing(catalogue, condition)(passing, every)
        before, left = left, int(np.count_nonzero(passing))
        drops.append(before - left)
    return drops


def _narrowing(catalogue: Catalogue, condition: Condition) -> Callable[[Mask, slice], npt.NDArray[np.bool_]]:
    """Return what takes those that fail the condition out of a block."""
    test = _test(catalogue.columns[condition.feature], condition)
    if isinstance(condition.predicate, NoneOf):
        return lambda part, block: np.greater(part, test(block), out=part)  # part and not test, in one pass
    return lambda part, block: np.logical_and(part, test(block), out=part)


def _test(column: ItemColumn, condition: Condition) -> Test:
    """Test the predicate; of NoneOf: whether the value is one of those."""
    match condition.predicate:
        case AnyOf(values) | NoneOf(values):
            return column.any_of(values)
        case AllOf(values):
            return column.all_of(values)
        case Range() as wanted if isinstance(column, NumberColumn):
            return column.within(wanted)
        case IsTrue() if isinstance(column, NumberColumn):
            return column.true()
        case IsPresent():
            return column.present()
        case predicate:
            raise TypeError(f"{condition.feature} is {column.type}: {predicate} is not for it; filters must be checked")
