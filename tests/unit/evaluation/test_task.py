"""Tasks ask for what the test part has, of all that training knows, and baselines answer them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsvc.evaluation.baselines import exact_scoring, popularity
from recsvc.evaluation.metrics import NONE
from recsvc.evaluation.splits import Split
from recsvc.evaluation.task import Task, make_task
from tests.unit.evaluation.small import small


def task(directory: Path, least_stars: float | None = None) -> Task:
    """Return the task of a cut at time 500: training has 1 × (10, 20) and 2 × 10."""
    data = small(directory)
    return make_task(data, Split(data.times < 500, data.times >= 500), least_stars=least_stars)


def test_relevant_is_what_the_test_part_has(tmp_path: Path) -> None:
    """Items that training does not know count as relevant, users without training are cold."""
    asked = task(tmp_path)
    assert asked.labels() == {"1": ["30"], "2": ["40", "50"], "3": ["10", "20"]}
    assert asked.warm.tolist() == [True, True, False]
    assert repr(asked) == "Task(2 warm and 1 cold users, 2 items)"


def test_relevant_can_ask_for_stars(tmp_path: Path) -> None:
    """Ratings below the least do not count, and a user left without any is not asked for."""
    assert task(tmp_path, 4.5).labels() == {"2": ["40"], "3": ["20"]}


def test_what_was_seen_in_training_is_not_asked_for_again(tmp_path: Path) -> None:
    """A film rated in both parts is neither ranked nor relevant."""
    data = small(tmp_path)
    data.item_of[2] = 0  # user 1 rates item 10 once more
    assert make_task(data, Split(data.times < 500, data.times >= 500)).labels().keys() == {"2", "3"}


def test_popularity_ranks_what_training_knows_and_the_user_has_not_seen(tmp_path: Path) -> None:
    """Nothing is left for user 1; user 2 has not seen 20; user 3 gets both, the one rated twice first."""
    assert popularity(task(tmp_path), 2).tolist() == [[NONE, NONE], [1, NONE], [0, 1]]


def test_exact_scoring_ranks_by_products_and_knows_no_cold_users(tmp_path: Path) -> None:
    """Items go by the product of vectors; a user without a vector gets popular items."""
    asked = task(tmp_path)
    items = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    known = np.array([True, True, True])
    assert exact_scoring(asked, 2, np.ones((3, 1)), items, known)[2].tolist() == [1, 0]
    assert exact_scoring(asked, 2, np.ones((3, 1)), items, asked.warm)[2].tolist() == [0, 1]


def test_slates_of_ids_become_numbers(tmp_path: Path) -> None:
    """Short slates end in NONE, long ones are cut."""
    assert task(tmp_path).numbers([["30", "10"], ["50"], []], 1).tolist() == [[2], [4], [NONE]]
    assert task(tmp_path).numbers([["30"], [], []], 2).tolist() == [[2, NONE], [NONE, NONE], [NONE, NONE]]
