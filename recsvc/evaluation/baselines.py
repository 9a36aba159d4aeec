"""What recommendations are compared with, computed straight from the training part: popularity, and exact scoring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsvc.evaluation.metrics import Slates
from recsvc.evaluation.task import Task


def popularity(task: Task, k: int) -> Slates:
    """Recommend what most users rated in training: int64[q, k]; of equal ones, what comes first in the file."""
    return task.best(task.seen.sum(axis=0).astype(np.float64), k)


def exact_scoring(
    task: Task, k: int, users: NDArray[np.floating], items: NDArray[np.floating], known: NDArray[np.bool_]
) -> Slates:
    """Recommend by the product of all vectors: ``users``[q, d] of those asked for, ``items``[i, d]; int64[q, k].

    ``known`` bool[q] marks the users that have a vector; others get popular items, as from the server.
    """
    scores = users.astype(np.float64) @ items.astype(np.float64).T
    return np.where(known[:, None], task.best(scores, k), popularity(task, k))
