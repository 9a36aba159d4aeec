"""What reading from a Redis Cluster costs the client, against a single server.

Read are 500 items and the 500 pairs of them with one user, 10 FLOAT64 features each: what a ranking call needs. The
item entity has ``spread=32``, so its rows lie in at most 32 slots, and the pairs of the user in one. The same without a
spread (500 slots) shows what that is good for.

Why it is fair: both stores have the same version and hold the same rows under the same keys. They are read in turns of
one run, by the readers of the server. Counted is the CPU time of the reading process; the servers, on another core,
have no part in it. "features" is a whole answer, with no copy used: keys, the read path, rows, columns. "rows" is the
store alone, where there is nothing that costs both the same but the protocol: its ratio grows whenever packing and
parsing get cheaper.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc import FLOAT64, INT64, Entity, Feature, FeatureView, Registry
from recsvc.online.answer import Answer, Request, Status
from recsvc.online.chain import ReadChain
from recsvc.online.features import FeatureReader
from recsvc.online.keys import KeyMaker
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenRedis, OpenStore, open_redis
from recsvc.online.row import RowCodec
from recsvc.telemetry.counters import Counters
from tests.bench.report import Expectation, Figures, Relation, Report, Spread, rounded, table
from tests.bench.rounds import Cost, Stopwatch, apart, in_turns
from tests.parts.redis_binaries import REDIS_8_2
from tests.parts.rows import UNCACHED, StoreRows, chain_over
from tests.parts.topologies import Endpoint, cluster, standalone

ITEMS: Final = 500
FEATURES: Final = 10
CATALOGUE: Final = 100_000
SPREADS: Final = (32, None)
"""The first is judged."""
WHAT: Final = ("rows", "features")
STANDALONE: Final = "standalone"
CLUSTER: Final = "cluster"
NODES: Final = 3
LIMIT: Final = 2.0
TIMEOUT_S: Final = 10.0

Read = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """``reads`` per round, of each contender."""

    reads: int = 300
    rounds: int = 7


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one kind of read took on both stores, per read, by round."""

    what: str
    spread: int | None
    standalone: Sequence[Cost]
    cluster: Sequence[Cost]

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return f"{self.what}, {'spread ' + str(self.spread) if self.spread else 'not spread'}"

    def cpu(self, costs: Sequence[Cost]) -> Spread:
        """CPU of the client in µs."""
        return Spread.of(1e6 * cost.cpu_seconds for cost in costs)

    def clock(self, costs: Sequence[Cost]) -> Spread:
        """Time on the clock in µs."""
        return Spread.of(1e6 * cost.seconds for cost in costs)

    @property
    def ratio(self) -> float:
        """Client CPU on the Cluster against standalone."""
        return self.cpu(self.cluster).median / self.cpu(self.standalone).median

    def figures(self) -> Figures:
        """Return it for the JSON object."""
        stores = {STANDALONE: self.standalone, CLUSTER: self.cluster}
        found: Figures = {f"{n}_cpu_us": self.cpu(costs).figures() for n, costs in stores.items()}
        found |= {f"{n}_clock_us": self.clock(costs).figures() for n, costs in stores.items()}
        return {**found, "cpu_ratio": rounded(self.ratio)}


