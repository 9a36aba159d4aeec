"""The rows that rankers learn from: what the pipeline finds for real users, with the features that would rank it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recsvc.client import Column
from recsvc.recommend.ranking.card import SCALARS, ModelFeature
from recsvc.training.errors import TrainingError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """n candidates of q requests, those of one request side by side, in the order in which they were found.

    * ``features``: their names, in the order of the service; ``matrix`` float64[n, f], NaN where there is no value.
    * ``labels`` float64[n]: 1 where the user took the item, else 0. ``missed``: items taken that no request found.
    * ``groups`` int64[q]: how many rows each request has; ``users``: whose each is. ``items``: of each row.
    * ``retrieval`` float64[n]: the rank in which the candidate was found, from 1. It is no feature: with it, the order
      that a model must beat can be scored on the very same rows.
    """

    features: tuple[str, ...]
    matrix: Floats = field(repr=False)
    labels: Floats = field(repr=False)
    groups: npt.NDArray[np.int64] = field(repr=False)
    retrieval: Floats = field(repr=False)
    users: Sequence[str] = field(repr=False)
    items: Sequence[str] = field(repr=False)
    missed: int = 0

    def __repr__(self) -> str:
        hits = f"{int(self.labels.sum()):,} of them taken, {self.missed:,} taken that were not found"
        return f"Examples({len(self):,} candidates of {len(self.groups):,} requests, {hits})"

    def __len__(self) -> int:
        return len(self.labels)

    def with_hits(self) -> Examples:
        """Return the requests of which at least one candidate was taken; others say nothing about the order."""
        starts = np.cumsum(self.groups) - self.groups
        hit = np.array([self.labels[a : a + n].any() for a, n in zip(starts, self.groups, strict=True)], np.bool_)
        rows = np.repeat(hit, self.groups)
        return Examples(
            self.features,
            self.matrix[rows],
            self.labels[rows],
            self.groups[hit],
            self.retrieval[rows],
            [user for user, kept in zip(self.users, hit.tolist(), strict=True) if kept],
            [item for item, kept in zip(self.items, rows.tolist(), strict=True) if kept],
            self.missed,
        )


def joined(parts: Sequence[Examples]) -> Examples:
    """Return the requests of all parts, such as of several times. Raises TrainingError where features differ."""
    if not parts:
        raise TrainingError("there are no examples to join")
    first = parts[0].features
    other = next((part.features for part in parts if part.features != first), None)
    if other is not None:
        raise TrainingError(f"examples of different features cannot be joined: {first} and {other}")
    return Examples(
        first,
        np.concatenate([part.matrix for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.retrieval for part in parts]),
        [user for part in parts for user in part.users],
        [item for part in parts for item in part.items],
        sum(part.missed for part in parts),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The candidates of one request: ``items`` in the order found, their features float64[m, f]."""

    user: str
    items: Sequence[str]
    matrix: Floats = field(repr=False)


def labelled(features: tuple[str, ...], found: Sequence[Found], taken: Mapping[str, Collection[str]]) -> Examples:
    """Return examples: a candidate that is among what its user has ``taken`` is right, all others are not."""
    there = [one for one in found if one.items]
    sets = {one.user: frozenset(taken[one.user]) for one in found}
    labels = [float(item in sets[one.user]) for one in there for item in one.items]
    return Examples(
        features,
        np.concatenate([one.matrix for one in there]) if there else np.empty((0, len(features))),
        np.array(labels, np.float64),
        np.array([len(one.items) for one in there], np.int64),
        np.concatenate([np.arange(1.0, len(one.items) + 1.0) for one in there]) if there else np.empty(0),
        [one.user for one in there],
        [item for one in there for item in one.items],
        sum(map(len, sets.values())) - round(sum(labels)),
    )


def check_features(service: str, features: Sequence[ModelFeature]) -> None:
    """Raise TrainingError where a service gives what rankers cannot take, with all that is wrong."""
    wrong = [f"{f.name} is {f.type}" for f in features if f.type.kind not in SCALARS]
    if wrong:
        right = "rankers take numbers, bools and timestamps; make one of them on demand, or leave them out"
        raise TrainingError(f"service {service!r}: {', '.join(wrong)}: {right}")


def floats(column: Column, rows: int) -> Floats:
    """Return a feature of ``rows`` items as float64[rows], as `recsvc.recommend.ranking.matrix` fills its matrix."""
    whole = column.expanded(rows)
    values = whole.values
    numbers = values.view(np.int64) if values.dtype.kind == "M" else values
    filled = numbers.astype(np.float64)
    filled[~whole.has_value] = np.nan
    return filled
