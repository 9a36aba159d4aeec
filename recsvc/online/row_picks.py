"""Where wanted features stand in rows of one layout, worked out once per list of features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from recsvc.online.layout import Layout, field_name
from recsvc.registry.schema import Schema
from recsvc.registry.types import VARIABLE, Kind

PICKS_KEPT: Final = 512
"""Of one view. Lists of features are the callers' to choose, so their number is bounded; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Run:
    """Wanted features of one dtype that stand side by side; ``offset`` is where in the row the first one begins."""

    features: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int


@dataclass(frozen=True, slots=True)
class Pick:
    """How to read features out of rows of a layout.

    ``vectors`` are (feature, offset, dimension), ``tails`` (feature, offset of its place); ``absent`` are features that
    these rows do not have.
    """

    features: tuple[int, ...]
    runs: tuple[Run, ...]
    vectors: tuple[tuple[int, int, int], ...]
    tails: tuple[tuple[int, int], ...]
    absent: tuple[int, ...]


class Picks:
    """Remembers the picks of one schema's rows."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._known: dict[tuple[int, tuple[int, ...]], Pick] = {}

    def __repr__(self) -> str:
        return f"Picks({len(self._known)} of {len(self._schema)} features)"

    def of(self, layout: Layout, wanted: tuple[int, ...]) -> Pick:
        """Return how to read the features ``wanted`` (ascending) out of rows of a layout."""
        key = (layout.written, wanted)
        pick = self._known.get(key)
        if pick is None:
            if len(self._known) >= PICKS_KEPT:
                del self._known[next(iter(self._known))]
            pick = self._known[key] = self._made(layout, wanted)
        return pick

    def _made(self, layout: Layout, wanted: tuple[int, ...]) -> Pick:
        types = self._schema.types
        there = [i for i in wanted if i < layout.shared]
        places = {i: _offset(layout, i) for i in there}
        vectors = tuple((i, places[i], types[i].bound) for i in there if types[i].kind is Kind.VECTOR)
        tails = tuple((i, places[i]) for i in there if types[i].kind in VARIABLE)
        special = {i for i, *_ in (*vectors, *tails)}
        plain = [i for i in there if i not in special]
        runs = tuple(Run(run, _dtype(layout, run[0]), places[run[0]]) for run in _runs(layout, plain))
        return Pick(wanted, runs, vectors, tails, tuple(i for i in wanted if i >= layout.shared))


def _offset(layout: Layout, feature: int) -> int:
    fields: Any = layout.dtype.fields
    return int(fields[field_name(feature)][1])


def _dtype(layout: Layout, feature: int) -> np.dtype[Any]:
    return layout.dtype[field_name(feature)]


def _runs(layout: Layout, features: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield neighbours of one dtype."""
    if not features:
        return
    run = [features[0]]
    for before, feature in pairwise(features):
        if feature != before + 1 or _dtype(layout, feature) != _dtype(layout, before):
            yield tuple(run)
            run = []
        run.append(feature)
    yield tuple(run)
