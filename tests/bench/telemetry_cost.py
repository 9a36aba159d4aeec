"""What metrics and traces add to the CPU of a call, on every path.

Four servers on the same core take turns, burst by burst; ratios are of the bursts of one round. *Bare* is a span of
OpenTelemetry's own SDK without attributes, with the same exporter and sink, measured in the same run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench.read_generator import Pressure
from tests.bench.read_paths import CONNECTIONS, IN_FLIGHT, LIMITS, SIZES, make_calls
from tests.bench.read_process import Server, recsvc_server
from tests.bench.read_stand import Calls, Stand
from tests.bench.read_values import DEFINITIONS, load
from tests.bench.recommend_requests import requests
from tests.bench.recommend_stand import METHOD, Shop
from tests.bench.recommend_stand import Sizes as ShopSizes
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table
from tests.bench.telemetry_stand import ALL, OFF, SOME, UNTRACED, Cost, bare_span_us, cost, settings, sink, variables

MODES: Final = (OFF, UNTRACED, SOME, ALL)
RECOMMEND: Final = "Recommend, 500 candidates"
METRICS_MOST, SOME_MOST, SLATE_MOST, SPANS_MOST = 1.10, 1.08, 1.5, 1.1
BARE_SPANS: Final = 5_000
ITEMS: Final = 20_000
SLATES: Final = {"full": 300, "quick": 120, "tiny": 10}
GUESS_PER_S: Final = 100.0


@dataclass(frozen=True, slots=True)
class Path:
    """One path: for each mode what every round cost."""

    name: str
    costs: Mapping[str, Sequence[Cost]]

    def ratio(self, mode: str, to: str) -> float:
        """Return how many times as much CPU a call takes: the median of the rounds' ratios."""
        pairs = zip(self.costs[mode], self.costs[to], strict=True)
        return median(one.cpu_us / other.cpu_us for one, other in pairs)

    def added_us(self, mode: str) -> float:
        """Return what a call takes more than untraced, in µs."""
        pairs = zip(self.costs[mode], self.costs[UNTRACED], strict=True)
        return median(one.cpu_us - other.cpu_us for one, other in pairs)

    def cpu_us(self, mode: str) -> float:
        """Return the median."""
        return median(one.cpu_us for one in self.costs[mode])

    @property
    def spans(self) -> float:
        """How many spans a traced call has."""
        return median(one.spans for one in self.costs[ALL])


async def measure(scale: str) -> Report:
    """Measure all paths."""
    sizes = SIZES[scale]
    found, bare = [], []
    with Stand.up() as stand, sink() as endpoint:
        await load(stand.redis.url, len(MODES) * sizes.users, views=1)
        with _servers(stand, endpoint) as servers:
            calls = {mode: make_calls(stand, sizes) for mode in MODES}
            for limit in LIMITS.values():
                count = sizes.batches if limit.batch else sizes.calls
                _start_apart(calls, limit.name)
                pressure = Pressure(IN_FLIGHT, CONNECTIONS, calls=count)
                bare.append(bare_span_us(endpoint, BARE_SPANS))
                of_path = {mode: calls[mode][limit.name] for mode in MODES}
                found.append(Path(limit.name, _rounds(stand, servers, of_path, pressure, sizes.rounds)))
    found.append(await _slates(scale, sizes.rounds))
    return report(found, median(bare))


def _start_apart(calls: Mapping[str, Mapping[str, Calls]], name: str) -> None:
    """Let each server ask for rows that none of the others has asked for: so that all of them find Redis alike."""
    for number, mode in enumerate(MODES):
        of = calls[mode][name]
        of.next = number * of.bodies.count // len(MODES)


@contextlib.contextmanager
def _servers(stand: Stand, endpoint: str) -> Iterator[Mapping[str, Server]]:
    with contextlib.ExitStack() as stack:
        yield {
            mode: stack.enter_context(
                recsvc_server(
                    DEFINITIONS,
                    stand.redis.url,
                    stand.cores.server,
                    variables=variables(mode, endpoint),
                    **settings(mode),
                )
            )
            for mode in MODES
        }


def _rounds(
    stand: Stand, servers: Mapping[str, Server], calls: Mapping[str, Calls], pressure: Pressure, rounds: int
) -> Mapping[str, Sequence[Cost]]:
    """Run all servers in turns, after a round that does not count; another one begins each time."""
    costs: dict[str, list[Cost]] = {mode: [] for mode in servers}
    modes = list(servers)
    for number in range(-1, rounds):
        for mode in modes[number % len(modes) :] + modes[: number % len(modes)]:
            found = cost(stand, servers[mode], mode, calls[mode], pressure)
            if number >= 0:
                costs[mode].append(found)
    return costs


async def _slates(scale: str, rounds: int) -> Path:
    async with Shop.open(ShopSizes(items=ITEMS, reuse=True)) as shop, contextlib.AsyncExitStack() as stack:
        endpoint = stack.enter_context(sink())
        servers = {
            mode: stack.enter_context(shop.server(variables=variables(mode, endpoint), **settings(mode)))
            for mode in MODES
        }
        asked = requests(shop.world, "unit", shop.stand.folder, rate=GUESS_PER_S, hits=0.95, placement="patient")
        calls = {mode: Calls(METHOD, asked.bodies) for mode in MODES}
        pressure = Pressure(8, 2, calls=SLATES[scale])
        return Path(RECOMMEND, _rounds(shop.stand, servers, calls, pressure, rounds))


def report(found: Sequence[Path], bare_us: float) -> Report:
    """Return the table."""
    shown = table(
        "CPU of the server per call, µs",
        "path", *MODES, "metrics ×", "1 % ×", "all ×", "spans", "added by all", "per span", "of a bare span",
    )  # fmt: skip
    expectations = []
    figures: Figures = {"bare_span_us": rounded(bare_us)}
    for path in found:
        metrics, some, every = path.ratio(UNTRACED, OFF), path.ratio(SOME, UNTRACED), path.ratio(ALL, UNTRACED)
        added, spans = path.added_us(ALL), path.spans
        of_bare = added / max(spans, 1.0) / bare_us
        shown.add_row(
            path.name, *(f"{path.cpu_us(mode):,.0f}" for mode in MODES), f"{metrics:.3f}", f"{some:.3f}",
            f"{every:.2f}", f"{spans:.1f}", f"{added:,.0f}", f"{added / max(spans, 1.0):.0f}", f"{of_bare:.2f}",
        )  # fmt: skip
        expectations += [
            Expectation(f"{path.name}: metrics on / off", metrics, Relation.AT_MOST, METRICS_MOST),
            Expectation(f"{path.name}: 1 % traced / untraced", some, Relation.AT_MOST, SOME_MOST),
            Expectation(f"{path.name}: all traced / untraced", every, Relation.AT_MOST, SLATE_MOST)
            if path.name == RECOMMEND
            else Expectation(f"{path.name}: added per span / bare span", of_bare, Relation.AT_MOST, SPANS_MOST),
        ]
        figures[path.name] = {
            "cpu_us": {mode: [rounded(one.cpu_us) for one in path.costs[mode]] for mode in MODES},
            "spans": rounded(spans),
            "added_us": rounded(added),
        }
    notes = [f"a bare span of the SDK, started, ended and exported: {bare_us:.0f} µs", f"Recommend: {ITEMS:,} items"]
    return Report("cost", [shown], figures, expectations, notes)
