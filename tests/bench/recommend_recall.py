"""Which part of the true best the candidates have, and whether slates are full, under filters of all kinds.

Slates of 500 are asked for through gRPC, so that all candidates come back; the truth is a full scan here, in the
order of the inner product, over what passes filter and availability. Filters let a random part of the items pass (a
range of a random number), or whole clusters: with that of the query among them (*inside*), or not (*outside*).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc
import numpy as np

from recsvc.pb import serving_pb2 as pb
from tests.bench.read_process import Server
from tests.bench.recommend_definitions import CANDIDATES, KINDS
from tests.bench.recommend_stand import METHOD, Shop, Sizes
from tests.bench.recommend_vectors import Floats, Ints, Items, Mask
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

RATES: Final = (1.0, 0.5, 0.1, 0.05, 0.01, 0.001)
RANDOM, INSIDE, OUTSIDE = "random", "inside", "outside"
COUNTED: Final = 100
"""Recall counts the true best of so many."""
RECALL: Final = 0.98
TIMEOUT_S: Final = 60.0
AT_ONCE: Final = 10
"""Queries whose scores are computed at once: 40 MB for a million items."""


@dataclass(frozen=True, slots=True)
class Query:
    """A user who asks, with a filter, and which items pass it."""

    user: int
    filters: Sequence[pb.Filter]
    passing: Mask = field(repr=False)


@dataclass(frozen=True, slots=True)
class Cell:
    """What the queries of one kind of filter at one pass rate found.

    ``short``: slates with fewer than 500 items though more passed; ``lacking``: with fewer candidates of the index than
    that; ``ms``: what a call took, one at a time.
    """

    rate: float
    recalls: Sequence[float]
    short: int
    lacking: int
    degraded: int
    ms: Sequence[float]

    @property
    def recall(self) -> float:
        """The mean."""
        return float(np.mean(self.recalls))

    def figures(self) -> Figures:
        """Return it for the JSON object."""
        return {
            "pass_rate": rounded(self.rate),
            "recall": rounded(self.recall),
            "least": rounded(min(self.recalls)),
            "short": self.short,
            "lacking": self.lacking,
            "degraded": self.degraded,
            "median_ms": rounded(float(np.median(self.ms))),
            "queries": len(self.recalls),
        }


async def measure(sizes: Sizes) -> Report:
    """Measure all kinds of vectors, filters and pass rates."""
    found: dict[tuple[str, str, float], Cell] = {}
    async with Shop.open(sizes) as shop:
        with shop.server() as server:
            for kind in KINDS:
                vectors = shop.world.items.of_kind(kind)
                for filters in (RANDOM, INSIDE, OUTSIDE):
                    for rate in RATES if filters == RANDOM else RATES[1:]:
                        queries = list(queries_of(shop, filters, rate))
                        found[kind, filters, rate] = cell_of(shop, server, kind, vectors, queries)
    return report(found, sizes)


def queries_of(shop: Shop, filters: str, rate: float) -> Iterator[Query]:
    """Yield users drawn at random, each with a filter of its own."""
    items, users = shop.world.items, shop.world.users
    rng = np.random.default_rng(round(1e6 * rate) + len(filters))
    for user in rng.integers(0, len(users), shop.sizes.queries).tolist():
        if filters == RANDOM:
            start = float(rng.random()) * (1.0 - rate)
            passing, conditions = _by_draw(items, start, start + rate)
        else:
            inside = filters == INSIDE
            passing, conditions = _by_cluster(
                items, _clusters(items, int(users.cluster[user]), rate, rng, inside=inside)
            )
        yield Query(user, conditions if rate < 1.0 else [], passing & items.available)


def _by_draw(items: Items, low: float, high: float) -> tuple[Mask, list[pb.Filter]]:
    low_end, high_end = (pb.RangeEnd(value=pb.Value(float64_value=end)) for end in (low, high))
    wanted = pb.Filter(feature="goods:draw", range=pb.ValueRange(min=low_end, max=high_end))
    return (items.draw >= low) & (items.draw <= high), [wanted]


def _clusters(items: Items, own: int, rate: float, rng: np.random.Generator, *, inside: bool) -> Ints:
    """Return clusters that hold about that part of all items, drawn at random: with the query's own one, or without."""
    others = rng.permutation(np.setdiff1d(np.arange(len(items.sizes)), [own]))
    order = np.concatenate([[own], others]) if inside else others
    held = np.cumsum(items.sizes[order])
    return order[: max(1, int(np.searchsorted(held, rate * len(items), side="right")))]


