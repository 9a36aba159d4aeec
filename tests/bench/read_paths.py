"""What a call costs the server, against the floor: a bare grpc.aio method that returns as many bytes.

Four paths: one user × 10 features and 100 users × 10 features, from the cache and from Redis. Each is measured with 64
calls in flight over 4 connections, where its CPU per call counts, and one call at a time, where only latency counts.
Floor and paths take turns. Every call carries a deadline, as callers should send one.

The paths to Redis ask for every user once in the whole run, so the cache cannot help, and Redis' own counters must say
that it read exactly as many keys as were asked for. The paths to the cache ask for a few users again and again; these
are read once before each burst, and once more where a burst takes so long that they get too old. Samples of all answers
are decoded and compared with what is stored; all others must have the size of those.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.bench.read_generator import Pressure
from tests.bench.read_process import Server, floor_server, recsvc_server
from tests.bench.read_stand import BATCH, SERVICE, SINGLE, SPARE, Calls, Measured, Series, Stand
from tests.bench.read_values import DEFINITIONS, Ints, batch_request, check_batch, check_single, load, single_request
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

ROWS: Final = 100
HOT: Final = 100
"""Users that the paths to the cache ask for."""
HIT_MOST: Final = 0.02
"""The part of those that Redis may be asked for: what became too old meanwhile."""
IN_FLIGHT: Final = 64
CONNECTIONS: Final = 4
SINGLE_FLOOR: Final = "floor, reply of 1 × 10"
BATCH_FLOOR: Final = "floor, reply of 100 × 10"


@dataclass(frozen=True, slots=True)
class Limit:
    """A path of the table: its name, the floor that it is compared with, and how many times that it may cost."""

    name: str
    floor: str
    most: float
    cached: bool
    batch: bool


SINGLE_HIT: Final = Limit("GetFeatures 1 × 10, hit", SINGLE_FLOOR, 1.5, cached=True, batch=False)
SINGLE_READ: Final = Limit("GetFeatures 1 × 10, Redis", SINGLE_FLOOR, 2.2, cached=False, batch=False)
BATCH_HIT: Final = Limit("GetFeaturesBatch 100 × 10, hit", BATCH_FLOOR, 2.7, cached=True, batch=True)
BATCH_READ: Final = Limit("GetFeaturesBatch 100 × 10, Redis", BATCH_FLOOR, 5.0, cached=False, batch=True)
LIMITS: Final = {"hit": SINGLE_HIT, "redis": SINGLE_READ, "batch-hit": BATCH_HIT, "batch-redis": BATCH_READ}
"""The paths by the names that read_profile knows them by."""
ORDER: Final = (SINGLE_FLOOR, SINGLE_HIT.name, SINGLE_READ.name, BATCH_FLOOR, BATCH_HIT.name, BATCH_READ.name)
"""Every floor is followed by what is compared with it."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Calls of each burst: under load (single, batch), and one at a time; how many rounds.

    Many short rounds: the ratio of each is taken, so what else the machine does has to be the same for a second only.
    """

    calls: int = 3_000
    batches: int = 500
    alone: int = 60
    rounds: int = 15

    @property
    def users(self) -> int:
        """Users that are needed for nobody to be asked for twice by the paths to Redis; the hot ones come first."""
        return self.first_row + (self.rounds + 1 + SPARE) * (self.batches + self.alone) * ROWS

    @property
    def first_row(self) -> int:
        """The first of those that are asked for in batches."""
        return HOT + (self.rounds + 1 + SPARE) * (self.calls + self.alone)


SIZES: Final[Mapping[str, Sizes]] = {
    "full": Sizes(),
    "quick": Sizes(1_500, 250, 20, 6),
    "tiny": Sizes(100, 20, 5, 1),
}


def make_calls(stand: Stand, sizes: Sizes) -> dict[str, Calls]:
    """Write the requests of every path."""
    singles = range(HOT, sizes.first_row)
    batches = np.arange(sizes.first_row, sizes.users).reshape(-1, ROWS)
    hot = np.array([np.roll(np.arange(HOT), i)[:ROWS] for i in range(HOT)])
    calls = {
        SINGLE_HIT.name: _singles(stand, "hot", range(HOT)),
        SINGLE_READ.name: _singles(stand, "distinct", singles),
        BATCH_HIT.name: _batches(stand, "hot-batches", hot),
        BATCH_READ.name: _batches(stand, "distinct-batches", batches),
    }
    calls[SINGLE_HIT.name].primer = stand.bodies("primer", (single_request(user, fresh=True) for user in range(HOT)))
    calls[BATCH_HIT.name].primer = stand.bodies("batch-primer", iter([batch_request(hot[0], fresh=True)]))
    return calls


def _singles(stand: Stand, name: str, users: Sequence[int]) -> Calls:
    bodies = stand.bodies(name, (single_request(user) for user in users))
    return Calls(SERVICE + SINGLE, bodies, 1, lambda number, reply: check_single(reply, users[number], 1))


def _batches(stand: Stand, name: str, users: Ints) -> Calls:
    bodies = stand.bodies(name, (batch_request(row) for row in users))
    return Calls(SERVICE + BATCH, bodies, ROWS, lambda number, reply: check_batch(reply, users[number], 1))


def make_floors(calls: Mapping[str, Calls]) -> dict[str, Calls]:
    """Return calls of the floor: with the same requests, and nothing to check."""
    single, batch = calls[SINGLE_READ.name], calls[BATCH_READ.name]
    return {SINGLE_FLOOR: Calls(single.path, single.bodies), BATCH_FLOOR: Calls(batch.path, batch.bodies)}


@dataclass(frozen=True, slots=True)
class Field:
    """Servers and calls, ready to be measured."""

    stand: Stand
    ours: Server
    floor: Server
    calls: Mapping[str, Calls]
    floors: Mapping[str, Calls]

    def burst(self, name: str, pressure: Pressure) -> Measured:
        """Run a burst of a path or of a floor."""
        if name in self.floors:
            return self.stand.run(self.floor, self.floors[name], pressure)
        return self.stand.run(self.ours, self.calls[name], pressure)


@contextlib.contextmanager
def field(stand: Stand, sizes: Sizes, python: str | Path = sys.executable) -> Iterator[Field]:
    """Start our server and the floor, which returns as many bytes as ours; the rows must be there (``load``)."""
    calls = make_calls(stand, sizes)
    with recsvc_server(DEFINITIONS, stand.redis.url, stand.cores.server, python) as ours:
        replies = {SINGLE: stand.reply(ours, calls[SINGLE_HIT.name]), BATCH: stand.reply(ours, calls[BATCH_HIT.name])}
        with floor_server(replies, stand.cores.server, python) as floor:
            yield Field(stand, ours, floor, calls, make_floors(calls))


async def measure(sizes: Sizes, *, floor_only: bool = False) -> Report:
    """Measure all paths, or the floor alone."""
    with Stand.up() as stand:
        await load(stand.redis.url, sizes.users, views=1)
        with field(stand, sizes) as ready:
            return report(measure_field(ready, sizes, floor_only=floor_only), stand.repeats)


def measure_field(ready: Field, sizes: Sizes, *, floor_only: bool = False) -> dict[str, Series]:
    """Measure floors and paths in turns, after a round that does not count."""
    names = [SINGLE_FLOOR, BATCH_FLOOR] if floor_only else ORDER
    loaded: dict[str, list[Measured]] = {name: [] for name in names}
    alone: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(-1, sizes.rounds):
        for name in names:
            batch = name in {BATCH_FLOOR, BATCH_HIT.name, BATCH_READ.name}
            calls = sizes.batches if batch else sizes.calls
            many = ready.burst(name, Pressure(IN_FLIGHT, CONNECTIONS, calls=calls, keep=max(1, calls // 10)))
            one = ready.burst(name, Pressure(calls=sizes.alone))
            if number >= 0:
                loaded[name].append(many)
                alone[name].append(one)
    found = {name: Series(tuple(loaded[name]), tuple(alone[name])) for name in names}
    for limit in () if floor_only else LIMITS.values():
        _check(limit, found[limit.name])
    return found


def _check(limit: Limit, series: Series) -> None:
    """Fail where Redis did not read what the path is about."""
    read, asked = series.keys_read
    if limit.cached:
        assert read <= HIT_MOST * asked + HOT, f"{limit.name}: Redis read {read} of {asked} keys"
        return
    sizes = {size: times for measured in series.loaded for size, times in measured.burst.sizes.items()}
    assert len(sizes) == 1, f"{limit.name}: replies of several sizes (bytes: times): {sizes}"
    assert read == asked, f"{limit.name}: Redis read {read} keys, {asked} were asked for"


def report(found: Mapping[str, Series], notes: Sequence[str]) -> Report:
    """Return the tables."""
    costs = table(
        f"CPU of the server per call, {IN_FLIGHT} in flight", "path", "µs", "× floor", "at most", "calls/s", "p50 ms",
        "p99 ms", "alone: p50", "p99",
    )  # fmt: skip
    busy = table("Who was busy, in parts of a core", "path", "server", "generator", "Redis", "keys asked", "keys read")
    expectations, ratios = [], {}
    limits = {limit.name: limit for limit in LIMITS.values()}
    for name, series in found.items():
        ratio = most = ""
        if limit := limits.get(name):
            ratios[name] = series.cpu_against(found[limit.floor])
            ratio, most = f"{ratios[name]:.2f}", f"{limit.most:g}"
            expectations.append(Expectation(f"CPU: {name} / floor", ratios[name], Relation.AT_MOST, limit.most))
        costs.add_row(
            name, f"{series.cpu_us:,.1f}", ratio, most, f"{series.per_s:,.0f}", f"{series.p50:.2f}",
            f"{series.p99:.2f}", f"{series.p50_alone:.2f}", f"{series.p99_alone:.2f}",
        )  # fmt: skip
        read, asked = series.keys_read
        busy.add_row(name, *(f"{share:.2f}" for share in series.shares), f"{asked:,}", f"{read:,}")
    figures: Figures = {name: series.figures() for name, series in found.items()}
    figures["ratios"] = {name: rounded(ratio) for name, ratio in ratios.items()}
    return Report("paths", [costs, busy], figures, expectations, notes)
