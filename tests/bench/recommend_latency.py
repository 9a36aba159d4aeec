"""Latency of slates at half of what the server can do, with most candidates' rows in the cache and with none.

Saturation: whole replies per second with 64 calls in flight; of a placement whose sources have all the time they want,
so that slates are whole. Half: calls come at random times (Poisson) at half of that rate, whatever the answers do, and
latency counts from when a call was to be sent; here sources have the time that placements give them by themselves.
Meanwhile GetFeatures hits of a hot hundred of items come at a rate of their own; in turns they come without slates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recsvc.pb import serving_pb2 as pb
from tests.bench.read_generator import Bodies, Burst, Pressure
from tests.bench.read_process import Server
from tests.bench.read_stand import SERVICE, SINGLE
from tests.bench.recommend_definitions import CANDIDATES, KINDS
from tests.bench.recommend_requests import Requests, requests
from tests.bench.recommend_stand import IN_FLIGHT, Outcome, Shop, Sizes, beside, middle
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

CACHED: Final = 0.95
HALF: Final = 0.5
HOT: Final = 100
HITS_PER_S: Final = 200.0
GUESS_PER_S: Final = 150.0
"""The rate that hits are reckoned for before saturation is known."""
CORRECTIONS: Final = 3
CLOSE: Final = 0.005
MOST_WANTED: Final = 0.999
P50_MS, P99_MS, WHOLE_SHARE = 5.0, 15.0, 0.999


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one kind of vectors and one hit rate: saturation, then the rounds at half of it.

    ``hits`` are GetFeatures beside the slates, ``alone`` without.
    """

    saturation: Outcome
    requests: Requests
    rate: float
    loaded: Sequence[Outcome]
    hits: Sequence[Burst] = ()
    alone: Sequence[Burst] = ()

    def figures(self) -> Figures:
        """Return it for the JSON object."""
        return {
            "most_per_s": rounded(self.saturation.per_s),
            "most_whole_share": rounded(self.saturation.whole_share),
            "half_per_s": rounded(self.rate),
            "zipf_exponent": rounded(self.requests.exponent),
            "hits_expected": rounded(self.requests.expected),
            "hits_by_round": [rounded(o.hit_rate) for o in self.loaded],
            "p50_ms": [rounded(o.latency.p50) for o in self.loaded],
            "p99_ms": [rounded(o.latency.p99) for o in self.loaded],
            "most_ms": [rounded(o.latency.most) for o in self.loaded],
            "whole_share": self.whole_share,
            "seen": [dict(o.burst.seen) for o in self.loaded],
            "candidates_ranked": sorted(set(self.ranked)),
            "server_cpu_ms": [rounded(1e3 * o.server_cpu_s / o.burst.calls) for o in self.loaded],
            "redis_cpu_ms": [rounded(1e3 * o.redis_cpu_s / o.burst.calls) for o in self.loaded],
            "features_alone_p99_ms": [rounded(b.latency.p99) for b in self.alone],
            "features_beside_p99_ms": [rounded(b.latency.p99) for b in self.hits],
            "generator_lag_p99_ms": [rounded(o.burst.lag_p99) for o in self.loaded],
        }

    @property
    def p50(self) -> float:
        """Median latency at half load, in ms."""
        return middle([o.latency.p50 for o in self.loaded])

    @property
    def p99(self) -> float:
        """99th percentile, in ms."""
        return middle([o.latency.p99 for o in self.loaded])

    @property
    def whole_share(self) -> float:
        """Of all replies of all rounds, which part was whole."""
        return sum(o.whole for o in self.loaded) / sum(o.burst.calls for o in self.loaded)

    @property
    def ranked(self) -> list[int]:
        """How many candidates were ranked, of all that tell."""
        return [count for outcome in self.loaded for count in outcome.ranked()]


async def measure(sizes: Sizes) -> Report:
    """Measure both kinds of vectors, with 95 % of the rows in the cache and with none."""
    found: dict[tuple[str, float], Measured] = {}
    async with Shop.open(sizes) as shop:
        with shop.server() as server:
            for kind in KINDS:
                for hits in (CACHED, 0.0):
                    found[kind, hits] = _measured(shop, server, kind, hits)
    return report(found, sizes)


def saturation(shop: Shop, server: Server, kind: str, hits: float) -> Outcome:
    """Return what the server does with 64 calls in flight; tried first, for which users call depends on it."""
    rate = GUESS_PER_S
    pressure = Pressure(IN_FLIGHT, seconds=shop.sizes.seconds / 2)
    for _ in range(3 if hits else 1):
        asked = requests(shop.world, kind, shop.stand.folder, rate=rate, hits=hits, placement="patient")
        found = shop.warmed(server, asked, pressure)
        assert found.whole, f"no whole slate: {dict(found.burst.seen)}; {server.log.read_text()[-3000:]}"
        rate = found.per_s
    return found


def _measured(shop: Shop, server: Server, kind: str, hits: float) -> Measured:
    most = saturation(shop, server, kind, hits)
    rate = HALF * most.per_s
    asked = tuned(shop, server, kind, rate, hits)
    features, pressure = hot_features(shop), Pressure(rate=rate, seconds=shop.sizes.seconds)
    loaded, meanwhile, alone = [], [], []
    for _ in range(shop.sizes.rounds):
        if not hits:
            loaded.append(shop.warmed(server, asked, pressure))
            continue
        alone.append(feature_hits(shop, server, features))
        run = beside(lambda: shop.warmed(server, asked, pressure), lambda: feature_hits(shop, server, features))
        loaded.append(run[0])
        meanwhile.append(run[1])
    return Measured(most, asked, rate, loaded, meanwhile, alone)


