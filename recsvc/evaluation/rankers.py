"""Trains the rankers on what the pipeline found at moments inside the training part, with features as of then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsvc.demo import variants
from recsvc.demo.recommending import HOME_RANKING
from recsvc.evaluation.data_set import DataSet
from recsvc.evaluation.placements import PLAIN_SPEC, plain, ranked
from recsvc.evaluation.private_world import Served, World, private_world
from recsvc.evaluation.progress import Progress, steps, words
from recsvc.evaluation.splits import Mask, time_windows
from recsvc.evaluation.task import make_task
from recsvc.training.als import AlsParameters
from recsvc.training.bundles import write_ranker
from recsvc.training.examples import Examples, joined
from recsvc.training.gather import Wanted, gather
from recsvc.training.linear import fit_linear
from recsvc.training.trees import fit_trees

VERSION: Final = "evaluation"
MOMENTS: Final = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Quantiles of the training part's times: candidates are looked for at each, labels are what came until the next."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What rankers are trained on: with which embeddings, labels of how many stars, and as of which moments."""

    als: AlsParameters
    least_stars: float
    moments: Sequence[float] = MOMENTS


async def gather_examples(data: DataSet, train: Mask, lessons: Lessons, progress: Progress) -> Examples:
    """Return candidates of all moments, each from a server that knows what came before that moment alone.

    Labels are what came from each moment until the next, or the end of the training part.
    """
    parts = []
    for number, split in enumerate(time_windows(train, data.times, lessons.moments), 1):
        what = f"temporal: training rankers, moment {number} of {len(lessons.moments)}"
        task = make_task(data, split, least_stars=lessons.least_stars)
        served = Served(plain, PLAIN_SPEC)
        async with private_world(data, split.train, lessons.als, served, words(progress, what)) as world:
            wanted = Wanted(variants.CANDIDATES, HOME_RANKING.name)
            since = _moved(world, data.times[split.test].min())
            parts.append(await gather(world.client, plain, wanted, task.labels(), since, steps(progress, what)))
    return joined(parts)


def _moved(world: World, time_s: float) -> int:
    """Return a time of the data in microseconds, as the world has it."""
    return round(time_s * 1e6) + round(world.shift.total_seconds()) * 1_000_000


async def train_rankers(data: DataSet, train: Mask, lessons: Lessons, models: Path, progress: Progress) -> str:
    """Write the bundles of both rankers into ``models``, and say what they learnt from."""
    examples = await gather_examples(data, train, lessons, progress)
    what = "temporal: fitting rankers"
    progress(what)
    linear = await asyncio.to_thread(fit_linear, examples)
    trees = await asyncio.to_thread(fit_trees, examples, step=steps(progress, what))
    for name, model in ((variants.LINEAR, linear), (variants.TREES, trees)):
        write_ranker(models / name, model, examples, ranked, name=name, service=HOME_RANKING.name, version=VERSION)
    return repr(examples)
