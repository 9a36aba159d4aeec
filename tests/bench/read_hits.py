"""Hit ratios of 0, 50 and 95 % at a fixed load, on loopback and where Redis is 1 ms away.

GetFeatures for one user × 10 features comes at fixed times, whatever the answers do, at a part of what the server can
read from Redis. Calls for users who are asked for once are misses, those for a few users who are in the cache are
hits; their latencies are told apart. The way to Redis is made longer by a proxy that holds back every answer; how long
a round trip through it takes is measured with PING.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench.read_generator import Pressure
from tests.bench.read_process import Server, recsvc_server
from tests.bench.read_stand import SERVICE, SINGLE, SPARE, Calls, Measured, Stand
from tests.bench.read_values import DEFINITIONS, check_single, load, single_request
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

RATIOS: Final = (0.0, 0.5, 0.95)
HOT: Final = 100
MISS, HIT = 0, 1
CONNECTIONS: Final = 4
LOAD: Final = 0.4
"""The part of the calls per second that the server can read from Redis on loopback."""
DELAY_S: Final = 0.001
ROUND_TRIPS: Final = 1.3
PINGS: Final = 200
NEAR: Final = "loopback"
FAR: Final = "1 ms away"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds of a burst, rounds, and calls with which it is found out what the server can do."""

    seconds: float = 2.5
    rounds: int = 5
    probe: int = 3_000


SIZES: Final[Mapping[str, Sizes]] = {"full": Sizes(), "quick": Sizes(1.5, 2, 1_000), "tiny": Sizes(0.2, 1, 100)}
MOST_PER_S: Final = 10_000
"""More calls than that the generator is not asked to make."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured, by where Redis is and hit ratio."""

    rate: float
    round_trips: Mapping[str, float]
    measured: Mapping[tuple[str, float], list[Measured]]

    def p50(self, where: str, ratio: float, kind: int) -> float | None:
        """Return the median latency of misses or hits, in ms; None where there are none."""
        every = [m.burst.classes[kind].p50 for m in self.measured[where, ratio] if kind in m.burst.classes]
        return median(every) if every else None

    def p99(self, where: str, ratio: float, kind: int) -> float | None:
        """Return the 99th percentile, likewise."""
        every = [m.burst.classes[kind].p99 for m in self.measured[where, ratio] if kind in m.burst.classes]
        return median(every) if every else None


async def measure(sizes: Sizes, *, proxy: bool) -> Report:
    """Measure on loopback, and with ``proxy`` also where Redis is further away."""
    with Stand.up() as stand, _servers(stand, proxy=proxy) as (servers, addresses):
        probe = HOT + 2 * sizes.probe
        await load(stand.redis.url, probe, views=1)
        rate = _rate(stand, servers[NEAR], sizes)
        calls, users = _calls(stand, sizes, rate, probe, places=len(servers))
        await load(stand.redis.url, users, views=1)
        pressure = Pressure(connections=CONNECTIONS, rate=rate, seconds=sizes.seconds)
        measured: dict[tuple[str, float], list[Measured]] = {(place, r): [] for r in RATIOS for place in servers}
        for number in range(-1, sizes.rounds):
            for (place, ratio), every in measured.items():
                done = stand.run(servers[place], calls[ratio], pressure)
                if number >= 0:
                    every.append(done)
        outcome = Outcome(rate, {place: _ping_ms(address) for place, address in addresses.items()}, measured)
    return report(outcome, stand.repeats)


@contextlib.contextmanager
def _servers(stand: Stand, *, proxy: bool) -> Iterator[tuple[dict[str, Server], dict[str, str]]]:
    addresses = {NEAR: stand.redis.address}
    with contextlib.ExitStack() as stack:
        if proxy:
            addresses[FAR] = stack.enter_context(stand.generator.proxy(stand.redis.address, DELAY_S))
        servers = {
            place: stack.enter_context(recsvc_server(DEFINITIONS, f"redis://{address}", stand.cores.server))
            for place, address in addresses.items()
        }
        yield servers, addresses


def _rate(stand: Stand, server: Server, sizes: Sizes) -> float:
    """Return the load: a part of what the server can read from Redis, which is tried twice."""
    bodies = stand.bodies("probe", (single_request(user) for user in range(HOT, HOT + 2 * sizes.probe)))
    calls = Calls(SERVICE + SINGLE, bodies)
    for _ in range(2):
        burst = stand.run(server, calls, Pressure(64, CONNECTIONS, calls=sizes.probe)).burst
    return min(MOST_PER_S, LOAD * burst.calls / burst.seconds)


