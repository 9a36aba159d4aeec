"""What is asked of every way to recommend: for which users, of which items, and what counts as right."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsvc.evaluation.data_set import DataSet
from recsvc.evaluation.metrics import NONE, Floats, Slates
from recsvc.evaluation.splits import Mask, Split


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A split of a data set as questions. Items and users are numbers of ``data``.

    * ``rankable`` bool[i]: the items known in training. All of them are ranked, but those that the user has ``seen`` in
      training (bool[u, i]); never a sample of them.
    * ``relevant`` bool[q, i]: for each of ``users`` int64[q] what is right. An item that nobody knew in training counts
      too, though no way to recommend can know it.
    * ``warm`` bool[q]: whether the user has a rating in training.
    """

    data: DataSet = field(repr=False)
    train: Mask = field(repr=False)
    seen: Mask = field(repr=False)
    rankable: Mask = field(repr=False)
    relevant: Mask = field(repr=False)
    users: NDArray[np.int64] = field(repr=False)
    warm: Mask = field(repr=False)

    def __repr__(self) -> str:
        warm = int(np.count_nonzero(self.warm))
        return (
            f"Task({warm} warm and {len(self.users) - warm} cold users, {int(np.count_nonzero(self.rankable))} items)"
        )

    @property
    def user_ids(self) -> Sequence[str]:
        """The ids of the users that are asked for."""
        return [self.data.users[number] for number in self.users.tolist()]

    def numbers(self, slates: Sequence[Sequence[str]], k: int) -> Slates:
        """Return slates of item ids as numbers, int64[q, k]."""
        table = np.full((len(slates), k), NONE, np.int64)
        for row, ids in enumerate(slates):
            found = [self.data.item_numbers[item] for item in ids[:k]]
            table[row, : len(found)] = found
        return table

    def best(self, scores: Floats, k: int) -> Slates:
        """Return the best ``k`` items by ``scores`` [i], or [q, i] by user: unseen and known; ties as in the file."""
        open_ = self.rankable & ~self.seen[self.users]
        worth = np.where(open_, scores, -np.inf)
        order = np.argsort(-worth, axis=1, kind="stable")[:, :k]
        there = np.take_along_axis(open_, order, axis=1) & np.isfinite(np.take_along_axis(worth, order, axis=1))
        return np.where(there, order, NONE)

    def labels(self) -> Mapping[str, Collection[str]]:
        """Return by user id the ids of what is right."""
        return {
            user: [self.data.items[item] for item in np.flatnonzero(row).tolist()]
            for user, row in zip(self.user_ids, self.relevant, strict=True)
        }


def make_task(data: DataSet, split: Split, *, least_stars: float | None = None) -> Task:
    """Ask for what is in the test part, with ``least_stars`` or more where given, of users who have something there.

    An item that a user has seen in training is not asked for again.
    """
    right = split.test if least_stars is None else split.test & (data.stars >= least_stars)
    seen = data.pairs(split.train)
    relevant = data.pairs(right) & ~seen
    users = np.flatnonzero(relevant.any(axis=1))
    return Task(
        data=data,
        train=split.train,
        seen=seen,
        rankable=np.any(seen, axis=0),
        relevant=relevant[users],
        users=users,
        warm=np.any(seen[users], axis=1),
    )