@dataclass(frozen=True, slots=True)
class Workload:
    """The rows that are read, and the call that reads them."""

    registry: Registry
    keys: list[bytes]
    rows: list[bytes]
    request: Request

    @classmethod
    def make(cls, spread: int | None) -> Workload:
        """Make the rows of items and pairs; the same ids and values for any spread."""
        user = Entity("user", "user_id", INT64)
        item = Entity("item", "item_id", INT64, spread=spread)
        features = [Feature(f"feature_{i}", FLOAT64) for i in range(FEATURES)]
        views = [FeatureView("item_stats", [item], features), FeatureView("affinity", [user, item], features)]
        registry = Registry(views=views)
        random = np.random.default_rng(20)
        items = [str(i) for i in random.choice(CATALOGUE, ITEMS, replace=False)]
        keys = KeyMaker(views[0]).keys([items]) + KeyMaker(views[1]).keys([["196"] * ITEMS, items])
        times = np.full(len(keys), time.time_ns() // 1000)
        columns = [(random.random(len(keys)), None) for _ in features]
        rows = RowCodec(registry.schema(views[0])).encode(times, times, columns)
        return cls(registry, keys, rows, Request(ITEMS, {"user_id": ["196"], "item_id": items}, {}))

    async def write(self, store: OpenRedis) -> None:
        """Put the rows into a store."""
        for start, view in zip((0, ITEMS), self.registry.views.values(), strict=True):
            part = slice(start, start + ITEMS)
            await store.writer().write(view, self.keys[part], self.rows[part])

    def readers(self, store: OpenStore, chain: ReadChain) -> dict[str, Read]:
        """Return what is measured on one store, by name."""
        plan = self.registry.plan(("item_stats", "affinity"))
        counters = Counters(monotonic=time.monotonic)
        rows = StoreRows(store)
        features = FeatureReader(
            self.registry,
            chain,
            counters,
            now_micros=lambda: time.time_ns() // 1000,
            max_keys=len(self.keys),
            policy=UNCACHED,
        )

        async def whole() -> Answer:
            now = time.monotonic()
            return await features.read(plan, self.request, now, now + TIMEOUT_S)

        return {"rows": lambda: rows.read(self.keys, TIMEOUT_S), "features": whole}

    def check(self, name: str, found: object) -> None:
        """Fail where what was read is not what was written."""
        if name == "rows":
            assert found == self.rows
            return
        assert isinstance(found, Answer)
        assert not found.degraded
        assert len(found.columns) == 2 * FEATURES
        assert all(bool((column.statuses == Status.PRESENT).all()) for _, column, _ in found.columns)


@contextlib.contextmanager
def _servers() -> Iterator[dict[str, Endpoint]]:
    with cluster(NODES, REDIS_8_2) as several, standalone(REDIS_8_2) as one:
        yield {STANDALONE: one, CLUSTER: several}


@contextlib.asynccontextmanager
async def _stores(endpoints: Mapping[str, Endpoint]) -> AsyncIterator[dict[str, OpenRedis]]:
    settings = ConnectionSettings()
    async with contextlib.AsyncExitStack() as stack:
        yield {n: await stack.enter_async_context(open_redis(e.url, settings)) for n, e in endpoints.items()}


async def measure(sizes: Sizes) -> Report:
    """Measure both spreads; the spread of 32 is judged."""
    with apart(_servers()) as endpoints:
        async with _stores(endpoints) as stores:
            outcomes = [await _compare(Workload.make(spread), spread, stores, sizes) for spread in SPREADS]
    return _report(outcomes, sizes, endpoints[CLUSTER].server_version)


async def _compare(
    workload: Workload, spread: int | None, stores: Mapping[str, OpenRedis], sizes: Sizes
) -> list[Outcome]:
    counters = Counters(monotonic=time.monotonic)
    async with contextlib.AsyncExitStack() as stack:
        contenders: dict[str, Read] = {}
        for where, store in stores.items():
            await workload.write(store)
            opened = await stack.enter_async_context(store.reader(counters))
            chain = await stack.enter_async_context(chain_over(opened, timeout_s=TIMEOUT_S))
            for what, read in workload.readers(opened, chain).items():
                workload.check(what, await read())
                contenders[f"{what} {where}"] = read
        costs = await in_turns(sizes.rounds, {name: _timed(read, sizes.reads) for name, read in contenders.items()})
    assert counters.store_unavailable == 0
    return [Outcome(what, spread, costs[f"{what} {STANDALONE}"], costs[f"{what} {CLUSTER}"]) for what in WHAT]


def _timed(read: Read, reads: int) -> Callable[[], Awaitable[Cost]]:
    async def timed() -> Cost:
        watch = Stopwatch()
        for _ in range(reads):
            await read()
        return watch.cost().shared(reads)

    return timed


def _report(outcomes: Sequence[Sequence[Outcome]], sizes: Sizes, version: str) -> Report:
    shown = table(
        f"Reading {ITEMS} items + {ITEMS} pairs, {FEATURES} features each (Redis {version})",
        "read",
        "client CPU µs, standalone",
        f"on a {NODES}-node Cluster",
        "ratio",
        "µs on the clock",
    )
    every = [outcome for group in outcomes for outcome in group]
    for o in every:
        clock = f"{o.clock(o.standalone).median:,.0f} / {o.clock(o.cluster).median:,.0f}"
        shown.add_row(o.name, str(o.cpu(o.standalone)), str(o.cpu(o.cluster)), f"{o.ratio:.2f}", clock)
    figures: Figures = {"redis": version, "reads_per_round": sizes.reads, "nodes": NODES}
    figures |= {o.name: o.figures() for o in every}
    expectations = [
        Expectation(f"cluster: client CPU of {o.name}, Cluster / standalone", o.ratio, Relation.AT_MOST, LIMIT)
        for o in outcomes[0]
    ]
    return Report("cluster", [shown], figures, expectations)
