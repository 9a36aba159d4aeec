"""``recsvc evaluate``: how good the demo's recommendations are, measured through a server on data it has not seen."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recsvc.cli.serve import cancel_on_signals, run_loop
from recsvc.demo.synthetic import write_dataset
from recsvc.errors import ConfigError
from recsvc.telemetry import logs

if TYPE_CHECKING:
    from recsvc.evaluation.data_set import DataSet
    from recsvc.evaluation.random_run import RandomRun
    from recsvc.evaluation.temporal_run import TemporalRun

SEEDS: Final = "0-4"
K: Final = 10
WIDTH: Final = 120
"""Of what is printed, also where it goes into a file: tables are cut where they do not fit."""
INTERRUPTED: Final = 130
LARGEST_K: Final = 100
MOST_SEEDS: Final = 100
MADE_UP_SEED: Final = 7


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure how good the demo's recommendations are",
        description="Splits a data set, trains on one part, serves that from a private Redis, asks the server for"
        " recommendations and compares them with the other part, which it cannot know; side by side with popularity"
        " and exact scoring. Prints the protocol with the figures. Needs recsvc[demo,train].",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a directory in the form of MovieLens 100K as RecBole keeps it (*.inter, *.item, *.user);"
        " without it, data is made up",
    )
    parser.add_argument("--split", choices=["random", "temporal", "both"], default="both", help="[both]")
    parser.add_argument("--seeds", default=SEEDS, metavar="A-B", help=f"seeds of the random splits, or one [{SEEDS}]")
    parser.add_argument("--k", type=int, default=K, metavar="N", help=f"length of a slate [{K}]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate; 0 when that is done."""
    seeds = parse_seeds(args.seeds)
    if not 1 <= args.k <= LARGEST_K:
        raise ConfigError(f"--k {args.k}: must be from 1 to {LARGEST_K}")
    logs.set_up("warning", "text")
    # Here, not above: training needs extras that other commands do without.
    from recsvc.evaluation.data_set import read_data_set  # noqa: PLC0415

    if args.data is not None:
        data = read_data_set(args.data)
    else:
        with tempfile.TemporaryDirectory(prefix="recsvc-evaluate-") as directory:
            write_dataset(Path(directory), seed=MADE_UP_SEED)
            data = read_data_set(Path(directory))
    print(f"data: {args.data or f'made up (seed {MADE_UP_SEED})'}: {data!r}")
    try:
        return run_loop(_evaluate(data, [] if args.split == "temporal" else seeds, args))
    except asyncio.CancelledError:  # a signal came; what was started is closed
        return INTERRUPTED


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that A-B or A names; raises ConfigError."""
    first, dash, last = text.partition("-")
    if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
        raise ConfigError(f"--seeds {text!r} is not A-B, such as {SEEDS}, or one number")
    seeds = range(int(first), int(last if dash else first) + 1)
    if not 1 <= len(seeds) <= MOST_SEEDS:
        raise ConfigError(f"--seeds {text!r} names {len(seeds)} seeds, there must be 1 to {MOST_SEEDS}")
    return list(seeds)


async def _evaluate(data: DataSet, seeds: list[int], args: argparse.Namespace) -> int:
    from recsvc.evaluation import report  # noqa: PLC0415
    from recsvc.evaluation.random_run import run_random  # noqa: PLC0415
    from recsvc.evaluation.temporal_run import run_temporal  # noqa: PLC0415
    from recsvc.training.als import AlsParameters  # noqa: PLC0415

    cancel_on_signals()
    console, base = Console(width=WIDTH), AlsParameters()
    runs: list[RandomRun] = []
    temporal: TemporalRun | None = None
    report.print_notes(console, args.k)
    if seeds:
        with _bar() as bar:
            runs = [await run_random(data, seed, args.k, base, bar) for seed in seeds]
        report.print_random(console, runs)
    if args.split != "random":
        with _bar() as bar:
            temporal = await run_temporal(data, args.k, base, bar)
        report.print_temporal(console, temporal)
    if args.json is not None:
        _write(args.json, json.dumps(report.document(runs, temporal, args.k), indent=2))
    return 0


class _Bar:
    """Shows what is being done on stderr, where that is a terminal."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._task = shown.add_task("", total=None)
        self._what = ""

    def __repr__(self) -> str:
        return f"_Bar({self._what!r})"

    def __call__(self, what: str, done: int = 0, total: int | None = None) -> None:
        """Show how far it is."""
        if what != self._what:
            self._what = what
            self._shown.reset(self._task, description=what, total=total)
        self._shown.update(self._task, completed=done, total=total)


@contextmanager
def _bar() -> Iterator[_Bar]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        yield _Bar(shown)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {path}: cannot be written ({error.strerror})") from error
