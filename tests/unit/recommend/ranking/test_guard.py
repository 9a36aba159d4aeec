"""Whatever a model does, the pipeline gets finite scores for all rows, or the reason why it has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from recsvc.recommend.ranking.card import Floats
from recsvc.recommend.ranking.guard import GuardedRanker
from recsvc.recommend.ranking.ranker import Contributions, Explains

ROWS = np.zeros((3, 2))
NAMES = ("a", "b")


class Scripted:
    """A ranker that does what a test tells it to."""

    name = "scripted"
    version = "1"
    service = "s"
    explains = Explains.SCORE
    is_quick = False

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act

    def __repr__(self) -> str:
        return "Scripted()"

    def rank(self, matrix: Floats, names: Sequence[str]) -> Floats:  # noqa: ARG002  # as in Ranker
        """Do it."""
        found: Floats = self._act()
        return found

    def contributions(self, matrix: Floats, names: Sequence[str]) -> Contributions | None:  # noqa: ARG002  # likewise
        """Do it."""
        found = self._act()
        return None if found is None else Contributions(0.0, found)


def fails(error: BaseException) -> Callable[[], Any]:
    """Return something that raises."""

    def act() -> object:
        raise error

    return act


def test_good_scores_pass() -> None:
    """Scores of any number type come as float64, with no reason beside them."""
    ranking = GuardedRanker(Scripted(lambda: np.array([3, 1, 2], np.float32))).rank(ROWS, NAMES)
    assert ranking.scores is not None
    assert ranking.scores.dtype == np.float64
    assert (ranking.scores.tolist(), ranking.detail) == ([3.0, 1.0, 2.0], "")


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (fails(ValueError("no such tensor")), "ValueError: no such tensor"),
        (fails(MemoryError()), "MemoryError"),
        (lambda: "x", "ValueError"),
        (lambda: [1.0, np.nan, np.inf], "2 of 3 scores are not finite"),
        (lambda: [1.0, 2.0], "scores of (2,)"),
        (lambda: [[1.0], [2.0], [3.0]], "scores of (3, 1)"),
        (lambda: 1.0, "scores of ()"),
    ],
)
def test_bad_scores_are_a_reason(act: Callable[[], Any], says: str) -> None:
    """An error, scores that are no numbers, not finite, or not one for each row: None, and why."""
    ranking = GuardedRanker(Scripted(act)).rank(ROWS, NAMES)
    assert ranking.scores is None
    assert says in ranking.detail


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt()], ids=repr)
def test_what_ends_the_work_goes_on(error: BaseException) -> None:
    """A cancellation or an interrupt is no failure of the model."""
    with pytest.raises(type(error)):
        GuardedRanker(Scripted(fails(error))).rank(ROWS, NAMES)


def test_contributions_are_there_or_not() -> None:
    """An explanation that fails, or has a number that is none, is left out, and why; one that is not there just is."""
    good = GuardedRanker(Scripted(lambda: ROWS)).contributions(ROWS, NAMES)
    assert good.contributions is not None
    for act, detail in (
        (fails(ValueError("no such node")), "ValueError: no such node"),
        (lambda: np.full((3, 2), np.nan), "contributions that are not finite"),
        (lambda: np.full((3, 2), "x"), "TypeError"),
        (lambda: None, ""),
    ):
        found, told = GuardedRanker(Scripted(act)).contributions(ROWS, NAMES)
        assert found is None
        assert told.startswith(detail)


def test_a_repr_shows_whom_it_guards() -> None:
    """A log line tells which model it was."""
    assert repr(GuardedRanker(Scripted(lambda: None))) == "GuardedRanker(Scripted())"
