"""``recsvc top``: a live view of one or several servers, read from their metrics pages."""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Final

from rich.console import Console
from rich.live import Live

from recsvc.errors import ConfigError, StartupError
from recsvc.inspect.page_fetch import PageAddress, PageReader, Pages, address_of
from recsvc.inspect.top_frame import frame
from recsvc.inspect.top_watch import Sight, Watch

DEFAULT_PAGE: Final = "127.0.0.1:9464"
PAGE_VARIABLE: Final = "RECSVC_METRICS_PAGE"
INTERVAL_S: Final = 1.0
LEGEND: Final = """\
columns that do not speak for themselves:
  % of calls  share of the time of all calls; hops within hops count twice, and those side by side too
  usual %     share of the view's rows that were defaults since the servers began; deflt % is that of now
  why         status of most of these rows: why they have no values
  quality     part of the candidates that slates look for: 1, and less where ranking all would be too late

example: recsvc top 127.0.0.1:9464 127.0.0.1:9465"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "top",
        help="watch running servers: rates, p99, what is slow, what is degraded",
        description="Shows what servers do, from their metrics pages (recsvc serve --metrics-listen), until Ctrl-C.\n"
        "Several pages are added up: the workers of one service.",
        epilog=LEGEND,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "pages",
        nargs="*",
        metavar="PAGE",
        help=f"HOST:PORT or URL of a metrics page [{DEFAULT_PAGE}; {PAGE_VARIABLE}, with spaces between several]",
    )
    parser.add_argument(
        "--interval", type=float, default=INTERVAL_S, metavar="SECONDS", help="time between two looks [1]"
    )
    parser.add_argument("--once", action="store_true", help="look twice, an interval apart, print that and end")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="with --once: also write it as a picture")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Show until interrupted; with --once 0 where a page answered."""
    if not (math.isfinite(args.interval) and args.interval > 0):
        raise ConfigError(f"--interval {args.interval:g}: write seconds, more than 0")
    if args.svg is not None and not args.once:
        raise ConfigError("--svg goes with --once: a picture shows one frame")
    watch = watch_of(addresses(args.pages))
    if args.once:
        once(Console(record=args.svg is not None), watch, args.interval, args.svg)
    else:
        with terminated_as_interrupted():
            show(Console(), watch, args.interval)
    return 0


def addresses(texts: Sequence[str]) -> Sequence[PageAddress]:
    """Return the pages that are named, each once; without any those of the environment, else the default."""
    named = texts or os.environ.get(PAGE_VARIABLE, "").split() or [DEFAULT_PAGE]
    return list(dict.fromkeys(map(address_of, named)))


def watch_of(pages: Sequence[PageAddress]) -> Watch:
    """Return what looks at these pages."""
    return Watch(Pages(pages, PageReader()))


def once(console: Console, watch: Watch, interval_s: float, svg: Path | None = None) -> None:
    """Look twice and print that. Raises StartupError where no page answers."""
    watch.look()
    sleep(interval_s)
    sight = watch.look()
    if not sight.answering:
        raise StartupError(_nobody(sight))
    console.print(frame(sight))
    if svg is not None:
        _draw(console, svg)


def show(console: Console, watch: Watch, interval_s: float) -> None:
    """Look for ever: on a terminal in place, else one frame after the other."""
    if not console.is_terminal:
        while True:
            console.print(frame(watch.look()))
            sleep(interval_s)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(frame(watch.look()), refresh=True)
            sleep(interval_s)


def _nobody(sight: Sight) -> str:
    problems = "; ".join(f"{address}: {problem}" for address, problem in sight.silent.items())
    return f"no metrics page answers ({problems}); start the server with --metrics-listen HOST:PORT"


def _draw(console: Console, file: Path) -> None:
    """Write what was printed as a picture, with the fonts of whoever looks at it: it loads nothing from elsewhere."""
    picture = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="recsvc top"), flags=re.DOTALL)
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--svg {file}: cannot write there ({error.strerror})") from error


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the view as Ctrl-C does, so that the terminal gets its cursor back."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
