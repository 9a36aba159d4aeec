"""recsvc against Feast: the same rows in the same Redis, the same generator, the shapes of feast-benchmarks.

Shapes are rows × features, in views of 10 INT64: 1 × 50, 10 × 50, 100 × 50 and 1 × 250. Feast is asked by its gRPC
server (``feast listen``, features listed one by one) and its HTTP server (``feast serve``); ours is asked for the same
list. Our first column has the cache off (``max_staleness`` 0: every call reads Redis), the second has it on and asks
for a few users again and again.

Each is measured with one call at a time over one connection, and with 16 in flight (more would only wait at Feast's 10
threads), in turns. Judged are requests per second of CPU ("per core": every server has one core, and none of these uses
more than one at a time) and the median of one call at a time. Samples of every answer are decoded and compared with
what is stored, so both sides tell the same values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.bench.feast_env import VERSION, feast_python
from tests.bench.read_definitions import VIEWS
from tests.bench.read_feast_peer import NARROW, ReadyFeast, ready_feast
from tests.bench.read_generator import Pressure
from tests.bench.read_process import Server, recsvc_server
from tests.bench.read_stand import BATCH, SERVICE, SINGLE, Calls, Measured, Series, Stand
from tests.bench.read_values import (
    DEFINITIONS,
    batch_request,
    check_batch,
    check_single,
    load,
    references,
    single_request,
)
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

OFF: Final = "recsvc, cache off"
ON: Final = "recsvc, cache on"
GRPC: Final = f"Feast {VERSION}, gRPC"
HTTP: Final = f"Feast {VERSION}, HTTP"
IN_FLIGHT: Final = 16
CONNECTIONS: Final = 4
HOT: Final = 20
"""Users that calls with the cache on ask for; one call's where that is more."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows and views of a call, and how many calls a burst of Feast has, as it takes long; ours ``OURS`` times that."""

    rows: int
    views: int
    calls: int

    @property
    def name(self) -> str:
        """Such as ``10 × 50``."""
        return f"{self.rows} × {self.views * 10}"


