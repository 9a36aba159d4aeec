"""How many rows per second are loaded: our ``load_batches`` against Feast's ``write_to_online_store``.

Both write the same users, with 10 and with 50 FLOAT64 features, into the same redis-server over TCP on loopback (Feast
knows no unix sockets), without TTL, in turns, each time into an empty store. Both compare event times with what is
stored, so that an old row never replaces a newer one. Both are one process, and are measured from a table in memory
(Arrow for us, pandas for Feast, made beforehand) to Redis' last answer. Feast's ``skip_dedup``, which does without the
comparison, is shown too, but not judged: it does less than ours.

Why it is fair to Feast: it recommends no number of rows per call, and sends each call as one pipeline, so several are
tried beforehand, twice, and the fastest is taken. A round of everybody that does not count comes first. A round of ours
is several loads in a row, of which the mean counts: one alone would be over in a moment, and a matter of luck. At the
end some users are read back through both, and are compared with the table.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
import pyarrow as pa

from recsvc import FLOAT64, INT64, Entity, Feature, FeatureView, Registry
from recsvc.online.answer import Request
from recsvc.online.features import FeatureReader
from recsvc.online.ingest import load_batches
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenRedis, open_redis
from recsvc.telemetry.counters import Counters
from tests.bench.feast_env import VERSION, feast_python
from tests.bench.feast_peer import FeastPeer, feast_peer
from tests.bench.report import Expectation, Figures, Relation, Report, Spread, rounded, table
from tests.bench.rounds import Cost, Stopwatch, in_turns
from tests.bench.servers import BareServer, bare_server
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.rows import UNCACHED, chain_over

WIDTHS: Final = (10, 50)
LIMIT: Final = 20.0
CHUNKS: Final = (1_000, 5_000, 20_000, 100_000)
"""Rows per call that are tried with Feast."""
TRIED: Final = 1 / 4
"""The part of the rows that each is tried with."""
OUR_LOADS: Final = 5
"""How often we load in a round."""
READ_BACK: Final = 20
TIMEOUT_S: Final = 10.0
OURS: Final = "recsvc"
FEAST: Final = f"Feast {VERSION}"
SKIPPING: Final = f"Feast {VERSION}, skip_dedup"

Load = Callable[[], Awaitable[Cost]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """``values`` is rows × features of each write: fewer rows where they are wide, for Feast takes long."""

    values: int = 1_000_000
    rounds: int = 5


@dataclass(frozen=True, slots=True)
class Workload:
    """The rows that are loaded."""

    registry: Registry
    rows: pa.Table
    names: list[str]

    @classmethod
    def make(cls, rows: int, width: int) -> Workload:
        """Make ``rows`` users with ``width`` features."""
        names = [f"feature_{i}" for i in range(width)]
        view = FeatureView("features", [Entity("user", "user_id", INT64)], [Feature(n, FLOAT64) for n in names])
        random = np.random.default_rng(67)
        columns: dict[str, object] = {n: random.standard_normal(rows) for n in names}
        columns["user_id"] = 10_000_000 + random.permutation(rows)
        now = time.time_ns() // 1000
        columns["event_time"] = pa.array(now - random.integers(0, 10**9, rows), pa.timestamp("us", "UTC"))
        return cls(Registry(views=[view]), pa.table(columns), names)

    @property
    def view(self) -> FeatureView:
        """The view that the rows are of."""
        return self.registry.view("features")

    async def load(self, store: OpenRedis) -> Cost:
        """Load all rows into an empty store, our way."""
        watch = Stopwatch()
        schema = self.registry.schema(self.view)
        report = await load_batches(self.view, schema, self.rows, store.writer(), now_micros=time.time_ns() // 1000)
        cost = watch.cost()
        assert (report.written, report.rejected) == (self.rows.num_rows, 0), report
        return cost

    def some(self) -> pa.Table:
        """Return a few rows from all over the table."""
        return self.rows.take(np.linspace(0, self.rows.num_rows - 1, READ_BACK).astype(np.int64))

    async def check_ours(self, store: OpenRedis) -> None:
        """Fail where our store does not answer what was loaded."""
        counters = Counters(monotonic=time.monotonic)
        some = self.some()
        ids = [str(i) for i in some["user_id"].to_pylist()]
        async with store.reader(counters) as opened, chain_over(opened, timeout_s=TIMEOUT_S) as chain:
            reader = FeatureReader(
                self.registry,
                chain,
                counters,
                now_micros=lambda: time.time_ns() // 1000,
                max_keys=READ_BACK,
                policy=UNCACHED,
            )
            now = time.monotonic()
            plan, request = self.registry.plan(("features",)), Request(len(ids), {"user_id": ids}, {})
            answer = await reader.read(plan, request, now, now + TIMEOUT_S)
        assert len(answer.columns) == len(self.names)
        for name, column, _ in answer.columns:
            assert column.values.tolist() == some[name.rpartition(":")[2]].to_pylist()

    def check_feast(self, peer: FeastPeer) -> None:
        """Fail where Feast does not answer what was loaded."""
        some = self.some()
        found = peer.read(some["user_id"].to_pylist())
        assert found == {name: some[name].to_pylist() for name in self.names}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each contender took to load ``rows`` rows of ``width`` features, by round; Feast's rows per call."""

    rows: int
    width: int
    costs: Mapping[str, Sequence[Cost]]
    chunk: int | None

    def speed(self, name: str) -> Spread:
        """Return rows per second on the clock."""
        return Spread.of(self.rows / cost.seconds for cost in self.costs[name])

    def cpu_speed(self, name: str) -> Spread:
        """Return rows per second of the client's CPU."""
        return Spread.of(self.rows / cost.cpu_seconds for cost in self.costs[name])

    def ratio(self, peer: str) -> float:
        """Return how many times as fast as ``peer`` we are."""
        return self.speed(OURS).median / self.speed(peer).median

    @property
    def peers(self) -> list[str]:
        """The others."""
        return [name for name in self.costs if name != OURS]

    def figures(self) -> Figures:
        """Return it for the JSON object."""
        found: Figures = {"rows": self.rows, "feast_rows_per_call": self.chunk}
        found["rows_per_s"] = {name: self.speed(name).figures() for name in self.costs}
        found["rows_per_cpu_s"] = {name: self.cpu_speed(name).figures() for name in self.costs}
        return {**found, "ratios": {peer: rounded(self.ratio(peer)) for peer in self.peers}}


