"""What a slate costs, against the same job without recsvc: see recommend_naive_program.

Both have the same items, users, features and weights, and the same users call, in turns, with a few calls in flight.
The CPU of all processes counts: server and Redis. Equal recall: the search of the other (HNSW in Redis' Query Engine)
looks at so much that it finds as much of the true best as ours. Ours is measured with most rows in its cache, as it
comes, and with all rows from Redis; the other one has no cache, for nobody wrote one.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from redis import Redis

from tests.bench.read_generator import Bodies, Burst, Pressure
from tests.bench.read_process import Process, Server, started
from tests.bench.recommend_definitions import DIMENSION, KINDS
from tests.bench.recommend_latency import CACHED, saturation
from tests.bench.recommend_naive_program import FIELDS, METHOD, SERVICE, search
from tests.bench.recommend_recall import COUNTED, RANDOM, Query, cell_of, queries_of, true_best
from tests.bench.recommend_requests import EVERY, Requests, requests
from tests.bench.recommend_stand import CONNECTIONS, Outcome, Shop, Sizes, middle, use_cores
from tests.bench.recommend_vectors import Items, Users, weights
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table
from tests.bench.servers import BareServer, bare_server
from tests.parts.redis_binaries import REDIS_8_2, redis_server, search_module

KIND: Final = KINDS[0]
PROGRAM: Final = Path(__file__).with_name("recommend_naive_program.py")
EFS: Final = (530, 700, 1_000, 1_500, 2_500, 4_000, 8_000)
"""How much the search of the other looks at; the first that finds enough is taken."""
SLACK: Final = 0.002
"""Recall that counts as equal."""
LINKS, BUILD_EF = 16, 200
"""HNSW's own settings, as they come."""
IN_FLIGHT: Final = 8
PER_WRITE: Final = 1_000
TIMES: Final = 3.0
OURS, READ, NAIVE = "recsvc, 95 % in the cache", "recsvc, all from Redis", "without recsvc"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a burst cost per slate, in ms of CPU."""

    server: float
    redis: float
    burst: Burst

    @property
    def both(self) -> float:
        """CPU of both processes."""
        return self.server + self.redis


@dataclass(frozen=True, slots=True)
class Peer:
    """The Redis of the other, with all rows and its index; ``ef`` finds ``recall`` of the true best."""

    redis: BareServer
    load_s: float
    ef: int
    recall: float


async def measure(sizes: Sizes) -> Report:
    """Measure both in turns."""
    async with Shop.open(sizes) as shop:
        with shop.server() as ours:
            queries = list(queries_of(shop, RANDOM, 1.0))
            found = cell_of(shop, ours, KIND, shop.world.items.of_kind(KIND), queries)
            with _peer(shop, queries, found.recall) as peer, _program(shop, peer) as other:
                costs = _measured(shop, ours, peer, other)
    return report(costs, peer, found.recall, sizes)


@contextlib.contextmanager
def _peer(shop: Shop, queries: Sequence[Query], recall: float) -> Iterator[Peer]:
    with bare_server(redis_server(REDIS_8_2), loadmodule=search_module()) as redis:
        began = time.perf_counter()
        _load(redis, shop.world.items, shop.world.users)
        took = time.perf_counter() - began
        print(f"built: hashes and HNSW of {len(shop.world.items):,} vectors: {took:.1f} s", flush=True)
        best = list(true_best(shop.world.items.of_kind(KIND), shop.world.users.vectors, queries))
        ef, reached = EFS[-1], 0.0
        for ef in EFS:
            pairs = zip(queries, best, strict=True)
            with Redis(port=redis.port, protocol=2) as client:
                reached = float(np.mean([_found(client, shop, ef, *pair) for pair in pairs]))
            if reached >= recall - SLACK:
                break
        yield Peer(redis, took, ef, reached)


def _load(redis: BareServer, items: Items, users: Users) -> None:
    """Write what a user would: a hash of features for each item, one with its vector, one for each user."""
    vector = ["VECTOR", "HNSW", 12, "TYPE", "FLOAT32", "DIM", DIMENSION, "DISTANCE_METRIC", "IP", "M", LINKS]
    vector += ["EF_CONSTRUCTION", BUILD_EF, "INITIAL_CAP", len(items)]
    redis.admin.execute_command("FT.CREATE", "items", "ON", "HASH", "PREFIX", 1, "vec:", "SCHEMA", "embedding", *vector)
    vectors = items.of_kind(KIND)
    for start in range(0, len(items), PER_WRITE):
        pipeline = redis.admin.pipeline(transaction=False)
        for item in range(start, min(start + PER_WRITE, len(items))):
            values = zip(FIELDS, items.features[item].tolist(), strict=True)
            row = {name: f"{value:.7g}" for name, value in values} | {b"available": int(items.available[item])}
            pipeline.hset(f"item:{item}", mapping=row)  # type: ignore[arg-type]  # bytes are names, too
            pipeline.hset(f"vec:{item}", "embedding", vectors[item].tobytes())
        pipeline.execute()
    pipeline = redis.admin.pipeline(transaction=False)
    for user, of in enumerate(users.vectors):
        pipeline.hset(f"user:{user}", "embedding", of.tobytes())
    pipeline.execute()


def _found(redis: Redis, shop: Shop, ef: int, query: Query, best: Sequence[int]) -> float:
    """Return which part of the true best a search finds."""
    vector = shop.world.users.vectors[query.user].tobytes()
    keys = redis.execute_command(*search(str(ef), vector))[1:]
    found = {int(key.partition(b":")[2]) for key in keys}
    return len(found.intersection(best)) / min(COUNTED, len(best))


@contextlib.contextmanager
def _program(shop: Shop, peer: Peer) -> Iterator[Server]:
    command: list[str | Path] = [sys.executable, PROGRAM, peer.redis.url, str(peer.ef), *map(str, weights())]
    cores = shop.stand.cores
    with started(command, cores.server) as server:
        use_cores(server, {cores.server, cores.load})
        yield server


def _measured(shop: Shop, ours: Server, peer: Peer, other: Server) -> dict[str, list[Cost]]:
    rate = saturation(shop, ours, KIND, CACHED).per_s
    cached = requests(shop.world, KIND, shop.stand.folder, rate=rate, hits=CACHED, placement="patient")
    read = requests(shop.world, KIND, shop.stand.folder, rate=rate, hits=0.0, placement="patient")
    bodies = shop.stand.bodies("naive", (str(user).encode() for user in cached.users))
    process = Process(int(peer.redis.admin.info("server")["process_id"]))
    costs: dict[str, list[Cost]] = {OURS: [], READ: [], NAIVE: []}
    for _ in range(shop.sizes.rounds):
        costs[OURS].append(_ours(shop, ours, cached))
        costs[READ].append(_ours(shop, ours, read))
        costs[NAIVE].append(_naive(shop, other, process, bodies))
    return costs


def _ours(shop: Shop, server: Server, asked: Requests) -> Cost:
    done: Outcome = shop.warmed(server, asked, Pressure(IN_FLIGHT, seconds=shop.sizes.seconds))
    assert done.whole == done.burst.calls, dict(done.burst.seen)
    return Cost(1e3 * done.server_cpu_s / done.whole, 1e3 * done.redis_cpu_s / done.whole, done.burst)


def _naive(shop: Shop, server: Server, redis: Process, bodies: Bodies) -> Cost:
    before = server.cpu_seconds(), redis.cpu_seconds()
    pressure = Pressure(IN_FLIGHT, CONNECTIONS, seconds=shop.sizes.seconds, keep=EVERY)
    burst = shop.stand.generator.grpc(server.address, f"/{SERVICE}/{METHOD}", bodies, pressure)
    after = server.cpu_seconds(), redis.cpu_seconds()
    for _, reply in burst.samples:
        slate = json.loads(reply)
        assert len(slate["items"]) == min(10, slate["ranked"]), slate
    cpu, redis_cpu = (1e3 * (b - a) / burst.calls for a, b in zip(before, after, strict=True))
    return Cost(cpu, redis_cpu, burst)


def report(costs: dict[str, list[Cost]], peer: Peer, recall: float, sizes: Sizes) -> Report:
    """Return the table."""
    shown = table(
        f"CPU of a slate, {sizes.items:,} items, {IN_FLIGHT} in flight, ms", "by", "server", "Redis", "both",
        "× ours, cached", "slates/s", "p50 ms", "p99 ms", "recall",
    )  # fmt: skip
    figures: Figures = {"ef": peer.ef, "build_s": rounded(peer.load_s)}
    ratios = {}
    for name, of in costs.items():
        ratios[name] = middle([c.both / ours.both for c, ours in zip(of, costs[OURS], strict=True)])
        numbers = (middle([getattr(c, part) for c in of]) for part in ("server", "redis", "both"))
        per_s = middle([c.burst.calls / c.burst.seconds for c in of])
        times = (middle([getattr(c.burst.latency, p) for c in of]) for p in ("p50", "p99"))
        reached = peer.recall if name == NAIVE else recall
        shown.add_row(
            name, *(f"{v:.2f}" for v in numbers), f"{ratios[name]:.2f}", f"{per_s:,.1f}", *(f"{v:.1f}" for v in times),
            f"{reached:.4f}",
        )  # fmt: skip
        figures[name] = {
            "server_ms": [rounded(c.server) for c in of],
            "redis_ms": [rounded(c.redis) for c in of],
            "per_s": rounded(per_s),
            "recall": rounded(reached),
        }
    against_read = middle([n.both / r.both for n, r in zip(costs[NAIVE], costs[READ], strict=True)])
    expectations = [
        Expectation(f"CPU: {NAIVE} / {OURS}", ratios[NAIVE], Relation.AT_LEAST, TIMES),
        Expectation(f"CPU: {NAIVE} / {READ}", against_read, Relation.AT_LEAST, TIMES),
    ]
    notes = [f"{NAIVE}: HNSW M {LINKS}, EF_CONSTRUCTION {BUILD_EF}, EF_RUNTIME {peer.ef}; built in {peer.load_s:.0f} s"]
    return Report("naive", [shown], figures, expectations, notes)
