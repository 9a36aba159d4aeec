"""The stand that the read benchmarks are measured on: Redis, load generator, and what one burst of calls cost whom."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Final, Self

from tests.bench.read_generator import Bodies, Burst, Generator, Pressure
from tests.bench.read_process import Cores, Process, Server
from tests.bench.read_values import DegradedError
from tests.bench.report import Figures, rounded
from tests.bench.servers import BareServer, bare_server
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import short_folder

SERVICE: Final = "/recsvc.v1.ServingService/"
SINGLE: Final = "GetFeatures"
BATCH: Final = "GetFeaturesBatch"
TRIES: Final = 3
SPARE: Final = 3
"""Bursts that there are requests for beside those that are planned."""


@dataclass(slots=True)
class Calls:
    """A kind of call: where it goes, its requests, and which comes next. ``keys`` is the rows that each asks for.

    ``check`` takes the number of a request and the reply to it, and fails where that is not what is stored; it returns
    the sources of the values. ``primer`` has requests that are sent once before each burst, and do not count.
    """

    path: str
    bodies: Bodies
    keys: int = 0
    check: Callable[[int, bytes], set[int]] | None = None
    http: bool = False
    primer: Bodies | None = None
    next: int = field(default=0, init=False)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a burst of calls cost, and what Redis counted meanwhile."""

    burst: Burst
    server_cpu_s: float
    redis_cpu_s: float
    asked: int
    keys_read: int
    commands: int
    sources: frozenset[int]

    @property
    def cpu_us(self) -> float:
        """CPU of the server per call, in microseconds."""
        return 1e6 * self.server_cpu_s / self.burst.calls

    @property
    def shares(self) -> tuple[float, float, float]:
        """The part of a core that server, generator and Redis were busy with it."""
        cpu = (self.server_cpu_s, self.burst.cpu_seconds, self.redis_cpu_s)
        return cpu[0] / self.burst.seconds, cpu[1] / self.burst.seconds, cpu[2] / self.burst.seconds


@dataclass(frozen=True, slots=True)
class Stand:
    """Redis and generator on the core of the load; ``folder`` is for files that the generator reads."""

    cores: Cores
    generator: Generator
    redis: BareServer
    redis_process: Process
    folder: Path
    repeats: list[str] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def up(cls, **options: object) -> Iterator[Self]:
        """Start Redis, with ``options``; this process keeps to the core of the load meanwhile."""
        generator, cores = Generator.prepared(), Cores.here()
        with (
            short_folder() as folder,
            cores.all_but_the_servers(),
            bare_server(redis_server(REDIS_8_2), **options) as redis,
        ):
            process = Process(int(redis.admin.info("server")["process_id"]))
            yield cls(cores, generator, redis, process, folder)

    def bodies(self, name: str, requests: Iterator[bytes | tuple[int, bytes]]) -> Bodies:
        """Write requests to a file."""
        return Bodies.write(self.folder / name, requests)

    def reply(self, server: Server, calls: Calls) -> bytes:
        """Return the answer to the first request."""
        burst = self.generator.grpc(server.address, calls.path, calls.bodies, Pressure(calls=1, keep=1, most=1))
        return burst.samples[0][1]

    def run(self, server: Server, calls: Calls, pressure: Pressure) -> Measured:
        """Run a burst, and check a sample of its answers.

        Where the machine stood still, so that the server answered without the store, it is run again; ``repeats`` notes
        that.
        """
        for _ in range(TRIES - 1):
            try:
                return self._run(server, calls, pressure)
            except DegradedError as error:
                self.repeats.append(f"measured again: {calls.path} was {error}")
        return self._run(server, calls, pressure)

    def _run(self, server: Server, calls: Calls, pressure: Pressure) -> Measured:
        send = self.generator.http if calls.http else self.generator.grpc
        if calls.primer:
            send(server.address, calls.path, calls.primer, Pressure(calls=calls.primer.count))
        before = self._counters(server)
        burst = send(server.address, calls.path, calls.bodies, pressure, calls.next)
        after = self._counters(server)
        calls.next = burst.next
        sources = _checked(calls, burst, server)
        cpu, redis_cpu, keys, commands = (b - a for a, b in zip(before, after, strict=True))
        return Measured(burst, cpu, redis_cpu, burst.calls * calls.keys, int(keys), int(commands), sources)

    def _counters(self, server: Server) -> tuple[float, float, float, float]:
        stats, commands = self.redis.admin.info("stats"), self.redis.admin.info("commandstats")
        reads = sum(commands.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("mget", "get", "hmget"))
        keys = stats["keyspace_hits"] + stats["keyspace_misses"]
        return server.cpu_seconds(), self.redis_process.cpu_seconds(), keys, reads


