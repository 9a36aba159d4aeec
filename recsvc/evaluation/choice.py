"""Chooses hyper-parameters on a validation slice of the training part; the test part has no say in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from recsvc.evaluation.baselines import exact_scoring
from recsvc.evaluation.learning import aligned, interactions
from recsvc.evaluation.metrics import found, ndcg
from recsvc.evaluation.task import Task
from recsvc.training.als import AlsParameters, train_als

GRID: Final[Mapping[str, Sequence[float]]] = {"regularization": (5.0, 10.0, 20.0, 40.0), "alpha": (1.0, 2.0, 4.0)}
"""What is tried. Both matter: more of either pulls vectors towards popularity, or away from it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The parameters that were best, and what each that was tried is worth: nDCG on the validation slice."""

    parameters: AlsParameters
    tried: Mapping[AlsParameters, float]

    @property
    def ndcg(self) -> float:
        """Return what the best ones are worth."""
        return self.tried[self.parameters]


def choose(
    task: Task,
    k: int,
    base: AlsParameters,
    grid: Mapping[str, Sequence[float]] = GRID,
    step: Callable[[int, int], None] = lambda _d, _n: None,
) -> Choice:
    """Try all of ``grid`` around ``base`` on ``task``, the validation slice: its warm users count.

    Of equals the first is chosen, so without warm users it is the first of the grid.
    """
    candidates = [
        replace(base, regularization=regularization, alpha=alpha)
        for alpha in grid["alpha"]
        for regularization in grid["regularization"]
    ]
    tried: dict[AlsParameters, float] = {}
    for number, parameters in enumerate(candidates):
        step(number, len(candidates))
        tried[parameters] = _worth(task, k, parameters)
    return Choice(max(tried, key=lambda parameters: tried[parameters]), tried)


def _worth(task: Task, k: int, parameters: AlsParameters) -> float:
    vectors = aligned(train_als(interactions(task.data, task.train), parameters), task.data)
    slates = exact_scoring(task, k, vectors.users[task.users], vectors.items, task.warm)
    warm = task.relevant[task.warm]
    values = ndcg(found(slates[task.warm], warm), warm.sum(axis=1))
    return float(values.mean()) if len(values) else 0.0
