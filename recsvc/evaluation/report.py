"""Prints what an evaluation found under the protocol that it followed, and gives it as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from recsvc.evaluation import random_run, temporal_run
from recsvc.evaluation.bootstrap import RESAMPLES, Interval
from recsvc.evaluation.choice import Choice
from recsvc.evaluation.metrics import Scores
from recsvc.evaluation.placements import FULL
from recsvc.evaluation.random_run import RandomRun
from recsvc.evaluation.rankers import MOMENTS
from recsvc.evaluation.temporal_run import RIVALS, TemporalRun

METRICS: Final = ("nDCG", "recall", "MRR", "coverage", "diversity")
NOTES: Final = """\
Measured at k = {k}. nDCG: binary, discount log2(1 + rank), over the best slate there can be. recall: over all
relevant films, also where more than k are relevant. MRR: of the first relevant film within k. coverage: share of the
rankable films that are in a slate. diversity: mean over slates of 1 - cosine over pairs of films, by their genres.
Every slate but those marked numpy came from the server by gRPC; the server, its Redis, indexes and models knew the
training part alone."""


def figures(scores: Scores) -> dict[str, float]:
    """Return the means of all metrics, in the order of METRICS."""
    per_user = (scores.ndcg, scores.recall, scores.reciprocal_rank)
    means = [float(values.mean()) if len(values) else float("nan") for values in per_user]
    return dict(zip(METRICS, [*means, scores.coverage, scores.diversity], strict=True))


def over_seeds(runs: Sequence[RandomRun]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return for each method and metric the mean over seeds and the standard deviation (of a sample; one seed: 0)."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for title in runs[0].scores:
        of = [figures(run.scores[title]) for run in runs]
        values = {metric: np.array([one[metric] for one in of]) for metric in METRICS}
        found[title] = {metric: (float(v.mean()), _deviation(v)) for metric, v in values.items()}
    return found


def _deviation(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def print_notes(console: Console, k: int) -> None:
    """Print what the figures mean."""
    _say(console, NOTES.format(k=k))


def print_random(console: Console, runs: Sequence[RandomRun]) -> None:
    """Print the protocol and the figures of the random evaluation, mean ± standard deviation over seeds."""
    share = random_run.PROTOCOL.format(test=random_run.TEST_SHARE, validation=random_run.VALIDATION_SHARE)
    console.print()
    _say(console, share)
    for run in runs:
        _say(console, f"seed {run.seed}: {run.task!r}; {_chosen(run.choice)}")
    console.print()
    seeds = ", ".join(str(run.seed) for run in runs)
    table = _table(f"random split, seeds {seeds}: mean ± standard deviation", (*METRICS, "nDCG - full"))
    for title, values in over_seeds(runs).items():
        lost = [figures(run.scores[title])["nDCG"] - figures(run.scores[FULL])["nDCG"] for run in runs]
        difference = "" if title == FULL else f"{np.mean(lost):+.3f} ± {_deviation(np.array(lost)):.3f}"
        table.add_row(title, *(f"{mean:.3f} ± {sd:.3f}" for mean, sd in values.values()), difference)
    console.print(table)
    for run in runs:
        _print_flaws(console, f"seed {run.seed}: ", run.again, run.degraded)


def print_temporal(console: Console, run: TemporalRun) -> None:
    """Print the protocol and the figures of the temporal evaluation: warm and cold users apart."""
    text = temporal_run.PROTOCOL.format(
        cut=temporal_run.CUT,
        stars=temporal_run.LEAST_STARS,
        moments=", ".join(f"{moment:.0%}" for moment in MOMENTS),
        resamples=RESAMPLES,
    )
    console.print()
    _say(console, text)
    _say(console, f"{run.task!r}; {_chosen(run.choice)}")
    _say(console, f"rankers learnt from {run.learnt}")
    for group, who in run.groups().items():
        console.print()
        title = f"temporal split, {np.count_nonzero(who)} {group} users"
        table = _table(title, (*METRICS, *(f"nDCG - {rival}" for rival in RIVALS)))
        for name, scores in run.scores[group].items():
            differences = (run.differences[group][rival].get(name, "") for rival in RIVALS)
            table.add_row(name, *(_shown(value) for value in figures(scores).values()), *map(str, differences))
        console.print(table)
    _print_flaws(console, "", run.again, run.degraded)


def _shown(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _chosen(choice: Choice) -> str:
    best = choice.parameters
    return (
        f"ALS with regularization {best.regularization:g}, alpha {best.alpha:g} of {len(choice.tried)} tried"
        f" (nDCG {choice.ndcg:.3f} on the validation slice)"
    )


def _print_flaws(console: Console, where: str, again: Mapping[str, int], degraded: Mapping[str, int]) -> None:
    for flaw, count in again.items():
        _say(console, f"{where}{count} slates were asked for again: {flaw}")
    for flaw, count in degraded.items():
        _say(console, f"{where}{count} slates degraded: {flaw}")


def _say(console: Console, text: str) -> None:
    """Print a paragraph."""
    console.print(fill(text, console.width, break_on_hyphens=False), markup=False, highlight=False, soft_wrap=True)


def document(runs: Sequence[RandomRun], temporal: TemporalRun | None, k: int) -> Mapping[str, Any]:
    """Return all figures, as JSON has them; NaN is null."""
    found: dict[str, Any] = {"k": k}
    if runs:
        found["random"] = {
            "seeds": [_facts(run.choice) | {"seed": run.seed, "scores": _all(run.scores)} for run in runs],
            "scores": {
                title: {metric: {"mean": _number(m), "sd": _number(sd)} for metric, (m, sd) in values.items()}
                for title, values in over_seeds(runs).items()
            },
        }
    if temporal is not None:
        found["temporal"] = _facts(temporal.choice) | {
            "users": {group: int(np.count_nonzero(who)) for group, who in temporal.groups().items()},
            "scores": {group: _all(scores) for group, scores in temporal.scores.items()},
            "ndcg_differences": {
                group: {rival: {title: _ends(d) for title, d in of.items()} for rival, of in by.items()}
                for group, by in temporal.differences.items()
            },
        }
    return found


def _facts(choice: Choice) -> dict[str, Any]:
    best = choice.parameters
    return {"als": {"regularization": best.regularization, "alpha": best.alpha, "validation_ndcg": choice.ndcg}}


def _all(scores: Mapping[str, Scores]) -> dict[str, dict[str, float | None]]:
    return {title: {name: _number(v) for name, v in figures(one).items()} for title, one in scores.items()}


def _ends(difference: Interval) -> dict[str, float | None]:
    return {name: _number(getattr(difference, name)) for name in ("mean", "low", "high")}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
