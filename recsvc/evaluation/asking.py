"""Asks the server for the slates of a task, and looks at each: nothing seen, nothing unknown, nothing twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.client import AsyncClient, Slate
from recsvc.errors import RecsvcError
from recsvc.evaluation.metrics import NONE, Slates
from recsvc.evaluation.task import Task

AT_ONCE: Final = 4
"""Calls in flight: the server is in this process, more would only make each other late."""
TRIES: Final = 5
"""How often a slate is asked for until nothing of it is degraded. What a busy machine does to one says nothing of its
placement; what stays is told."""


class WrongSlateError(RecsvcError):
    """A slate has an item that cannot be in it, if all was computed from the training part."""

    reason = "WRONG_SLATE"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Slates int64[q, k]; why some had to be asked for ``again``; and what was ``degraded`` in those that count."""

    slates: Slates
    again: Mapping[str, int]
    degraded: Mapping[str, int]


async def ask(
    client: AsyncClient, placement: str, task: Task, k: int, step: Callable[[int, int], None] = lambda _d, _n: None
) -> Answers:
    """Ask for a slate of ``k`` items for each user of ``task``. ``step`` gets how many are done, and of how many.

    Raises WrongSlateError, and ClientError where the server does not answer.
    """
    gate, again, degraded, done = asyncio.Semaphore(AT_ONCE), Counter[str](), Counter[str](), 0

    async def one(user: str) -> Sequence[str]:
        nonlocal done
        async with gate:
            for _ in range(TRIES):
                slate = await client.recommend(placement, user, limit=k)
                if not slate.degraded:
                    break
                again.update(_flaws(slate))
        done += 1
        step(done, len(task.users))
        degraded.update(_flaws(slate))
        return [item.id for item in slate]

    slates = task.numbers(await asyncio.gather(*map(one, task.user_ids)), k)
    check(task, slates, placement)
    return Answers(slates, again, degraded)


def _flaws(slate: Slate) -> set[str]:
    return {f"{flaw.reason.name} {flaw.view or flaw.source}".strip() for flaw in slate.degraded}


def check(task: Task, slates: Slates, name: str) -> None:
    """Raise WrongSlateError where an item is in a slate twice, was seen by the user, or is unknown in training."""
    there = slates != NONE
    seen = np.take_along_axis(task.seen[task.users], np.where(there, slates, 0), axis=1) & there
    unknown = ~task.rankable[np.where(there, slates, 0)] & there
    ordered = np.sort(np.where(there, slates, -1 - np.arange(slates.shape[1])), axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    for what, rows in (("seen", seen.any(axis=1)), ("unknown in training", unknown.any(axis=1)), ("twice", twice)):
        if rows.any():
            first = task.user_ids[int(np.argmax(rows))]
            raise WrongSlateError(
                f"{name}: {np.count_nonzero(rows)} slates have an item that is {what}; the first is user {first}'s"
            )
