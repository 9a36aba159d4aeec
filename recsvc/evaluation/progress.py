"""How an evaluation says how far it is; commands show it as bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Takes what is being done, and how much of it is done."""

    def __call__(self, what: str, done: int = 0, total: int | None = None) -> None:
        """Show that ``done`` of ``total`` steps of ``what`` are done; None: nobody knows how many there are."""
        ...


def steps(progress: Progress, what: str) -> Callable[[int, int], None]:
    """Return what takes the steps done, and the number of all, of one thing."""
    return lambda done, total: progress(what, done, total)


def words(progress: Progress, what: str) -> Callable[[str], None]:
    """Return what takes what is being done, as a part of one thing."""
    return lambda doing: progress(f"{what}: {doing}")
