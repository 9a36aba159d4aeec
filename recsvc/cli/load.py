"""``recsvc load DEFS VIEW FILE…``: rows from Parquet, CSV and TSV files into the online store."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from recsvc.cli import store
from recsvc.errors import ConfigError
from recsvc.registry.loader import load as load_definitions
from recsvc.registry.model import FeatureView
from recsvc.registry.registry import Registry

if TYPE_CHECKING:
    from recsvc.online.ingest import Loader
    from recsvc.online.ingest_report import LoadReport

REJECTED_SHOWN: Final = 20
FAILED: Final = 1
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
    parser.add_argument("--strict", action="store_true", help="stop at the first bad row, status 1; its chunk is not written")
    parser.add_argument("--force", action="store_true", help="replace rows of the store also by older ones")
    parser.add_argument("--rejected", metavar="FILE", type=Path, help="write all rejected rows there: place, tab, reason")
    parser.add_argument("--event-time-column", metavar="C", help="[the event_time of the view's source, or event_time]")
    parser.add_argument(
        "--event-time-unit",
        choices=("s", "ms", "us"),
        help="what plain numbers count since 1970 where a time is wanted (event time and TIMESTAMP features)",
    )
    parser.add_argument("--delimiter", metavar="D", help="between cells; \\t is a tab [, in .csv; a tab in .tsv and .txt]")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Load, and print what came of it; the exit status is in --help."""
    try:
        url = store.store_url(args.redis, os.environ)
        delimiter = _delimiter(args.delimiter)
    except ConfigError as error:
        print(f"recsvc: {error}", file=sys.stderr)
        return store.WRONG_USAGE
    registry = load_definitions(args.definitions)
    return store.run_loop(_Command(args, registry, registry.view(args.view), delimiter).load(url))


def _delimiter(text: str | None) -> str | None:
    found = "\t" if text == "\\t" else text
    if found is not None and (len(found) != 1 or not found.isascii() or found in '"\r\n'):
        raise ConfigError(f"--delimiter {text!r}: must be one ASCII character, such as ; or \\t")
    return found


class _Command:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace, registry: Registry, view: FeatureView, delimiter: str | None) -> None:
        self._args = args
        self._registry = registry
        self._view = view
        self._delimiter = delimiter
        self._signal: int | None = None

    def __repr__(self) -> str:
        return f"_Command({self._view.label}, {len(self._args.files)} files)"

    async def load(self, url: str) -> int:
        """Load all files; the exit status."""
        # Here, not above: without the extra `data` the other commands must work, and with it they need not wait for it.
        from recsvc.online.ingest import open_reader  # noqa: PLC0415

        readers = [open_reader(path, self._delimiter) for path in self._args.files]
        with ExitStack() as stack:
            rejected = stack.enter_context(_writing(self._args.rejected)) if self._args.rejected else None
            bar = stack.enter_context(_bar(self._view.label, sum(reader.size for reader in readers)))
            async with store.open_store(url) as opened:
                loader = self._loader(opened.writer(), rejected, bar)
                try:
                    await loader.load(readers)
                finally:
                    bar.stop()
                    report = loader.report()
                    if report.read:
                        self._tell(report)
        return self._status(report)

    def _loader(self, writer: Any, rejected: TextIO | None, bar: Progress) -> Loader:
        pass
