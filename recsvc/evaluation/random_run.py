"""The random evaluation: a quarter of all ratings is asked for, the rest is known; as most papers do it.

It says how well what users like is told from the rest, not how well the future is: training knows later ratings too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.demo.recommending import genre_flags
from recsvc.evaluation.asking import ask
from recsvc.evaluation.baselines import exact_scoring, popularity
from recsvc.evaluation.choice import Choice, choose
from recsvc.evaluation.data_set import DataSet
from recsvc.evaluation.learning import aligned
from recsvc.evaluation.metrics import Scores, Slates, score
from recsvc.evaluation.placements import PLAIN_SPEC, RANDOM, plain
from recsvc.evaluation.private_world import Served, private_world
from recsvc.evaluation.progress import Progress, steps, words
from recsvc.evaluation.splits import random_split
from recsvc.evaluation.task import Task, make_task
from recsvc.training.als import AlsParameters

TEST_SHARE: Final = 0.25
VALIDATION_SHARE: Final = 0.25
"""Of the training part; as large as the test part's, so that what is best there is best here."""

PROTOCOL: Final = """\
random split: {test:.0%} of all ratings, drawn per rating, are asked for, the others are the training part; every rating
is relevant. Asked for are the users with a rating in the test part. For each, all films known in training and not rated
by the user in training are ranked, never a sample of them; a film that training does not know stays among the relevant.
ALS parameters are chosen for each seed on {validation:.0%} of its training part, drawn likewise. The last
rows are the full placement with one part of it switched off; they and it draw popular films by chance, so that a
second run differs by some thousandths."""


@dataclass(frozen=True, slots=True)
class RandomRun:
    """What one seed gave: by method, in the order in which they are shown."""

    seed: int
    task: Task
    choice: Choice
    scores: Mapping[str, Scores]
    again: Mapping[str, int]
    degraded: Mapping[str, int]


async def run_random(data: DataSet, seed: int, k: int, base: AlsParameters, progress: Progress) -> RandomRun:
    """Split by ``seed``, choose, train, serve and ask."""
    everything = np.ones(len(data), np.bool_)
    rng = np.random.default_rng(seed)
    split = random_split(everything, TEST_SHARE, rng)
    validation = make_task(data, random_split(split.train, VALIDATION_SHARE, rng))
    choice = await asyncio.to_thread(choose, validation, k, base, step=steps(progress, f"seed {seed}: ALS parameters"))
    task = make_task(data, split)
    slates: dict[str, Slates] = {"popularity (numpy)": popularity(task, k)}
    again, degraded = Counter[str](), dict[str, int]()
    served = Served(plain, PLAIN_SPEC)
    async with private_world(data, split.train, choice.parameters, served, words(progress, f"seed {seed}")) as world:
        vectors = aligned(world.embeddings, data)
        users = vectors.users[task.users]
        slates["exact scoring (numpy)"] = exact_scoring(task, k, users, vectors.items, task.warm)
        for title, placement in RANDOM.items():
            answers = await ask(world.client, placement, task, k, steps(progress, f"seed {seed}: {placement}"))
            slates[title] = answers.slates
            again.update(answers.again)
            degraded |= {f"{placement}: {flaw}": n for flaw, n in answers.degraded.items()}
    items, rankable = genre_flags(data.genres), int(np.count_nonzero(task.rankable))
    scores = {title: score(found, task.relevant, items, rankable) for title, found in slates.items()}
    return RandomRun(seed, task, choice, scores, again, degraded)
