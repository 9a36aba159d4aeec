"""Who met what: the pairs of user and item that embeddings are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from recsvc.training.errors import TrainingError

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """n pairs. ``users`` and ``items`` are id texts, each once; every one of them has a pair.

    ``user_of`` and ``item_of``, int64[n], are places in them; ``weights``, float32[n], are above 0 and finite: how sure
    it is that the user likes the item; ``micros``, int64[n], is when it was (since 1970; 0 where nobody knows). A pair
    may stand there several times: its weights add up.
    """

    users: Sequence[str] = field(repr=False)
    items: Sequence[str] = field(repr=False)
    user_of: Int64s = field(repr=False)
    item_of: Int64s = field(repr=False)
    weights: npt.NDArray[np.float32] = field(repr=False)
    micros: Int64s = field(repr=False)

    def __post_init__(self) -> None:
        wrong = np.flatnonzero(~(np.isfinite(self.weights) & (self.weights > 0)))
        if len(wrong):
            row = int(wrong[0])
            raise TrainingError(
                f"interaction {row + 1}: its weight is {self.weights[row]}; a weight is finite and above 0"
                " (leave out what a user does not like)"
            )

    def __len__(self) -> int:
        return len(self.user_of)

    def __repr__(self) -> str:
        return f"Interactions({len(self):,} of {len(self.users):,} users and {len(self.items):,} items)"

    @classmethod
    def from_columns(
        cls,
        users: Sequence[str],
        items: Sequence[str],
        *,
        weights: npt.ArrayLike | None = None,
        micros: npt.ArrayLike | None = None,
    ) -> Self:
        """Return the pairs of n user ids and n item ids (canonical texts). Without ``weights``, each weighs 1.

        Users and items come out in the order of their ids, whatever the order of the pairs. Raises TrainingError.
        """
        n = len(users)
        one = np.ones(n, np.float32) if weights is None else np.asarray(weights, np.float32)
        times = np.zeros(n, np.int64) if micros is None else np.asarray(micros, np.int64)
        if not n == len(items) == len(one) == len(times):
            raise TrainingError(f"{n} users, {len(items)} items, {len(one)} weights, {len(times)} times: not of one n")
        user_texts, user_of = _numbered(users)
        item_texts, item_of = _numbered(items)
        return cls(user_texts, item_texts, user_of, item_of, one, times)

    def where(self, mask: npt.NDArray[np.bool_]) -> Interactions:
        """Return the pairs that ``mask`` bool[n] names, and of users and items only those that they have."""
        users, user_of = np.unique(self.user_of[mask], return_inverse=True)
        items, item_of = np.unique(self.item_of[mask], return_inverse=True)
        return Interactions(
            [self.users[place] for place in users.tolist()],
            [self.items[place] for place in items.tolist()],
            user_of.astype(np.int64),
            item_of.astype(np.int64),
            self.weights[mask],
            self.micros[mask],
        )


def _numbered(texts: Sequence[str]) -> tuple[list[str], Int64s]:
    """Return the different texts, in order, and the place of each given one among them."""
    distinct = sorted(set(texts))
    place = {text: index for index, text in enumerate(distinct)}
    return distinct, np.fromiter((place[text] for text in texts), np.int64, len(texts))