OURS: Final = 4
SHAPES: Final = (Shape(1, NARROW, 400), Shape(10, NARROW, 200), Shape(100, NARROW, 40), Shape(1, VIEWS, 200))


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many users have 5 views, and how many of them all; more than twice as many as are asked for at once.

    ``scale`` multiplies the calls of a burst; a burst of one call at a time has ``alone`` of that.
    """

    users: int = 5_000
    wide_users: int = 1_000
    scale: float = 1.0
    alone: float = 0.25
    rounds: int = 5


SIZES: Final[Mapping[str, Sizes]] = {
    "full": Sizes(),
    "quick": Sizes(4_000, 500, 0.5, 0.25, 2),
    "tiny": Sizes(3_200, 100, 0.03, 0.5, 1),
}


@dataclass(frozen=True, slots=True)
class Contender:
    """One side: which server, which calls, and how many in a burst."""

    server: Server
    calls: Calls
    times: int = 1


async def measure(sizes: Sizes) -> Report:
    """Measure all shapes."""
    python = feast_python()
    found: dict[str, dict[str, Series]] = {}
    with Stand.up() as stand:
        await load(stand.redis.url, sizes.users, views=NARROW)
        await load(stand.redis.url, sizes.wide_users, views=VIEWS)
        with _servers(stand, python, sizes) as (ours, feast):
            for shape in SHAPES:
                found[shape.name] = _in_turns(stand, shape, sizes, _contenders(stand, shape, sizes, ours, feast))
    return report(found, stand.repeats)


@contextlib.contextmanager
def _servers(stand: Stand, python: Path, sizes: Sizes) -> Iterator[tuple[Server, ReadyFeast]]:
    with (
        ready_feast(stand, python, sizes.users, sizes.wide_users) as feast,
        recsvc_server(DEFINITIONS, stand.redis.url, stand.cores.server) as ours,
    ):
        yield ours, feast


def _contenders(stand: Stand, shape: Shape, sizes: Sizes, ours: Server, feast: ReadyFeast) -> dict[str, Contender]:
    features = references(shape.views)
    known = sizes.users if shape.views <= NARROW else sizes.wide_users
    users = np.arange(known).reshape(-1, shape.rows).tolist()
    hot = [np.roll(np.arange(max(HOT, shape.rows)), i)[: shape.rows].tolist() for i in range(HOT)]
    found = {
        OFF: Contender(ours, _calls(stand, f"off{shape.name}", shape, users, fresh=True), OURS),
        ON: Contender(ours, _calls(stand, f"on{shape.name}", shape, hot, fresh=False), OURS),
        GRPC: Contender(feast.grpc, feast.grpc_calls(shape.name, features, users, shape.rows * shape.views)),
        HTTP: Contender(feast.http, feast.http_calls(shape.name, features, users, shape.rows * shape.views)),
    }
    found[ON].calls.primer = _calls(stand, f"primer{shape.name}", shape, hot, fresh=True).bodies
    return found


def _calls(stand: Stand, name: str, shape: Shape, users: Sequence[Sequence[int]], *, fresh: bool) -> Calls:
    features, keys = references(shape.views), shape.rows * shape.views
    if shape.rows == 1:
        singles = stand.bodies(name, (single_request(ids[0], features=features, fresh=fresh) for ids in users))
        return Calls(SERVICE + SINGLE, singles, keys, lambda n, reply: check_single(reply, users[n][0], shape.views))
    batches = stand.bodies(name, (batch_request(ids, features=features, fresh=fresh) for ids in users))
    return Calls(SERVICE + BATCH, batches, keys, lambda n, reply: check_batch(reply, users[n], shape.views))


def _in_turns(stand: Stand, shape: Shape, sizes: Sizes, contenders: Mapping[str, Contender]) -> dict[str, Series]:
    """Measure in turns, after a round that does not count."""
    loaded: dict[str, list[Measured]] = {name: [] for name in contenders}
    alone: dict[str, list[Measured]] = {name: [] for name in contenders}
    for number in range(-1, sizes.rounds):
        for name, contender in contenders.items():
            calls = max(8, round(shape.calls * sizes.scale * contender.times))
            connections = IN_FLIGHT if contender.calls.http else CONNECTIONS
            many = Pressure(IN_FLIGHT, connections, calls=calls, keep=max(1, calls // 3), most=3)
            one = Pressure(calls=max(4, round(calls * sizes.alone)))
            pair = stand.run(contender.server, contender.calls, many), stand.run(contender.server, contender.calls, one)
            if number >= 0:
                loaded[name].append(pair[0])
                alone[name].append(pair[1])
    found = {name: Series(tuple(loaded[name]), tuple(alone[name])) for name in contenders}
    for name in found.keys() - {ON}:
        read, asked = found[name].keys_read
        assert read == asked, f"{shape.name}, {name}: Redis read {read} keys, {asked} were asked for"
    return found


def report(found: Mapping[str, Mapping[str, Series]], repeats: Sequence[str]) -> Report:
    """Return a table per shape."""
    figures: Figures = {}
    tables = []
    for shape, sides in found.items():
        figures[shape] = {name: series.figures() for name, series in sides.items()}
        shown = table(
            f"{shape} INT64 (rows × features): one call at a time, and {IN_FLIGHT} in flight", "",
            "alone: p50 ms", "p99", "faster", "calls/s", "p50 ms", "p99", "CPU µs", "cheaper",
        )  # fmt: skip
        for name, series in sides.items():
            faster, cheaper = (f"{ratio:.1f} ×" for ratio in _ratios(series, sides[GRPC]))
            shown.add_row(
                name, f"{series.p50_alone:.2f}", f"{series.p99_alone:.2f}", faster, f"{series.per_s:,.0f}",
                f"{series.p50:.2f}", f"{series.p99:.2f}", f"{series.cpu_us:,.0f}", cheaper,
            )  # fmt: skip
        tables.append(shown)
    figures["ratios"] = {
        f"{shape}, {ours} to {peer}": dict(
            zip(("p50_alone", "per_core"), map(rounded, _ratios(sides[ours], sides[peer])), strict=True)
        )
        for shape, sides in found.items()
        for ours in sides.keys() & {OFF, ON}
        for peer in (GRPC, HTTP)
    }
    notes = [f"faster, cheaper: against {GRPC}", *repeats]
    return Report("feast", tables, figures, list(_expectations(found)), notes)


def _ratios(ours: Series, theirs: Series) -> tuple[float, float]:
    """Return how many times faster we are alone, and how many times as many calls a second of CPU answers."""
    return theirs.p50_alone / ours.p50_alone, theirs.cpu_against(ours)


def _expectations(found: Mapping[str, Mapping[str, Series]]) -> Iterator[Expectation]:
    one, hundred = found[SHAPES[0].name], found[SHAPES[2].name]
    ratio = _ratios(one[OFF], one[GRPC])[1]
    yield Expectation(f"1 × 50, cache off: requests/s per core, recsvc / {GRPC}", ratio, Relation.AT_LEAST, 4)
    ratio = _ratios(hundred[OFF], hundred[GRPC])[0]
    yield Expectation(f"100 × 50, cache off: p50, {GRPC} / recsvc", ratio, Relation.AT_LEAST, 15)
    ratio = _ratios(hundred[ON], hundred[GRPC])[0]
    yield Expectation(f"100 × 50, cache on: p50, {GRPC} / recsvc", ratio, Relation.AT_LEAST, 20)
    for shape, sides in found.items():
        least = min(min(_ratios(sides[OFF], sides[peer])) for peer in (GRPC, HTTP))
        yield Expectation(f"{shape}, cache off: never slower than either", least, Relation.AT_LEAST, 1)
