"""Which items may come at all: one mask over the catalogue, before any candidate source is asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.filters import dropped, mask
from recsvc.registry.conditions import Condition


class Masking:
    """A mask that is narrowed step by step; ``drops`` says how many items each step took out."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._mask: Mask | None = None  # until a step needs a mask of its own
        self._passed: int | None = None
        self.drops: list[tuple[str, int]] = [("available", catalogue.unavailable)]

    def __repr__(self) -> str:
        return f"Masking({self.passed} of {len(self._catalogue)} pass)"

    @property
    def mask(self) -> Mask:
        """Which places still pass; steps that follow change it."""
        if self._mask is None:
            self._mask = self._catalogue.allowed.copy()
        return self._mask

    @property
    def passed(self) -> int:
        """How many items still pass."""
        if self._passed is None:
            self._passed = int(np.count_nonzero(self._catalogue.allowed if self._mask is None else self._mask))
        return self._passed

    def filter(self, own: Sequence[Condition], asked: Sequence[Condition], *, count: bool) -> None:
        """Apply the filters of the placement and those of the request; ``count`` what each drops of all available."""
        conditions = [*own, *asked]
        if conditions:
            passing = self._catalogue.masks.get(own, asked, partial(mask, self._catalogue))
            self._mask = passing if self._mask is None else np.logical_and(self._mask, passing, out=self._mask)
            self._passed = None
        if count:
            names = [f"placement.filters[{i}]" for i in range(len(own))] + [f"filters[{i}]" for i in range(len(asked))]
            self.drops += zip(names, dropped(self._catalogue, conditions), strict=True)

    def exclude(self, what: str, places: Places) -> None:
        """Take out items; unknown ones (negative places) are passed over."""
        if len(places):
            mask, known = self.mask, np.unique(places[places >= 0])
            gone = int(np.count_nonzero(mask[known]))
            mask[known] = False
            if self._passed is not None:
                self._passed -= gone
            self.drops.append((what, gone))

    def exclude_all(self, what: str) -> None:
        """Take out every item."""
        self.drops.append((what, self.passed))
        self._mask, self._passed = np.zeros(len(self._catalogue), np.bool_), 0