def tuned(shop: Shop, server: Server, kind: str, rate: float, hits: float) -> Requests:
    """Return requests whose hit rate, by Redis' counters, is ``hits``: what the simulation makes of it is corrected."""
    wanted = hits
    asked = requests(shop.world, kind, shop.stand.folder, rate=rate, hits=wanted)
    for _ in range(CORRECTIONS if hits else 0):
        found = shop.warmed(server, asked, Pressure(rate=rate, seconds=shop.sizes.quiet_s)).hit_rate
        if abs(found - hits) <= CLOSE:
            break
        wanted = min(MOST_WANTED, max(0.5, 1.0 - (1.0 - wanted) * (1.0 - hits) / max(1e-3, 1.0 - found)))
        asked = requests(shop.world, kind, shop.stand.folder, rate=rate, hits=wanted)
    return asked


def hot_features(shop: Shop) -> Bodies:
    """Return requests for the 20 features of one of a hundred items."""
    bodies = (pb.GetFeaturesRequest(entities={"item_id": str(item)}, feature_service="ranking") for item in range(HOT))
    return shop.stand.bodies("hot-features", (message.SerializeToString() for message in bodies))


def feature_hits(shop: Shop, server: Server, features: Bodies) -> Burst:
    """Ask for features at random times for as long as slates are asked for."""
    seconds = shop.sizes.seconds + shop.sizes.quiet_s
    pressure = Pressure(connections=2, rate=HITS_PER_S, seconds=seconds, poisson=True)
    return shop.stand.generator.grpc(server.address, SERVICE + SINGLE, features, pressure)


def report(found: dict[tuple[str, float], Measured], sizes: Sizes) -> Report:
    """Return the tables."""
    shown = table(
        f"Recommend, {sizes.items:,} items, 500 candidates × 20 features: latency at half of saturation, ms",
        "vectors, wanted hits", "most/s", "half/s", "p50", "p99", "whole", "ranked", "hits", "Zipf s", "lag p99",
    )  # fmt: skip
    costs = table(
        "Who was busy at half load, in cores; CPU per slate, ms", "vectors, wanted hits", "server", "Redis",
        "generator", "server ms", "Redis ms",
    )  # fmt: skip
    beneath = table(
        f"GetFeatures hits at {HITS_PER_S:g}/s on the same server, ms", "vectors", "alone p50", "p99",
        "beside slates p50", "p99", "p99 beside / alone",
    )  # fmt: skip
    for (kind, hits), m in found.items():
        name = f"{kind}, {hits:.0%}"
        shown.add_row(name, *_latency_cells(m))
        costs.add_row(name, *_cost_cells(m.loaded))
        if m.hits:
            both = [
                [middle([getattr(b.latency, p) for b in bursts]) for p in ("p50", "p99")]
                for bursts in (m.alone, m.hits)
            ]
            beneath.add_row(kind, *(f"{value:.2f}" for value in (*both[0], *both[1], both[1][1] / both[0][1])))
    figures: Figures = {f"{kind}, {hits:.0%} hits": m.figures() for (kind, hits), m in found.items()}
    notes = ["whole: replies with all items, ranked by the model, and nothing degraded; ranked: candidates of a slate"]
    return Report("latency", [shown, costs, beneath], figures, list(_expectations(found)), notes)


def _latency_cells(m: Measured) -> Iterator[str]:
    ranked = m.ranked
    yield f"{m.saturation.per_s:,.1f}"
    yield f"{m.rate:,.1f}"
    yield f"{m.p50:.2f}"
    yield f"{m.p99:.2f}"
    yield f"{m.whole_share:.2%}"
    yield f"{min(ranked, default=0)} - {max(ranked, default=0)}"
    yield f"{middle([o.hit_rate for o in m.loaded]):.1%}"
    yield f"{m.requests.exponent:.2f}"
    yield f"{middle([o.burst.lag_p99 for o in m.loaded]):.2f}"


def _cost_cells(loaded: Sequence[Outcome]) -> Iterator[str]:
    yield f"{middle([o.server_cpu_s / o.burst.seconds for o in loaded]):.2f}"
    yield f"{middle([o.redis_cpu_s / o.burst.seconds for o in loaded]):.2f}"
    yield f"{middle([o.burst.cpu_seconds / o.burst.seconds for o in loaded]):.2f}"
    yield f"{middle([1e3 * o.server_cpu_s / o.burst.calls for o in loaded]):.2f}"
    yield f"{middle([1e3 * o.redis_cpu_s / o.burst.calls for o in loaded]):.2f}"


def _expectations(found: dict[tuple[str, float], Measured]) -> Iterator[Expectation]:
    for (kind, hits), m in found.items():
        if not hits:
            continue
        yield Expectation(f"{kind}: p50 at half load, ms", m.p50, Relation.AT_MOST, P50_MS)
        yield Expectation(f"{kind}: p99 at half load, ms", m.p99, Relation.AT_MOST, P99_MS)
        yield Expectation(f"{kind}: whole replies", m.whole_share, Relation.AT_LEAST, WHOLE_SHARE)
        yield Expectation(f"{kind}: least candidates ranked", min(m.ranked, default=0), Relation.AT_LEAST, CANDIDATES)
