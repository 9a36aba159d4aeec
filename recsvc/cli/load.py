"""``recsvc load DEFS VIEW FILE…``: rows from Parquet, CSV and TSV files into the online store."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from recsvc.app import now_micros
from recsvc.cli import store
from recsvc.cli.console import counted
from recsvc.cli.serve import run_loop
from recsvc.errors import ConfigError
from recsvc.registry.loader import load as load_definitions
from recsvc.registry.model import FeatureView
from recsvc.registry.schema import Schema

if TYPE_CHECKING:
    from recsvc.online.ingest_report import LoadReport

REJECTED_SHOWN: Final = 20
_NOTES: Final = """\
A FILE has a column for each join key (named like it) and each feature of the view, and one with the event time. Other
columns are ignored, with a note. CSV and TSV name their columns in the first line; cells may be quoted with "; an empty
cell is null, also in a STRING column; vectors and lists are written [1, 2]. Names ending in .gz are unpacked.

Times are timestamps, dates, or ISO 8601 text, UTC where they have no zone; plain numbers need --event-time-unit. The
event time must not be null, nor more than 1 h ahead of the clock.

Loading is safe to repeat: a row never replaces one of a later event time; at equal event time the later write wins.
A bad row is reported with its line and does not stop the rest.

Exit status: 0 done, also where some rows were rejected; 1 where all were, or with --strict one was, or the load
failed; 2 wrong usage; 130 stopped by Ctrl-C (what was written stays).

example: recsvc load definitions.py profile users.parquet --redis redis://localhost:6379"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "load",
        help="load rows of a view from Parquet, CSV or TSV files into the online store",
        description="Loads rows of a view from Parquet (.parquet), CSV (.csv) or TSV (.tsv, .txt) files.",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("definitions", metavar="DEFS", help="definitions: a Python file or module")
    parser.add_argument("view", metavar="VIEW", help="the view that the rows are of: its name, or name@v2")
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a Parquet, CSV or TSV file")
    store.add_redis(parser)
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first bad row, status 1; its chunk is not written"
    )
    parser.add_argument("--force", action="store_true", help="replace rows of the store also by older ones")
    parser.add_argument(
        "--rejected", metavar="FILE", type=Path, help="write all rejected rows there: place, tab, reason"
    )
    parser.add_argument(
        "--event-time-column",
        metavar="C",
        help="the column of the event time [as the view's source says, else event_time]",
    )
    parser.add_argument(
        "--event-time-unit",
        choices=("s", "ms", "us"),
        help="what plain numbers count since 1970 where a time is wanted (event time and TIMESTAMP features)",
    )
    parser.add_argument(
        "--delimiter",
        metavar="D",
        help="what is between cells, such as ; or \\t [in .csv a comma, in .tsv and .txt a tab]",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Load, and print what came of it; the exit status is in --help."""
    try:
        url = store.store_url(args.redis, os.environ)
        delimiter = cell_delimiter(args.delimiter)
    except ConfigError as error:
        print(f"recsvc: {error}", file=sys.stderr)
        return store.WRONG_USAGE
    registry = load_definitions(args.definitions)
    view = registry.view(args.view)
    return run_loop(_load(args, view, registry.schema(view), url, delimiter))


def cell_delimiter(text: str | None) -> str | None:
    """Return what --delimiter says; raises ConfigError."""
    found = "\t" if text == "\\t" else text
    if found is not None and (len(found) != 1 or not found.isascii() or found in '"\r\n'):
        raise ConfigError(f"--delimiter {text!r}: must be one ASCII character, such as ; or \\t")
    return found


async def _load(args: argparse.Namespace, view: FeatureView, schema: Schema, url: str, delimiter: str | None) -> int:
    # Imported here: without the extra `data` the other commands must work, and with it they need not wait for it.
    from recsvc.online.ingest import Loader, LoadSettings, open_reader  # noqa: PLC0415
    from recsvc.online.ingest_convert import Converter  # noqa: PLC0415
    from recsvc.online.ingest_report import Rejections  # noqa: PLC0415
    from recsvc.online.ingest_rules import UNITS  # noqa: PLC0415

    now, unit = now_micros(), UNITS.get(args.event_time_unit)
    converter = Converter(view, schema, now_micros=now, event_time_column=args.event_time_column, unit=unit)
    readers = [open_reader(path, delimiter) for path in args.files]
    bar, stop = _Bar(view.label, sum(reader.size for reader in readers)), store.Stop()
    with _writing(args.rejected) as rejected:
        async with store.open_store(url) as opened:
            loader = Loader(
                converter,
                opened.writer(),
                now_micros=now,
                settings=LoadSettings(strict=args.strict, force=args.force),
                rejections=Rejections(rejected),
                on_progress=bar.show,
                should_stop=stop.wanted,
            )
            try:
                with bar.shown(), stop.listening():
                    report = await loader.load(readers)
            except BaseException:
                if loader.report().read:
                    _tell(loader.report())
                raise
    _tell(report)
    return stop.status or _status(report)


@contextmanager
def _writing(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--rejected {path}: cannot be written ({error.strerror})") from error
    with file:
        yield file


class _Bar:
    """The progress bar: how much of the files was read, and rows/s. Only where stderr is a terminal."""

    def __init__(self, title: str, size: int) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[rows]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=size, rows="")

    def __repr__(self) -> str:
        return f"_Bar({self._progress.tasks[self._task].completed})"

    def shown(self) -> Progress:
        """Show it while the block runs."""
        return self._progress

    def show(self, report: LoadReport, done: int) -> None:
        """Move it on."""
        self._progress.update(self._task, completed=done, rows=f"{report.rows_per_s:,.0f} rows/s")


def _tell(report: LoadReport) -> None:
    """Print what is worth knowing of the rows on stderr, and the counts on stdout."""
    lines = [*report.notes, *map(str, report.examples[:REJECTED_SHOWN])]
    more = report.rejected - REJECTED_SHOWN
    if more > 0:
        lines.append(f"… and {counted(more, 'more rejected row')}; --rejected FILE writes them all down")
    if report.end.value != "complete":
        lines.append(_ENDS[report.end.value])
    if lines:
        print("\n".join(lines), file=sys.stderr)
    print(report, flush=True)


_ENDS: Final = {
    "stopped": "stopped: what was written stays, loading again does the rest",
    "strict": "stopped at a rejected row (--strict): neither it nor the rows of its chunk were written",
}


def _status(report: LoadReport) -> int:
    nothing = report.rejected > 0 and report.rejected == report.read
    return store.FAILED if nothing or report.end.value == "strict" else 0
