"""What a benchmark shows at the end: tables for people, what was expected, and all of it as one line of JSON."""

from __future__ import annotations

import importlib.metadata
import json
import operator
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

_PACKAGES: Final = ("recsvc", "redis", "hiredis", "numpy", "pyarrow", "uvloop")
_PIPED_WIDTH: Final = 120

Figures = dict[str, object]
"""What goes into the JSON object: names to numbers, texts, lists and the like."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure, measured once per round."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Take the figures of all rounds, at least one."""
        return cls(tuple(values))

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:,.0f} ({min(self.values):,.0f} - {max(self.values):,.0f})"

    def figures(self) -> Figures:
        """Return median, smallest and largest, and in how many rounds."""
        low, high = min(self.values), max(self.values)
        return {"median": rounded(self.median), "min": rounded(low), "max": rounded(high), "rounds": len(self.values)}


def rounded(value: float) -> float:
    """Return a figure with four significant digits: more is noise."""
    return float(f"{value:.4g}")


class Relation(Enum):
    """How a figure has to stand to its limit."""

    AT_LEAST = ">="
    AT_MOST = "<="
    BELOW = "<"

    def holds(self, value: float, limit: float) -> bool:
        """Whether ``value`` stands so to ``limit``."""
        compare: Callable[[float, float], bool] = {">=": operator.ge, "<=": operator.le, "<": operator.lt}[self.value]
        return compare(value, limit)


@dataclass(frozen=True, slots=True)
class Expectation:
    """A ratio that was promised, and the one that came out."""

    name: str
    ratio: float
    relation: Relation
    limit: float

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.relation.holds(self.ratio, self.limit)

    @property
    def expected(self) -> str:
        """The promise, such as ``>= 20``."""
        return f"{self.relation.value} {self.limit:g}"

    def figures(self) -> Figures:
        """Return it for the JSON object."""
        return {"name": self.name, "ratio": rounded(self.ratio), "expected": self.expected, "met": self.met}


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found. ``figures`` is its part of the JSON object, ``notes`` are lines below its tables."""

    name: str
    tables: Sequence[Table]
    figures: Figures
    expectations: Sequence[Expectation] = ()
    notes: Sequence[str] = field(default_factory=list)


def table(title: str, first: str, *columns: str) -> Table:
    """Return an empty table: names in the first column, figures in the others."""
    made = Table(title=title, title_justify="left", title_style="bold")
    made.add_column(first)
    for column in columns:
        made.add_column(column, justify="right")
    return made


def machine() -> Figures:
    """Return what the figures depend on: cores, how busy they are, versions."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "load_average": [rounded(v) for v in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", facts.read_text()) if facts.exists() else None
    return found[1] if found else platform.processor()


def publish(benchmark: str, reports: Sequence[Report], began: Figures, settings: Figures) -> None:
    """Print everything; ``began`` is what ``machine`` said before the first measurement."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH)
    for report in reports:
        for made in report.tables:
            console.print(made)
        for note in report.notes:
            console.print(f"  {note}", highlight=False)
        console.print()
    kept = [e for report in reports for e in report.expectations]
    console.print(_verdicts(kept))
    print(json.dumps(_json(benchmark, reports, began, settings)))


def _verdicts(expectations: Sequence[Expectation]) -> Table:
    verdicts = table("Expectations", "ratio", "measured", "expected", "")
    for e in expectations:
        verdicts.add_row(e.name, f"{e.ratio:.3g}", e.expected, "met" if e.met else "[bold red]MISSED[/]")
    return verdicts


def _json(benchmark: str, reports: Sequence[Report], began: Figures, settings: Figures) -> Figures:
    return {
        "benchmark": benchmark,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": settings,
        "machine": {**began, "load_average_after": [rounded(v) for v in os.getloadavg()]},
        **{report.name: {**report.figures, "notes": list(report.notes)} for report in reports},
        "expectations": [e.figures() for report in reports for e in report.expectations],
    }
