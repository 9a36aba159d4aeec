"""Parameters are chosen by what the validation slice says, and embeddings learn from the training part alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsvc.demo.synthetic import Size, write_dataset
from recsvc.evaluation.choice import choose
from recsvc.evaluation.data_set import DataSet, read_data_set
from recsvc.evaluation.learning import aligned, interactions
from recsvc.evaluation.splits import random_split
from recsvc.evaluation.task import make_task
from recsvc.training.als import AlsParameters, train_als
from tests.unit.evaluation.small import small

GRID = {"regularization": (1.0, 1e4), "alpha": (1.0, 2.0)}
BASE = AlsParameters(dimension=4, iterations=3)


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    """A small made-up data set."""
    write_dataset(tmp_path, seed=5, size=Size(users=40, films=60, ratings=1_200))
    return read_data_set(tmp_path)


def test_the_best_of_the_grid_is_chosen(data: DataSet) -> None:
    """All pairs are tried, and the best on the validation slice wins."""
    everything = np.ones(len(data), np.bool_)
    told: list[tuple[int, int]] = []
    task = make_task(data, random_split(everything, 0.25, np.random.default_rng(0)))
    choice = choose(task, 5, BASE, GRID, step=lambda done, total: told.append((done, total)))
    pairs = {(parameters.regularization, parameters.alpha) for parameters in choice.tried}
    assert pairs == {(1.0, 1.0), (1e4, 1.0), (1.0, 2.0), (1e4, 2.0)}
    assert choice.ndcg == max(choice.tried.values()) > min(choice.tried.values())
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_what_is_outside_the_slice_changes_no_choice(data: DataSet) -> None:
    """Ratings that are in neither part could be anything."""
    some = np.arange(len(data)) % 3 > 0
    split = random_split(some, 0.25, np.random.default_rng(1))
    one = choose(make_task(data, split), 5, BASE, GRID)
    data.stars[~some], data.item_of[~some] = 1.0, 0
    assert choose(make_task(data, split), 5, BASE, GRID) == one


def test_embeddings_know_the_part_alone(tmp_path: Path) -> None:
    """Ids of the rest are not in them, and stand as zeros in the order of the whole."""
    data = small(tmp_path)
    part = interactions(data, data.times < 500)
    assert (list(part.users), list(part.items), len(part)) == (["1", "2"], ["10", "20"], 3)
    vectors = aligned(train_als(part, BASE), data)
    assert vectors.users.any(axis=1).tolist() == [True, True, False]
    assert vectors.items.any(axis=1).tolist() == [True, True, False, False, False]
