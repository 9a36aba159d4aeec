"""Which items may come at all: one mask over the catalogue, before any candidate source is asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.filters import dropped, mask
from recsvc.recommend.index.protocol import Allowed, Basis
from recsvc.registry.conditions import Condition


class Masking:
    """A mask that is narrowed step by step; ``drops`` says how many items each step took out."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._basis = catalogue.basis
        self._mask: Mask | None = None  # a copy of that of the basis, once something was taken out
        self._taken: list[Places] = []
        self._out = 0
        self.drops: list[tuple[str, int]] = [("available", catalogue.unavailable)]

    def __repr__(self) -> str:
        return f"Masking({self.passed} of {len(self._catalogue)} pass)"

    @property
    def mask(self) -> Mask:
        """Which places still pass; steps that follow may change it."""
        return self._basis.mask if self._mask is None else self._mask

    @property
    def passed(self) -> int:
        """How many items still pass."""
        return self._basis.passing - self._out

    @property
    def allowed(self) -> Allowed:
        """Which places still pass, for indexes."""
        return Allowed(self.mask, self.passed, self._basis)

    def filter(self, own: Sequence[Condition], asked: Sequence[Condition], *, count: bool) -> None:
        """Apply the filters of the placement and those of the request; ``count`` what each drops of what passes."""
        conditions = [*own, *asked]
        if count:
            names = [f"placement.filters[{i}]" for i in range(len(own))] + [f"filters[{i}]" for i in range(len(asked))]
            self.drops += zip(names, dropped(self._catalogue, conditions, self.mask), strict=True)
        if conditions:
            passing = self._catalogue.masks.get(own, asked, partial(mask, self._catalogue))
            untouched = self._mask is None and self._basis is self._catalogue.basis
            self._start(passing if untouched else Basis.of(self.mask & passing.mask))

    def exclude(self, what: str, places: Places) -> None:
        """Take out items; unknown ones (negative places) are passed over."""
        if not len(places):
            return
        known = np.unique(places[places >= 0])
        gone = known[self.mask[known]]
        if len(gone):
            if self._mask is None:
                self._mask = self._catalogue.masks.copy(self._basis)
            self._mask[gone] = False
            self._taken.append(gone)
            self._out += len(gone)
        self.drops.append((what, len(gone)))

    def exclude_all(self, what: str) -> None:
        """Take out every item."""
        self.drops.append((what, self.passed))
        self._start(Basis.of(np.zeros(len(self._catalogue), np.bool_)))

    def release(self) -> None:
        """Say that nobody needs the mask any more: another request may have it."""
        if self._mask is not None:
            for places in self._taken:
                self._mask[places] = True
            self._catalogue.masks.give_back(self._basis, self._mask)
        self._start(self._basis)

    def _start(self, basis: Basis) -> None:
        self._basis, self._mask, self._taken, self._out = basis, None, [], 0
