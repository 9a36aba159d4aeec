"""Where the CPU of one path goes: `python -m tests.bench.read_profile batch-redis --seconds 10`.

Runs the path as the benchmark does, first as it is (CPU per call), then under py-spy, which has to be on PATH or beside
this Python. Prints the functions that most samples were taken in, and those that most were taken in or below. With
``--hold`` it keeps up the load, prints the server's process id and waits, for whatever else one wants to look with.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console

from tests.bench.read_generator import Pressure
from tests.bench.read_paths import BATCH_FLOOR, CONNECTIONS, IN_FLIGHT, LIMITS, SINGLE_FLOOR, Field, Sizes, field
from tests.bench.read_stand import Stand
from tests.bench.read_values import load
from tests.bench.report import table
from tests.parts.redis_server import short_folder

NAMES: Final = {
    **{name: limit.name for name, limit in LIMITS.items()},
    "floor": SINGLE_FLOOR,
    "floor-batch": BATCH_FLOOR,
}
SIZES: Final = Sizes(calls=100_000, batches=3_000, alone=0, rounds=1)
WARM_UP_S: Final = 1.0
RATE: Final = 250
"""Samples per second; each stops the server for a moment."""
FOREVER_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    seconds: float
    native: bool
    hold: bool
    lines: bool
    output: Path | None


async def profile(name: str, wanted: Wanted) -> None:
    """Load the path, and print what it costs and where."""
    with Stand.up() as stand:
        await load(stand.redis.url, SIZES.users, views=1)
        with field(stand, SIZES) as ready:
            _run(ready, name, WARM_UP_S)
            _run(ready, name, wanted.seconds)
            server = ready.floor if name in ready.floors else ready.ours
            if wanted.hold:
                print(f"server is process {server.pid}, at {server.address}; Ctrl-C ends it", flush=True)
                _run(ready, name, FOREVER_S)
            else:
                _profile(ready, name, server.pid, wanted)


def _profile(ready: Field, name: str, pid: int, wanted: Wanted) -> None:
    with ThreadPoolExecutor(1) as pool:
        stacks = pool.submit(_spy, pid, wanted.seconds, native=wanted.native)
        _run(ready, name, wanted.seconds + 1)
        text = stacks.result()
    if wanted.output:
        wanted.output.write_text(text)
    _show(text, lines=wanted.lines)


def _run(ready: Field, name: str, seconds: float) -> None:
    found = ready.burst(name, Pressure(IN_FLIGHT, CONNECTIONS, seconds=seconds))
    server, generator, redis = found.shares
    print(
        f"{name}: {found.cpu_us:.1f} µs of CPU per call, {found.burst.calls / found.burst.seconds:,.0f} calls/s,"
        f" p50 {found.burst.latency.p50:.2f} ms; keys read {found.keys_read:,} of {found.asked:,} in"
        f" {found.commands:,} commands; busy: server {server:.2f} generator {generator:.2f} Redis {redis:.2f}",
        flush=True,
    )


def _spy(pid: int, seconds: float, *, native: bool) -> str:
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        sys.exit("py-spy is neither on PATH nor beside this Python (pip install py-spy)")
    command = [program, "record", "--pid", str(pid), "--duration", f"{max(1, round(seconds))}", "--rate", str(RATE)]
    with short_folder() as folder:
        command += ["--format", "raw", "--output", str(folder / "stacks"), *(["--native"] if native else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"py-spy failed: {done.stderr}")
        return (folder / "stacks").read_text()


def _show(stacks: str, *, lines: bool) -> None:
    """Print tables from lines of ``outer;…;inner COUNT``, a frame being ``function (file:line)``."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        names = [frame if lines else re.sub(r":\d+\)$", ")", frame) for frame in frames.split(";")]
        own[names[-1]] += int(count)
        below.update(dict.fromkeys(names, int(count)))
    samples = own.total()
    for title, counts in (("In the function itself", own), ("In it or below", below)):
        shown = table(f"{title} ({samples:,} samples)", "function", "%")
        for name, times in counts.most_common(40):
            shown.add_row(name, f"{100 * times / samples:.1f}")
        Console(width=140).print(shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.read_profile", description=__doc__)
    parser.add_argument("path", choices=list(NAMES))
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--native", action="store_true", help="with frames of C code")
    parser.add_argument("--hold", action="store_true", help="keep up the load and wait")
    parser.add_argument("--lines", action="store_true", help="count by line, not by function")
    parser.add_argument("--output", type=Path, help="keep the stacks, as flamegraph.pl takes them")
    asked = parser.parse_args(arguments)
    wanted = Wanted(asked.seconds, asked.native, asked.hold, asked.lines, asked.output)
    uvloop.run(profile(NAMES[asked.path], wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
