"""The stand of the Recommend benchmarks: Redis with the rows, a server, and bursts of calls whose replies are judged.

The server may use all cores, as it would on such a machine; load generator, Redis and this process share the last. A
reply counts as *whole* where it has as many items as were asked for, ranked by the model, and says of nothing that it
did not work: the generator looks at all of them. That 500 candidates were ranked only diagnostics tell, so every so
many-th call asks for these; its latency does not count.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Self, TypeVar

from recsvc.pb import serving_pb2 as pb
from tests.bench.read_generator import Burst, Latency, Pressure
from tests.bench.read_process import Process, Server, recsvc_server
from tests.bench.read_stand import SERVICE, Stand
from tests.bench.recommend_definitions import CANDIDATES
from tests.bench.recommend_requests import EVERY, LIMIT, PLAIN, Requests
from tests.bench.recommend_world import World, world, write_model
from tests.bench.rounds import own_cores

DEFINITIONS: Final = Path(__file__).with_name("recommend_definitions.py")
METHOD: Final = SERVICE + "Recommend"
ITEMS, RANKED_BY, DEGRADED = 3, 7, 10
"""Numbers of fields of RecommendResponse."""
WATCHED: Final = (f"{ITEMS}", f"{RANKED_BY}", f"{DEGRADED}.1")
WHOLE: Final = f"{ITEMS}x{LIMIT} {RANKED_BY}={pb.RANKED_BY_MODEL}"
CONNECTIONS: Final = 4
IN_FLIGHT: Final = 64
KEPT: Final = 2_000
NEVER_MS: Final = 600_000
"""A target that is never missed: candidates are never reduced."""
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Items of the world; seconds of a burst, and how many rounds; queries of each kind of filter.

    ``quiet_s``: how long a server is called before anything is measured, and between loads. ``reuse``: see world.
    """

    items: int = 1_000_000
    seconds: float = 20.0
    rounds: int = 5
    queries: int = 50
    quiet_s: float = 6.0
    reuse: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a burst came to, and what it cost whom."""

    burst: Burst
    server_cpu_s: float
    redis_cpu_s: float
    keys_read: int

    @property
    def latency(self) -> Latency:
        """Of the calls without diagnostics."""
        return self.burst.classes[PLAIN]

    @property
    def whole(self) -> int:
        """How many of all replies are as they should be."""
        return sum(times for seen, times in self.burst.seen.items() if seen.partition(": ")[2] == WHOLE)

    @property
    def whole_share(self) -> float:
        """Which part of all calls got such a reply."""
        return self.whole / self.burst.calls

    @property
    def per_s(self) -> float:
        """Whole replies per second."""
        return self.whole / self.burst.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU of server and Redis per whole reply, in ms."""
        return 1e3 * (self.server_cpu_s + self.redis_cpu_s) / max(1, self.whole)

    @property
    def hit_rate(self) -> float:
        """Which part of the candidates' rows Redis was not asked for. One key of a call is that of the user."""
        return max(0.0, 1.0 - self.keys_read / (CANDIDATES * self.burst.calls))

    def told(self) -> list[pb.RecommendResponse]:
        """Return the replies with diagnostics."""
        slates = [pb.RecommendResponse.FromString(reply) for _, reply in self.burst.samples]
        return [slate for slate in slates if slate.HasField("diagnostics")]

    def ranked(self) -> list[int]:
        """Return how many candidates were ranked in those that tell, and are whole."""
        whole = (slate for slate in self.told() if not slate.degraded)
        return [sum(slate.diagnostics.candidates.values()) for slate in whole]


def middle(values: Sequence[float]) -> float:
    """Return the median; NaN of nothing."""
    return median(values) if values else float("nan")


@dataclass(frozen=True, slots=True)
class Shop:
    """Redis with all rows, a directory of models, and a generator."""

    stand: Stand
    world: World
    models: Path
    sizes: Sizes

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, sizes: Sizes) -> AsyncIterator[Self]:
        """Build the world where it is not there yet, and start Redis with it."""
        made = await world(sizes.items, reuse=sizes.reuse)
        with Stand.up(**made.redis_options) as stand:
            write_model(stand.folder / "models")
            yield cls(stand, made, stand.folder / "models", sizes)

    @contextlib.contextmanager
    def server(self, *, variables: Mapping[str, str] | None = None, **settings: object) -> Iterator[Server]:
        """Start recsvc with the catalogue, both indexes and the model; candidates are never reduced but by request."""
        usual: dict[str, object] = {"index_dir": self.world.indexes, "model_dir": self.models}
        usual["recommend_target_ms"] = NEVER_MS
        cores = own_cores() or [0]
        chosen: Any = usual | settings
        with recsvc_server(DEFINITIONS, self.stand.redis.url, cores[0], variables=variables, **chosen) as server:
            use_cores(server, {self.stand.cores.server, self.stand.cores.load})
            yield server

    def burst(self, server: Server, requests: Requests, pressure: Pressure, start: int = 0) -> Outcome:
        """Run a burst; ``pressure`` says how calls come, what is kept of the replies is added. Calls may fail."""
        asked = Pressure(
            **{name: getattr(pressure, name) for name in ("in_flight", "rate", "calls", "seconds")},
            connections=CONNECTIONS,
            poisson=True,
            keep=EVERY,
            most=KEPT,
            watch=WATCHED,
        )
        before = self._counters(server)
        found = self.stand.generator.try_grpc(server.address, METHOD, requests.bodies, asked, start)
        cpu, redis_cpu, keys = (b - a for a, b in zip(before, self._counters(server), strict=True))
        return Outcome(found, cpu, redis_cpu, int(keys))

    def warmed(self, server: Server, requests: Requests, pressure: Pressure) -> Outcome:
        """Run a burst after one of the same kind that does not count: copies of rows are as old as they get."""
        values = {name: getattr(pressure, name) for name in ("in_flight", "rate")}
        first = self.burst(server, requests, Pressure(**values, seconds=self.sizes.quiet_s))
        return self.burst(server, requests, pressure, first.burst.next)

    def _counters(self, server: Server) -> tuple[float, float, float]:
        stats = self.stand.redis.admin.info("stats")
        keys = stats["keyspace_hits"] + stats["keyspace_misses"]
        return server.cpu_seconds(), self.stand.redis_process.cpu_seconds(), keys


def use_cores(process: Process, cores: set[int]) -> None:
    """Let a process that runs use these cores, with all of its threads."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)


def beside(first: Callable[[], T], second: Callable[[], U]) -> tuple[T, U]:
    """Run both at once, and return what they return. They wait for processes, so threads are enough."""
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.submit(first), threads.submit(second)
        return one.result(), other.result()
