"""Reports: means and deviations over seeds, tables that are not cut, and a document of all figures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from recsvc.evaluation import report
from recsvc.evaluation.bootstrap import Interval
from recsvc.evaluation.choice import Choice
from recsvc.evaluation.metrics import Scores
from recsvc.evaluation.placements import FULL, ORDER
from recsvc.evaluation.random_run import RandomRun
from recsvc.evaluation.splits import Split
from recsvc.evaluation.task import make_task
from recsvc.evaluation.temporal_run import GROUPS, POPULARITY, TemporalRun
from recsvc.training.als import AlsParameters
from tests.unit.evaluation.small import small

BEST = AlsParameters(regularization=10.0, alpha=2.0)
CHOICE = Choice(BEST, {BEST: 0.5})


def scores(ndcg: float) -> Scores:
    """Return scores of two users, around a mean nDCG."""
    values = np.array([ndcg - 0.1, ndcg + 0.1])
    return Scores(values, values, values, 0.25, float("nan"))


def random_run(directory: Path, seed: int, full: float) -> RandomRun:
    """Return what a seed gave."""
    data = small(directory)
    task = make_task(data, Split(data.times < 500, data.times >= 500))
    return RandomRun(seed, task, CHOICE, {POPULARITY: scores(0.2), FULL: scores(full)}, {}, {"home: X": 3})


def temporal_run(directory: Path) -> TemporalRun:
    """Return what a cut gave."""
    task = random_run(directory, 0, 0.4).task
    by_method = {POPULARITY: scores(0.2), ORDER: scores(0.3), FULL: scores(0.4)}
    interval = Interval(0.1, -0.05, 0.25)
    differences = {POPULARITY: {ORDER: interval, FULL: interval}, ORDER: {POPULARITY: interval, FULL: interval}}
    return TemporalRun(
        task, CHOICE, "Examples()", dict.fromkeys(GROUPS, by_method), dict.fromkeys(GROUPS, differences), {}, {}
    )


def printed(directory: Path) -> str:
    """Return all that is printed."""
    console = Console(file=io.StringIO(), width=120)
    report.print_notes(console, 10)
    report.print_random(console, [random_run(directory, seed, 0.3 + seed / 10) for seed in (0, 1)])
    report.print_temporal(console, temporal_run(directory))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_deviation_is_that_of_a_sample(tmp_path: Path) -> None:
    """Of nDCG .3 and .4 the mean is .35 and the deviation √.005; of one seed there is none."""
    runs = [random_run(tmp_path, seed, 0.3 + seed / 10) for seed in (0, 1)]
    assert report.over_seeds(runs)[FULL]["nDCG"] == pytest.approx((0.35, 0.005**0.5))
    assert report.over_seeds(runs[:1])[FULL]["nDCG"] == pytest.approx((0.3, 0.0))


def test_all_is_printed_with_its_protocol(tmp_path: Path) -> None:
    """Protocols, numbers of users, choices, figures, differences and what was degraded; nothing is cut."""
    text = printed(tmp_path)
    for words in (
        *(
            "never a sample of them",
            "25% of all ratings",
            "the 80% quantile of all times",
            "10,000 bootstrap resamples",
        ),
        *("Task(2 warm and 1 cold users, 2 items)", "2 warm users", "1 cold users", "3 all users"),
        *("regularization 10, alpha 2 of 1 tried", "0.350 ± 0.071", "-0.150 ± 0.071", "+0.100 [-0.050, +0.250]"),
        "seed 1: 3 slates degraded: home: X",
    ):
        assert words in " ".join(text.split())
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_document_is_json(tmp_path: Path) -> None:
    """It has every figure, a missing one as null."""
    runs = [random_run(tmp_path, 0, 0.3)]
    found = json.loads(json.dumps(report.document(runs, temporal_run(tmp_path), 10), allow_nan=False))
    assert found["random"]["scores"][FULL]["nDCG"] == {"mean": pytest.approx(0.3), "sd": 0.0}
    assert found["random"]["seeds"][0]["scores"][FULL]["diversity"] is None
    assert found["temporal"]["users"] == {"warm": 2, "cold": 1, "all": 3}
    assert found["temporal"]["ndcg_differences"]["warm"][POPULARITY][FULL] == {"mean": 0.1, "low": -0.05, "high": 0.25}
