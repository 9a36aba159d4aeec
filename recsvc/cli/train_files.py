"""What `recsvc train` reads its files with: the columns that a file has, and a bar that shows how far it is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recsvc.cli.load import cell_delimiter
from recsvc.errors import ConfigError
from recsvc.registry.model import Entity

if TYPE_CHECKING:
    from recsvc.training.interactions import Interactions

UNITS: Final = ("s", "ms", "us")
"""Those of recsvc.online.ingest_rules, which needs an extra that --help must not need."""


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Describe the columns of a file of interactions."""
    parser.add_argument("--user-column", metavar="COL", help="the column of user ids [the join key]")
    parser.add_argument("--item-column", metavar="COL", help="the column of item ids [the join key]")
    parser.add_argument("--time", metavar="COL", help="the column that says when it was")
    parser.add_argument("--time-unit", choices=UNITS, help="what plain numbers in --time count since 1970")
    parser.add_argument("--delimiter", metavar="D", help="what is between cells [in .csv a comma, else a tab]")


class Bar:
    """A progress bar with one task at a time. Only where stderr is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("", total=None)
        self._what = ""

    def __repr__(self) -> str:
        return f"Bar({self._what!r})"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the block runs."""
        with self._progress:
            yield

    def begin(self, what: str) -> None:
        """Say what is done now."""
        self._what = what
        self._progress.reset(self._task, total=None, description=what)

    def step(self, done: int, total: int) -> None:
        """Say how much of it is done."""
        self._progress.update(self._task, completed=done, total=total)


def read(args: argparse.Namespace, path: Path, user: Entity, item: Entity, bar: Bar) -> Interactions:
    """Read a file of interactions as the arguments say. Raises ConfigError and TrainingError."""
    # Needs pyarrow, of an extra.
    from recsvc.online.ingest_rules import UNITS as FACTORS  # noqa: PLC0415
    from recsvc.training.interaction_files import FileColumns, read_interactions  # noqa: PLC0415

    if args.time_unit is not None and args.time is None:
        raise ConfigError("--time-unit says what the numbers of a column are: name it with --time")
    columns = FileColumns(
        args.user_column or user.join_key,
        args.item_column or item.join_key,
        getattr(args, "weight", None),
        args.time,
        FACTORS.get(args.time_unit),
    )
    bar.begin(f"reading {path.name}")
    delimiter = cell_delimiter(args.delimiter)
    return read_interactions(path, user, item, columns, delimiter=delimiter, on_progress=bar.step)
