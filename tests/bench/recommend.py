"""Benchmarks of Recommend: what it finds, how long it takes, what it costs, and how it bears swaps and overload.

recall, latency, naive, swap, overload and memory; see the files recommend_*.py. The world (rows, indexes) is built at
first use, see recommend_world. The last line of the output is one JSON object, as that of tests.bench.read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from tests.bench import (
    recommend_latency,
    recommend_memory,
    recommend_naive,
    recommend_overload,
    recommend_recall,
    recommend_swap,
)
from tests.bench.command import run
from tests.bench.recommend_stand import Sizes
from tests.bench.report import Report

BENCHMARKS: Final[Mapping[str, Callable[[Sizes], Awaitable[Report]]]] = {
    "recall": recommend_recall.measure,
    "latency": recommend_latency.measure,
    "naive": recommend_naive.measure,
    "swap": recommend_swap.measure,
    "overload": recommend_overload.measure,
    "memory": recommend_memory.measure,
}
SCALES: Final[Mapping[str, Sizes]] = {
    "full": Sizes(),
    "quick": Sizes(seconds=8.0, rounds=2, queries=20),
    "tiny": Sizes(seconds=0.6, rounds=1, queries=3, quiet_s=0.3),
}
"""How much is measured: "tiny" only tests the benchmark itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status, which expectations have no part in."""
    asked = _parser().parse_args(arguments)
    sizes = replace(SCALES[asked.scale], items=asked.items, reuse=asked.reuse)
    names = list(BENCHMARKS) if asked.what == "all" else [asked.what]
    measure = [partial(BENCHMARKS[name], sizes) for name in names]
    return run("recommend", measure, {"what": names, "scale": asked.scale, "items": sizes.items})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.recommend",
        description="Measure Recommend.",
        epilog="The last line is one JSON object.",
    )
    parser.add_argument(
        "what", nargs="?", default="all", choices=[*BENCHMARKS, "all"], help="which benchmark; see recommend_*.py"
    )
    parser.add_argument("--items", type=int, default=1_000_000, metavar="N", help="items of the catalogue [1000000]")
    parser.add_argument(
        "--reuse", action="store_true", help="take indexes that were built before recsvc/recommend/index changed"
    )
    parser.add_argument("--scale", choices=SCALES, default="full", help="how much is measured")
    return parser


if __name__ == "__main__":
    sys.exit(main())
