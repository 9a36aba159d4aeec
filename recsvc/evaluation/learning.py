"""What ALS learns from of a part of a data set, and its vectors by the numbers of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsvc.evaluation.data_set import DataSet
from recsvc.evaluation.splits import Mask
from recsvc.training.als import Embeddings
from recsvc.training.interactions import Interactions


class Vectors(NamedTuple):
    """Vectors by number of user and item, float32[u, d] and float32[i, d]; zeros where nothing was learnt."""

    users: NDArray[np.float32]
    items: NDArray[np.float32]


def interactions(data: DataSet, ratings: Mask) -> Interactions:
    """Return the ratings that are marked, all of one weight: who saw what. Others and their ids are not in it."""
    users, items = data.user_of[ratings].tolist(), data.item_of[ratings].tolist()
    return Interactions.from_columns(
        [data.users[number] for number in users],
        [data.items[number] for number in items],
        micros=np.round(data.times[ratings] * 1e6),
    )


def aligned(embeddings: Embeddings, data: DataSet) -> Vectors:
    """Return the vectors of ``embeddings`` in the order of ``data``."""
    user_numbers = {user: number for number, user in enumerate(data.users)}
    return Vectors(
        _placed(embeddings.users, embeddings.user_vectors, user_numbers),
        _placed(embeddings.items, embeddings.item_vectors, data.item_numbers),
    )


def _placed(ids: Sequence[str], vectors: NDArray[np.float32], numbers: Mapping[str, int]) -> NDArray[np.float32]:
    table = np.zeros((len(numbers), vectors.shape[1]), np.float32)
    table[[numbers[name] for name in ids]] = vectors
    return table
