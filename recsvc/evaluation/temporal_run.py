"""The temporal evaluation: all that was rated from one moment on is asked for, what was rated before is known.

So it was in life: nothing is learnt from anybody's future. Most users are new then, and what is popular changes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from recsvc.demo.recommending import genre_flags
from recsvc.evaluation.asking import ask
from recsvc.evaluation.baselines import exact_scoring, popularity
from recsvc.evaluation.bootstrap import Interval, paired_difference
from recsvc.evaluation.choice import Choice, choose
from recsvc.evaluation.data_set import DataSet
from recsvc.evaluation.learning import aligned
from recsvc.evaluation.metrics import Scores, Slates, score
from recsvc.evaluation.placements import ORDER, RANKED_SPEC, TEMPORAL, ranked
from recsvc.evaluation.private_world import Served, private_world
from recsvc.evaluation.progress import Progress, steps, words
from recsvc.evaluation.rankers import Lessons, train_rankers
from recsvc.evaluation.splits import Mask, temporal_split
from recsvc.evaluation.task import Task, make_task
from recsvc.training.als import AlsParameters

CUT: Final = 0.8
LEAST_STARS: Final = 4.0
POPULARITY: Final = "popularity (numpy)"
RIVALS: Final = (POPULARITY, ORDER)
"""What all methods are compared with, user by user."""
EXACT: Final = "exact scoring (numpy)"
GROUPS: Final = ("warm", "cold", "all")

PROTOCOL: Final = """\
temporal split: what was rated from one moment on, the {cut:.0%} quantile of all times, is asked for; what was rated
before is the training part. A film with {stars:.0f} stars or more in the test part is relevant. Asked for are the users
who have one; warm ones have a rating in the training part, cold ones have none, and the server knows nothing of them.
For each, all films known in training and not rated by the user in training are ranked, never a sample of them; a film
that training does not know stays among the relevant. ALS parameters are chosen likewise on a cut at the {cut:.0%}
quantile of the training part's times. Rankers are trained on candidates that servers found at moments inside the
training part ({moments} quantiles of its times), with features as of then. Differences are of paired users, with 95 %
intervals from {resamples:,} bootstrap resamples."""


@dataclass(frozen=True, slots=True)
class TemporalRun:
    """What came out: by group of users and by method; ``differences`` of nDCG: by group, rival and method."""

    task: Task
    choice: Choice
    learnt: str
    scores: Mapping[str, Mapping[str, Scores]]
    differences: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    again: Mapping[str, int]
    degraded: Mapping[str, int]

    def groups(self) -> Mapping[str, Mask]:
        """Return who belongs to each group."""
        return groups(self.task)


def groups(task: Task) -> Mapping[str, Mask]:
    """Return who belongs to each group of GROUPS: bool[q]."""
    return dict(zip(GROUPS, (task.warm, ~task.warm, np.ones_like(task.warm)), strict=True))


async def run_temporal(data: DataSet, k: int, base: AlsParameters, progress: Progress) -> TemporalRun:
    """Cut, choose, train, serve and ask."""
    split = temporal_split(np.ones(len(data), np.bool_), data.times, CUT)
    validation = make_task(data, temporal_split(split.train, data.times, CUT), least_stars=LEAST_STARS)
    choice = await asyncio.to_thread(choose, validation, k, base, step=steps(progress, "temporal: ALS parameters"))
    task = make_task(data, split, least_stars=LEAST_STARS)
    slates: dict[str, Slates] = {POPULARITY: popularity(task, k)}
    again, degraded = Counter[str](), dict[str, int]()
    with TemporaryDirectory(prefix="recsvc-evaluate-models-") as name:
        models = Path(name)
        learnt = await train_rankers(data, split.train, Lessons(choice.parameters, LEAST_STARS), models, progress)
        served = Served(ranked, RANKED_SPEC, models)
        say = words(progress, "temporal")
        async with private_world(data, split.train, choice.parameters, served, say) as world:
            vectors = aligned(world.embeddings, data)
            slates[EXACT] = exact_scoring(task, k, vectors.users[task.users], vectors.items, task.warm)
            for title, placement in TEMPORAL.items():
                answers = await ask(world.client, placement, task, k, steps(progress, f"temporal: {placement}"))
                slates[title] = answers.slates
                again.update(answers.again)
                degraded |= {f"{placement}: {flaw}": n for flaw, n in answers.degraded.items()}
    scores = {group: _scores(task, who, slates) for group, who in groups(task).items()}
    return TemporalRun(task, choice, learnt, scores, _differences(scores), again, degraded)


def _scores(task: Task, who: Mask, slates: Mapping[str, Slates]) -> dict[str, Scores]:
    genres, rankable = genre_flags(task.data.genres), int(np.count_nonzero(task.rankable))
    return {title: score(found[who], task.relevant[who], genres, rankable) for title, found in slates.items()}


def _differences(scores: Mapping[str, Mapping[str, Scores]]) -> dict[str, dict[str, dict[str, Interval]]]:
    """Compare nDCG with that of each rival; every pair is resampled alike."""
    return {
        group: {
            rival: {
                title: paired_difference(one.ndcg, of[rival].ndcg, np.random.default_rng(0))
                for title, one in of.items()
                if title != rival
            }
            for rival in RIVALS
        }
        for group, of in scores.items()
    }
