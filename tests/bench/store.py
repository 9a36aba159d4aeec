"""Benchmarks of the online store: loading, reading from a Cluster, memory (store_load, store_cluster, store_memory).

The last line of the output is one JSON object: ``machine``, ``settings``, a part for each benchmark that ran, and
``expectations`` (name, ratio, expected, met).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.bench import store_cluster, store_load, store_memory
from tests.bench.command import run
from tests.bench.report import Report

QUICK_SCALE: Final = 0.1
QUICK_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asks for; ``scale`` multiplies how much is done, ``rounds`` None: as each thinks right."""

    scale: float
    rounds: int | None
    feast: bool


def _load(settings: Settings) -> Awaitable[Report]:
    sizes = store_load.Sizes()
    values = round(sizes.values * settings.scale)
    return store_load.measure(store_load.Sizes(values, settings.rounds or sizes.rounds), feast=settings.feast)


def _cluster(settings: Settings) -> Awaitable[Report]:
    sizes = store_cluster.Sizes()
    reads = max(1, round(sizes.reads * settings.scale))
    return store_cluster.measure(store_cluster.Sizes(reads, settings.rounds or sizes.rounds))


def _memory(settings: Settings) -> Awaitable[Report]:
    users = max(1, round(store_memory.Sizes().users * settings.scale))
    return store_memory.measure(store_memory.Sizes(users))


BENCHMARKS: Final[Mapping[str, Callable[[Settings], Awaitable[Report]]]] = {
    "load": _load,
    "cluster": _cluster,
    "memory": _memory,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status, which expectations have no part in."""
    asked = _parser().parse_args(arguments)
    scale = asked.scale or (QUICK_SCALE if asked.quick else 1.0)
    settings = Settings(scale, asked.rounds or (QUICK_ROUNDS if asked.quick else None), not asked.no_feast)
    names = list(BENCHMARKS) if asked.what == "all" else [asked.what]
    asked_for = {"what": names, "scale": settings.scale, "rounds": settings.rounds}
    return run("store", [partial(BENCHMARKS[name], settings) for name in names], asked_for)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.store",
        description="Measure the online store. Ratios count: they are of one run, in turns. A full run takes about"
        " ten minutes, and one more for the first one, which installs Feast.",
        epilog="The last line is one JSON object.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        default="all",
        choices=[*BENCHMARKS, "all"],
        help="load: rows/s against Feast; cluster: client CPU against standalone; memory: bytes per entity",
    )
    parser.add_argument("--quick", action="store_true", help=f"--scale {QUICK_SCALE} --rounds {QUICK_ROUNDS}")
    parser.add_argument("--scale", type=float, help="multiply rows, reads and users by this")
    parser.add_argument("--rounds", type=int, help="how often each contender is measured")
    parser.add_argument("--no-feast", action="store_true", help="measure loading without Feast")
    return parser


if __name__ == "__main__":
    sys.exit(main())
