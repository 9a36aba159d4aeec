"""What came of a load: counts, and the rows that were refused, each with its place and reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TextIO

EXAMPLES_KEPT: Final = 1_000
_PLAIN: Final = str.maketrans({"\t": " ", "\n": " ", "\r": " "})


class End(Enum):
    """How a load ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was refused: in which source, on which line (or row, counted from 1), and why."""

    source: str
    unit: str
    number: int
    reason: str

    @property
    def place(self) -> str:
        """Where the row is, such as ``ratings.csv line 17``."""
        return f"{self.source} {self.unit} {self.number}"

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class LoadReport:
    """``read`` rows, of which ``written``, ``stale`` (the store has a later one) and ``rejected``; ``seconds`` it took.

    Where a load was stopped, some rows that were read are none of these. ``examples`` are the first rejected rows.
    """

    end: End
    read: int
    written: int
    stale: int
    rejected: int
    seconds: float
    examples: tuple[Rejection, ...]
    notes: tuple[str, ...]

    @property
    def rows_per_s(self) -> float:
        """How fast it was."""
        return self.read / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        return (
            f"{self.read:,} rows read, {self.written:,} written, {self.stale:,} older than the store's,"
            f" {self.rejected:,} rejected ({self.rows_per_s:,.0f} rows/s)"
        )


class Rejections:
    """Collects rejected rows: all of them into ``file`` (tab-separated: place, reason), the first few in memory."""

    def __init__(self, file: TextIO | None = None, *, kept: int = EXAMPLES_KEPT) -> None:
        self.count = 0
        self.examples: list[Rejection] = []
        self._kept = kept
        self._file = file
        if file is not None:
            file.write("place\treason\n")

    def __repr__(self) -> str:
        return f"Rejections({self.count}, {len(self.examples)} kept)"

    def add(self, source: str, unit: str, rows: Iterable[tuple[int, str]]) -> None:
        """Take (number, reason) of rows of a source."""
        for number, reason in rows:
            self.count += 1
            if len(self.examples) >= self._kept and self._file is None:
                continue
            rejection = Rejection(source, unit, number, reason)
            if len(self.examples) < self._kept:
                self.examples.append(rejection)
            if self._file is not None:
                self._file.write(f"{rejection.place.translate(_PLAIN)}\t{reason.translate(_PLAIN)}\n")
