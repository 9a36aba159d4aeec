"""What a worker needs: memory of one server and of two beside each other, how long they take to start and to load.

Private memory is what only that process has; the proportional share counts what several have (an index that is mapped,
the program) by the number that have it. A server of a single small view is what everything else comes on top of.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.read_generator import Pressure
from tests.bench.read_process import ROOT, Server, recsvc_server
from tests.bench.read_values import DEFINITIONS as SMALL
from tests.bench.recommend_definitions import KINDS
from tests.bench.recommend_latency import CACHED, GUESS_PER_S
from tests.bench.recommend_requests import requests
from tests.bench.recommend_stand import Shop, Sizes
from tests.bench.recommend_world import FIRST
from tests.bench.report import Figures, Report, rounded, table

MB: Final = 1024 * 1024
WARM_PER_S: Final = 20.0
_SMAPS: Final = re.compile(r"^(\w+):\s+(\d+) kB", re.MULTILINE)
LOAD: Final = """
import json, sys, time
from pathlib import Path
from recsvc.recommend.index import faiss_files
from recsvc.recommend.index.directory import open_index
took = []
for checksums in (False, True):
    began = time.perf_counter()
    open_index(Path(sys.argv[1]), checksums=checksums)
    took.append(time.perf_counter() - began)
print(json.dumps(took))
"""
"""Opens an index twice: as workers do after the first process has looked at its checksums, and as that one does."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in bytes."""

    resident: int
    share: int
    private: int

    @classmethod
    def of(cls, server: Server) -> Memory:
        """Read what the system says now."""
        found = {k: int(v) * 1024 for k, v in _SMAPS.findall(Path(f"/proc/{server.pid}/smaps_rollup").read_text())}
        return cls(found["Rss"], found["Pss"], found["Private_Clean"] + found["Private_Dirty"])

    def figures(self) -> Figures:
        """Return it for the JSON object, in MB."""
        return {name: rounded(getattr(self, name) / MB) for name in ("resident", "share", "private")}


async def measure(sizes: Sizes) -> Report:
    """Start servers, and look at them once they have answered slates."""
    async with Shop.open(sizes) as shop:
        found: dict[str, Memory] = {}
        with recsvc_server(SMALL, shop.stand.redis.url, shop.stand.cores.server) as small:
            found["a server without Recommend"] = Memory.of(small)
        with _warm(shop) as (first, start_s):
            found["one worker"] = Memory.of(first)
            with _warm(shop) as (second, _):
                found["two workers, the first"] = Memory.of(first)
                found["two workers, the second"] = Memory.of(second)
        loads = {kind: _load_s(shop, kind) for kind in KINDS}
        redis_bytes = int(shop.stand.redis.admin.info("memory")["used_memory"])
    return report(found, start_s, loads, redis_bytes, dict(shop.world.seconds), sizes)


@contextlib.contextmanager
def _warm(shop: Shop) -> Iterator[tuple[Server, float]]:
    """Start a server that has answered from both indexes; yields it, and how long it took to be ready."""
    began = time.perf_counter()
    with shop.server() as server:
        took = time.perf_counter() - began
        for kind in KINDS:
            asked = requests(shop.world, kind, shop.stand.folder, rate=GUESS_PER_S, hits=CACHED, placement="patient")
            shop.burst(server, asked, Pressure(rate=WARM_PER_S, seconds=shop.sizes.seconds))
        yield server, took


def _load_s(shop: Shop, kind: str) -> tuple[float, float]:
    """Return the seconds that opening an index takes, without and with its checksums; in a process of its own."""
    command: list[str | Path] = [sys.executable, "-c", LOAD, shop.world.indexes / kind / FIRST]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    without, with_sums = json.loads(done.stdout)
    return without, with_sums


def report(  # noqa: PLR0913, PLR0917  # all that was found
    found: Mapping[str, Memory],
    start_s: float,
    loads: Mapping[str, tuple[float, float]],
    redis_bytes: int,
    built: Mapping[str, float],
    sizes: Sizes,
) -> Report:
    """Return the tables."""
    shown = table(
        f"Memory of a worker, {sizes.items:,} items, two indexes, MB", "process", "resident", "share", "private"
    )
    for name, memory in found.items():
        shown.add_row(name, *(f"{size / MB:,.0f}" for size in (memory.resident, memory.share, memory.private)))
    times = table("Seconds", "what", "s")
    times.add_row("a worker, from its start until it answers", f"{start_s:.2f}")
    for kind, (without, with_sums) in loads.items():
        times.add_row(f"open the index, {kind}, sizes checked alone", f"{without:.3f}")
        times.add_row(f"open the index, {kind}, with its checksums", f"{with_sums:.3f}")
    for what, took in built.items():
        times.add_row(f"once: {what}", f"{took:.1f}")
    figures: Figures = {name: memory.figures() for name, memory in found.items()}
    figures |= {"start_s": rounded(start_s), "load_s": dict(loads), "built_s": dict(built)}
    figures["redis_mb"] = rounded(redis_bytes / MB)
    return Report("memory", [shown, times], figures, (), [f"Redis, with all rows: {redis_bytes / MB:,.0f} MB"])
