"""How commands print for people: tables that nothing cuts in files and pipes, and words that go with a number."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

UNCUT: Final = 10_000
"""Columns of what is no terminal: more than any line has, since who reads a file or a pipe wants whole lines."""


def output() -> Console:
    """Return the console of stdout; lines that go to no terminal are as long as they are."""
    console = Console()
    if not console.is_terminal:
        console.width = UNCUT
    return console


def print_table(console: Console, table: Table) -> None:
    """Print a table; each line ends with its last word, and not with the blanks of its last column."""
    with console.capture() as captured:
        console.print(table)
    console.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in "1 view" and "2,000 views"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
