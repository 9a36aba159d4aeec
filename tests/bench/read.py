"""Benchmarks of the read path: what a call costs against a bare gRPC method, against Feast, and as load changes.

floor and paths (read_paths), feast (read_feast), batch, hits, proxy and memory. The last line of the output is one
JSON object: ``machine``, ``settings``, a part for each benchmark that ran, and ``expectations`` (name, ratio, expected,
met).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from tests.bench import read_batch, read_feast, read_grpcio, read_hits, read_memory, read_paths
from tests.bench.command import run
from tests.bench.report import Report

SCALES: Final = ("full", "quick", "tiny")
"""How much is measured: "tiny" only tests the benchmark itself."""


def _floor(scale: str) -> Awaitable[Report]:
    return read_paths.measure(read_paths.SIZES[scale], floor_only=True)


def _paths(scale: str) -> Awaitable[Report]:
    return read_paths.measure(read_paths.SIZES[scale])


def _feast(scale: str) -> Awaitable[Report]:
    return read_feast.measure(read_feast.SIZES[scale])


def _batch(scale: str) -> Awaitable[Report]:
    return read_batch.measure(read_batch.SIZES[scale])


def _hits(scale: str) -> Awaitable[Report]:
    return read_hits.measure(read_hits.SIZES[scale], proxy=False)


def _proxy(scale: str) -> Awaitable[Report]:
    return read_hits.measure(read_hits.SIZES[scale], proxy=True)


def _memory(scale: str) -> Awaitable[Report]:
    return read_memory.measure(read_memory.SIZES[scale])


BENCHMARKS: Final[Mapping[str, Callable[[str], Awaitable[Report]]]] = {
    "floor": _floor,
    "paths": _paths,
    "feast": _feast,
    "batch": _batch,
    "hits": _hits,
    "proxy": _proxy,
    "memory": _memory,
}
PARTS: Final = frozenset({"floor", "hits"})
"""What others measure too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status, which expectations have no part in."""
    asked = _parser().parse_args(arguments)
    scale = "quick" if asked.quick else asked.scale
    names = [name for name in BENCHMARKS if name not in PARTS] if asked.what == "all" else [asked.what]
    if asked.grpcio:
        against = partial(read_grpcio.measure, read_paths.SIZES[scale], asked.grpcio)
        return run("read", [against], {"what": ["grpcio"], "scale": scale})
    return run("read", [partial(BENCHMARKS[name], scale) for name in names], {"what": names, "scale": scale})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.read",
        description="Measure the read path. Ratios count: they are of one run, in turns.",
        epilog="The last line is one JSON object.",
    )
    parser.add_argument(
        "what", nargs="?", default="all", choices=[*BENCHMARKS, "all"], help="which benchmark; see its file, read_*.py"
    )
    parser.add_argument("--scale", choices=SCALES, default="full", help="how much is measured")
    parser.add_argument("--quick", action="store_true", help="the same as --scale quick")
    parser.add_argument(
        "--grpcio",
        nargs="+",
        metavar="VERSION",
        help=f"compare releases of grpcio instead, {read_grpcio.NEWEST!r} for the one that pip would install",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
