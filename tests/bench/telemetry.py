"""Benchmarks of telemetry: what metrics and traces cost, and what a dead collector changes.

cost (telemetry_cost) and dead (telemetry_dead). The last line of the output is one JSON object, as that of
tests.bench.read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from tests.bench import telemetry_cost, telemetry_dead
from tests.bench.command import run
from tests.bench.report import Report

BENCHMARKS: Final[Mapping[str, Callable[[str], Awaitable[Report]]]] = {
    "cost": telemetry_cost.measure,
    "dead": telemetry_dead.measure,
}
SCALES: Final = ("full", "quick", "tiny")
"""How much is measured: "tiny" only tests the benchmark itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status, which expectations have no part in."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.telemetry",
        description="Measure what telemetry costs. Ratios count: they are of one run, in turns.",
        epilog="The last line is one JSON object.",
    )
    parser.add_argument("what", nargs="?", default="all", choices=[*BENCHMARKS, "all"], help="which benchmark")
    parser.add_argument("--scale", choices=SCALES, default="full", help="how much is measured")
    asked = parser.parse_args(arguments)
    names = list(BENCHMARKS) if asked.what == "all" else [asked.what]
    measure = [partial(BENCHMARKS[name], asked.scale) for name in names]
    return run("telemetry", measure, {"what": names, "scale": asked.scale})


if __name__ == "__main__":
    sys.exit(main())
