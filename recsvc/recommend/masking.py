"""Which items may come at all: one mask over the catalogue, before any candidate source is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.filters import dropped, exclude, mask
from recsvc.registry.conditions import Condition


class Masking:
    """A mask that is narrowed step by step; ``drops`` says how many items each step took out."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.mask: Mask = catalogue.allowed.copy()
        self.drops: list[tuple[str, int]] = [("available", int(np.count_nonzero(catalogue.exists)) - self.passed)]

    def __repr__(self) -> str:
        return f"Masking({self.passed} of {len(self._catalogue)} pass)"

    @property
    def passed(self) -> int:
        """How many items still pass."""
        return int(np.count_nonzero(self.mask))

    def filter(self, own: Sequence[Condition], asked: Sequence[Condition], *, count: bool) -> None:
        """Apply the filters of the placement and those of the request; ``count`` what each drops of all available."""
        conditions = [*own, *asked]
        self.mask &= mask(self._catalogue, conditions)
        if count:
            names = [f"placement.filters[{i}]" for i in range(len(own))] + [f"filters[{i}]" for i in range(len(asked))]
            self.drops += zip(names, dropped(self._catalogue, conditions), strict=True)

    def exclude(self, what: str, places: Places) -> None:
        """Take out items; unknown ones (negative places) are passed over."""
        if len(places):
            before = self.passed
            exclude(self.mask, places)
            self.drops.append((what, before - self.passed))