def _calls(stand: Stand, sizes: Sizes, rate: float, first: int, *, places: int) -> tuple[dict[float, Calls], int]:
    """Return the calls of each ratio, and how many users they need."""
    found, chance = {}, random.Random(95)
    for ratio in RATIOS:
        count = round(rate * sizes.seconds * (sizes.rounds + 1 + SPARE) * places)
        users = []
        for _ in range(count):
            hit = chance.random() < ratio
            users.append(chance.randrange(HOT) if hit else first)
            first += not hit
        calls = Calls(SERVICE + SINGLE, stand.bodies(f"{ratio}", _requests(users)), 1, _check(users))
        calls.primer = stand.bodies("primer", (single_request(user, fresh=True) for user in range(HOT)))
        found[ratio] = calls
    return found, first


def _requests(users: list[int]) -> Iterator[tuple[int, bytes]]:
    return ((HIT if user < HOT else MISS, single_request(user)) for user in users)


def _check(users: Sequence[int]) -> Callable[[int, bytes], set[int]]:
    return lambda number, reply: check_single(reply, users[number], 1)


def _ping_ms(address: str) -> float:
    """Return the median time of a PING, in ms."""
    host, _, port = address.partition(":")
    took = []
    with socket.create_connection((host, int(port)), 5.0) as connection:
        for _ in range(PINGS):
            began = time.perf_counter()
            connection.sendall(b"PING\r\n")
            assert connection.recv(64) == b"+PONG\r\n"
            took.append(1e3 * (time.perf_counter() - began))
    return median(took)


def report(outcome: Outcome, repeats: Sequence[str]) -> Report:
    """Return the table."""
    shown = table(
        f"GetFeatures 1 × 10 at {outcome.rate:,.0f} calls/s, latencies in ms", "Redis, hits", "CPU µs", "busy", "p50",
        "p99", "miss p50", "p99", "hit p50", "p99", "read", "lag",
    )  # fmt: skip
    figures: Figures = {"calls_per_s": rounded(outcome.rate), "round_trip_ms": dict(outcome.round_trips)}
    for (place, ratio), every in outcome.measured.items():
        figure = _figures(outcome, place, ratio, every)
        figures[f"{place}, {ratio:.0%} hits"] = figure
        cells = [f"{value:.2f}" if isinstance(value, float) else "" for value in figure.values()]
        shown.add_row(f"{place}, {ratio:.0%}", *cells)
    notes = [f"PING, {place}: {ms:.2f} ms" for place, ms in outcome.round_trips.items()]
    notes.append(
        "CPU of the server per call; read: keys that Redis read per call; lag: p99 of how late calls were sent"
    )
    return Report("hits", [shown], figures, list(_expectations(outcome)), [*notes, *repeats])


def _figures(outcome: Outcome, place: str, ratio: float, every: list[Measured]) -> dict[str, float | None]:
    return {
        "cpu_us": median(m.cpu_us for m in every),
        "server_busy": median(m.shares[0] for m in every),
        "p50_ms": median(m.burst.latency.p50 for m in every),
        "p99_ms": median(m.burst.latency.p99 for m in every),
        "misses_p50_ms": outcome.p50(place, ratio, MISS),
        "misses_p99_ms": outcome.p99(place, ratio, MISS),
        "hits_p50_ms": outcome.p50(place, ratio, HIT),
        "hits_p99_ms": outcome.p99(place, ratio, HIT),
        "keys_read_per_call": sum(m.keys_read for m in every) / sum(m.burst.calls for m in every),
        "generator_lag_p99_ms": median(m.burst.lag_p99 for m in every),
    }


def _expectations(outcome: Outcome) -> Iterator[Expectation]:
    if FAR not in outcome.round_trips:
        return
    for ratio in RATIOS:
        near, far = outcome.p50(NEAR, ratio, MISS), outcome.p50(FAR, ratio, MISS)
        if near is not None and far is not None:
            limit = ROUND_TRIPS * outcome.round_trips[FAR] + near
            name = f"{ratio:.0%} hits, Redis 1 ms away: p50 of misses / ({ROUND_TRIPS} round trips + p50 on loopback)"
            yield Expectation(name, far / limit, Relation.AT_MOST, 1)