def _by_cluster(items: Items, clusters: Ints) -> tuple[Mask, list[pb.Filter]]:
    wanted = pb.Filter(feature="goods:cluster")
    wanted.any_of.values.extend(pb.Value(int64_value=number) for number in clusters.tolist())
    chosen = np.zeros(len(items.sizes), np.bool_)
    chosen[clusters] = True
    return chosen[items.cluster], [wanted]


def cell_of(shop: Shop, server: Server, kind: str, vectors: Floats, queries: Sequence[Query]) -> Cell:
    """Ask for the slates of the queries, one after the other, and compare them with the true best."""
    recalls, ms, short, lacking, degraded = [], [], 0, 0, 0
    best = list(true_best(vectors, shop.world.users.vectors, queries))
    with grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel:
        call = channel.unary_unary(METHOD, pb.RecommendRequest.SerializeToString, pb.RecommendResponse.FromString)
        for query, truth in zip(queries, best, strict=True):
            request = pb.RecommendRequest(
                placement=f"patient_{kind}", user_id=str(query.user), limit=CANDIDATES, filters=query.filters
            )
            began = time.perf_counter()
            slate = call(request, timeout=TIMEOUT_S)
            ms.append(1e3 * (time.perf_counter() - began))
            enough = min(CANDIDATES, int(np.count_nonzero(query.passing)))
            retrieved = {int(item.item_id) for item in slate.items if item.sources}
            assert all(query.passing[int(item.item_id)] for item in slate.items), "an item that does not pass"
            recalls.append(len(retrieved.intersection(truth)) / len(truth) if truth else 1.0)
            short += len(slate.items) < enough
            lacking += len(retrieved) < enough
            degraded += bool(slate.degraded)
    rate = float(np.mean([query.passing.mean() for query in queries]))
    return Cell(rate, recalls, short, lacking, degraded, ms)


def true_best(vectors: Floats, users: Floats, queries: Sequence[Query]) -> Iterator[list[int]]:
    """Yield the true best of each query that pass, in no order."""
    for start in range(0, len(queries), AT_ONCE):
        block = queries[start : start + AT_ONCE]
        scores = vectors @ users[[query.user for query in block]].T
        for column, query in enumerate(block):
            places = np.flatnonzero(query.passing)
            count = min(COUNTED, len(places))
            best = np.argpartition(-scores[places, column], count - 1)[:count] if count else places[:0]
            yield places[best].tolist()


def report(found: dict[tuple[str, str, float], Cell], sizes: Sizes) -> Report:
    """Return the tables."""
    shown = table(
        f"Candidates of {sizes.items:,} items: recall of the true {COUNTED} in {CANDIDATES}, by gRPC",
        "vectors, filter", "asked", "passes", "recall", "least", "short", "lacking", "degraded", "ms, median",
    )  # fmt: skip
    for (kind, filters, rate), cell in found.items():
        shown.add_row(
            f"{kind}, {filters}", f"{rate:.1%}", f"{cell.rate:.2%}", f"{cell.recall:.4f}", f"{min(cell.recalls):.2f}",
            f"{cell.short}", f"{cell.lacking}", f"{cell.degraded}", f"{np.median(cell.ms):.1f}",
        )  # fmt: skip
    figures: Figures = {f"{kind}, {filters}, {rate:g}": c.figures() for (kind, filters, rate), c in found.items()}
    expectations = [
        Expectation(f"least recall, {kind}, {filters}", least, Relation.AT_LEAST, RECALL)
        for kind in KINDS
        for filters in (RANDOM, INSIDE, OUTSIDE)
        for least in [min(c.recall for (k, f, _), c in found.items() if (k, f) == (kind, filters))]
    ]
    amiss = sum(cell.short + cell.lacking + cell.degraded for cell in found.values())
    expectations.append(Expectation("slates short, lacking candidates, or degraded", amiss, Relation.AT_MOST, 0))
    notes = [
        "short: slates with fewer than 500 items though more passed; lacking: with fewer that the index found",
        "ms: one call at a time, with all 500 items in the reply, from this process",
    ]
    return Report("recall", [shown], figures, expectations, notes)
