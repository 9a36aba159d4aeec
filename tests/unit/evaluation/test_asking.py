"""What comes from the server is looked at before it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsvc.evaluation.asking import WrongSlateError, check
from recsvc.evaluation.metrics import NONE
from recsvc.evaluation.splits import Split
from recsvc.evaluation.task import Task, make_task
from tests.unit.evaluation.small import small


def task(directory: Path) -> Task:
    """Return a task of users 1, 2 and 3: training has 1 × (10, 20) and 2 × 10."""
    data = small(directory)
    return make_task(data, Split(data.times < 500, data.times >= 500))


def test_right_slates_pass(tmp_path: Path) -> None:
    """Empty and short slates are right, too."""
    check(task(tmp_path), np.array([[NONE, NONE], [1, NONE], [0, 1]]), "home")


@pytest.mark.parametrize(
    ("slate", "message"),
    [
        ([0, NONE], "home: 1 slates have an item that is seen; the first is user 2's"),
        ([4, NONE], "an item that is unknown in training"),
        ([1, 1], "an item that is twice"),
    ],
)
def test_wrong_slates_are_told(tmp_path: Path, slate: list[int], message: str) -> None:
    """An item that the user has seen, that nobody knew, or that is there twice ends the evaluation."""
    with pytest.raises(WrongSlateError, match=message):
        check(task(tmp_path), np.array([[NONE, NONE], slate, [0, 1]]), "home")
