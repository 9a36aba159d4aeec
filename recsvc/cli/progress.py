"""Progress of loading: a bar with rows/s on a terminal, a plain line otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def loading(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function to be told how many more rows are done."""
    started = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"loading {what}", total=total)

        def advance(rows: int) -> None:
            nonlocal done
            done += rows
            progress.update(task, advance=rows)

        yield advance
    rate = done / max(time.perf_counter() - started, 1e-9)
    console.print(f"loaded {what}: {done:,} rows, {rate:,.0f} rows/s", highlight=False)