async def measure(sizes: Sizes, *, feast: bool) -> Report:
    """Measure both widths; without ``feast`` our side only."""
    with bare_server(redis_server(REDIS_8_2)) as server:
        async with open_redis(server.url, ConnectionSettings()) as store:
            outcomes = [await _compare(width, server, store, sizes, feast=feast) for width in WIDTHS]
        return _report(outcomes, server.version, feast=feast)


async def _compare(width: int, server: BareServer, store: OpenRedis, sizes: Sizes, *, feast: bool) -> Outcome:
    workload = Workload.make(max(READ_BACK, sizes.values // width), width)
    rows = workload.rows.num_rows
    with contextlib.ExitStack() as stack:
        contenders = {OURS: _several(OUR_LOADS, _emptied(server, lambda: workload.load(store)))}
        peer, chunk = None, None
        if feast:
            peer = stack.enter_context(feast_peer(feast_python(), server.address, workload.rows, workload.names))
            chunk = _best_chunk(peer, rows, server)
            contenders |= {name: _emptied(server, load) for name, load in _feasts(peer, rows, chunk)}
        costs = await in_turns(sizes.rounds, contenders)
        server.admin.flushall()
        await workload.load(store)
        await workload.check_ours(store)
        if peer is not None and chunk is not None:
            peer.write(rows, chunk, skip_dedup=False)
            workload.check_feast(peer)
    return Outcome(rows, width, costs, chunk)


def _best_chunk(peer: FeastPeer, rows: int, server: BareServer) -> int:
    """Return the rows per call that Feast is fastest with. A first write does more than others: it does not count."""
    tried = max(1, round(rows * TRIED))
    speeds: dict[float, int] = {}
    peer.write(tried, tried, skip_dedup=False)
    for chunk in 2 * [c for c in CHUNKS if c <= tried or c == CHUNKS[0]]:
        server.admin.flushall()
        speeds[tried / peer.write(tried, chunk, skip_dedup=False).seconds] = chunk
    return speeds[max(speeds)]


def _feasts(peer: FeastPeer, rows: int, chunk: int) -> Iterator[tuple[str, Load]]:
    for name, skip in ((FEAST, False), (SKIPPING, True)):

        async def write(skip: bool = skip) -> Cost:  # noqa: FBT001  # bound to the loop's value
            return peer.write(rows, chunk, skip_dedup=skip)

        yield name, write


def _emptied(server: BareServer, load: Load) -> Load:
    async def emptied() -> Cost:
        server.admin.flushall()
        return await load()

    return emptied


def _several(times: int, load: Load) -> Load:
    async def several() -> Cost:
        costs = [await load() for _ in range(times)]
        return Cost(fmean(cost.seconds for cost in costs), fmean(cost.cpu_seconds for cost in costs))

    return several


def _report(outcomes: Sequence[Outcome], version: str, *, feast: bool) -> Report:
    shown = table(
        f"Loading FLOAT64 features of users (Redis {version})",
        "features × rows, by whom",
        "rows/s",
        "we are faster",
        "rows per CPU second",
    )
    for o in outcomes:
        for name in o.costs:
            faster = "" if name == OURS else f"{o.ratio(name):.1f} ×"
            shown.add_row(
                f"{o.width} × {o.rows:,}, {name}", str(o.speed(name)), faster, f"{o.cpu_speed(name).median:,.0f}"
            )
    expectations = [
        Expectation(f"load: rows/s, {o.width} features, recsvc / {FEAST}", o.ratio(FEAST), Relation.AT_LEAST, LIMIT)
        for o in outcomes
        if FEAST in o.peers
    ]
    figures: Figures = {"redis": version, "feast": VERSION if feast else None}
    figures |= {f"{o.width} features": o.figures() for o in outcomes}
    notes = [f"Feast with {o.width} features: {o.chunk:,} rows per call" for o in outcomes if o.chunk]
    return Report("load", [shown], figures, expectations, notes or ["without Feast"])