def _checked(calls: Calls, burst: Burst, server: Server) -> frozenset[int]:
    """Check the replies that were kept; returns where their values came from. Where one is wrong the log is shown."""
    sources: set[int] = set()
    try:
        for number, reply in (*burst.samples, *burst.firsts) if calls.check else ():
            sources |= calls.check(number % calls.bodies.count, reply) if calls.check else set()
    except AssertionError as error:
        error.add_note(f"sizes of replies: {dict(burst.sizes)}; log of the server: {server.log.read_text()[-3000:]}")
        raise
    return frozenset(sources)


@dataclass(frozen=True, slots=True)
class Series:
    """The bursts of one contender in all rounds: under load, and one call at a time."""

    loaded: tuple[Measured, ...]
    alone: tuple[Measured, ...] = ()

    @property
    def cpu_us(self) -> float:
        """The median of the server's CPU per call, in microseconds."""
        return median(m.cpu_us for m in self.loaded)

    def cpu_against(self, other: Series) -> float:
        """Return how many times as much a call costs as one of ``other``: the median of the rounds' ratios."""
        return median(m.cpu_us / o.cpu_us for m, o in zip(self.loaded, other.loaded, strict=True))

    @property
    def p50(self) -> float:
        """Median under load, in ms."""
        return median(m.burst.latency.p50 for m in self.loaded)

    @property
    def p99(self) -> float:
        """99th percentile under load, in ms."""
        return median(m.burst.latency.p99 for m in self.loaded)

    @property
    def p50_alone(self) -> float:
        """Median of one call at a time, in ms."""
        return median(m.burst.latency.p50 for m in self.alone)

    @property
    def p99_alone(self) -> float:
        """99th percentile of one call at a time, in ms."""
        return median(m.burst.latency.p99 for m in self.alone)

    @property
    def per_s(self) -> float:
        """Calls per second under load."""
        return median(m.burst.calls / m.burst.seconds for m in self.loaded)

    @property
    def shares(self) -> tuple[float, float, float]:
        """The parts of a core that server, generator and Redis were busy under load."""
        server, generator, redis = (fmean(parts) for parts in zip(*(m.shares for m in self.loaded), strict=True))
        return server, generator, redis

    @property
    def keys_read(self) -> tuple[int, int]:
        """How many keys Redis read, and how many were asked for."""
        every = (*self.loaded, *self.alone)
        return sum(m.keys_read for m in every), sum(m.asked for m in every)

    @property
    def sources(self) -> list[int]:
        """Where the values that were checked came from, in the numbers of the contract."""
        return sorted(set[int]().union(*(m.sources for m in (*self.loaded, *self.alone))))

    def figures(self) -> Figures:
        """Return it for the JSON object."""
        server, generator, redis = self.shares
        found: Figures = {
            "cpu_us": rounded(self.cpu_us),
            "cpu_us_by_round": [rounded(m.cpu_us) for m in self.loaded],
            "calls_per_s": rounded(self.per_s),
            "loaded_ms": {"p50": rounded(self.p50), "p99": rounded(self.p99)},
            "cores_busy": {"server": rounded(server), "generator": rounded(generator), "redis": rounded(redis)},
            "keys_read": self.keys_read[0],
            "keys_asked": self.keys_read[1],
            "read_commands": sum(m.commands for m in (*self.loaded, *self.alone)),
            "reply_bytes": self.loaded[0].burst.reply_bytes,
            "sources": self.sources,
        }
        if self.alone:
            found["alone_ms"] = {"p50": rounded(self.p50_alone), "p99": rounded(self.p99_alone)}
        return found
