"""Twice as many calls as the server can answer: with the controller that narrows candidates, and without it.

Without: a target that is never missed. Calls come at random times at twice the rate of saturation. The controller
needs late slates to learn from, so it is judged by the seconds after the first ones; what all of the burst came to is
shown too. Then calls come at half of saturation again, until slates no longer say that candidates were reduced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recsvc.config import Settings
from recsvc.pb import serving_pb2 as pb
from tests.bench.read_generator import Pressure, Second
from tests.bench.recommend_definitions import KINDS
from tests.bench.recommend_latency import CACHED, HALF, saturation
from tests.bench.recommend_requests import requests
from tests.bench.recommend_stand import NEVER_MS, Outcome, Shop, Sizes, middle
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

KIND: Final = KINDS[0]
OVER: Final = 2.0
LONGEST_S: Final = 15.0
"""Of a burst: without a controller calls wait longer and longer."""
LEARNING: Final = 1 / 3
"""The part of a burst that does not count."""
BACK_S: Final = 30.0
TIMES: Final = 2.0
WITH, WITHOUT = "with", "without"


@dataclass(frozen=True, slots=True)
class Overload:
    """The burst that is too much, and the one after it at half load."""

    over: Outcome
    after: Outcome

    @property
    def settled(self) -> Sequence[Second]:
        """The seconds of the burst that count."""
        course = [second for second in self.over.burst.course if second.latency.calls]
        return course[int(LEARNING * len(course)) :]

    @property
    def p99(self) -> float:
        """The 99th percentile in the seconds that count, in ms: their median."""
        return middle([second.latency.p99 for second in self.settled])

    @property
    def least_factor(self) -> float:
        """The least part of the candidates that a slate of the burst had, of those that tell."""
        return min(self._factors(self.over), default=1.0)

    @staticmethod
    def _factors(outcome: Outcome) -> list[float]:
        flaws = (flaw for slate in outcome.told() for flaw in slate.degraded)
        return [f.factor for f in flaws if f.reason == pb.DEGRADATION_REASON_CANDIDATES_REDUCED]

    @property
    def back_s(self) -> float:
        """After how many seconds at half load the last slate said that candidates were reduced."""
        seconds = [n for n, one in enumerate(self.after.burst.course) if any(map(_is_reduced, one.seen))]
        return float(seconds[-1] + 1) if seconds else 0.0

    @property
    def failed(self) -> int:
        """Calls of the burst that were not answered."""
        return self.over.burst.calls - self.over.burst.statuses.get("0", 0)

    def figures(self) -> Figures:
        """Return it for the JSON object."""
        return {
            "p50_ms": rounded(self.over.latency.p50),
            "p99_ms": rounded(self.over.latency.p99),
            "settled_p99_ms": rounded(self.p99),
            "worst_second_p99_ms": rounded(max((s.latency.p99 for s in self.settled), default=0.0)),
            "p99_ms_by_second": [rounded(second.latency.p99) for second in self.over.burst.course],
            "seen": dict(self.over.burst.seen),
            "failed": self.failed,
            "least_factor": rounded(self.least_factor),
            "back_s": self.back_s,
            "after_p99_ms": rounded(self.after.latency.p99),
        }


def _is_reduced(seen: str) -> bool:
    return f".1={pb.DEGRADATION_REASON_CANDIDATES_REDUCED}" in seen.split()


async def measure(sizes: Sizes) -> Report:
    """Measure both servers."""
    target_ms = Settings().recommend_target_ms
    found: dict[str, Overload] = {}
    async with Shop.open(sizes) as shop:
        with shop.server() as server:
            most = saturation(shop, server, KIND, CACHED).per_s
        for name, target in ((WITH, target_ms), (WITHOUT, NEVER_MS)):
            with shop.server(recommend_target_ms=target) as server:
                asked = requests(shop.world, KIND, shop.stand.folder, rate=most, hits=CACHED)
                pressure = Pressure(rate=OVER * most, seconds=min(LONGEST_S, sizes.seconds))
                shop.burst(server, asked, Pressure(rate=HALF * most, seconds=sizes.quiet_s))
                over = shop.burst(server, asked, pressure)
                seconds = BACK_S + sizes.quiet_s if sizes.seconds >= LONGEST_S else sizes.seconds
                after = shop.burst(server, asked, Pressure(rate=HALF * most, seconds=seconds))
                found[name] = Overload(over, after)
    return report(found, most, target_ms, sizes)


def report(found: dict[str, Overload], most: float, target_ms: int, sizes: Sizes) -> Report:
    """Return the table."""
    shown = table(
        f"{OVER:g} × saturation ({most:,.1f} slates/s, {sizes.items:,} items), target {target_ms} ms; ms", "controller",
        "p50, all", "p99, all", "p99, settled", "worst second", "failed", "least factor", "back after s",
    )  # fmt: skip
    for name, o in found.items():
        worst = max((second.latency.p99 for second in o.settled), default=0.0)
        shown.add_row(
            name, f"{o.over.latency.p50:.1f}", f"{o.over.latency.p99:.1f}", f"{o.p99:.1f}", f"{worst:.1f}",
            f"{o.failed / o.over.burst.calls:.2%}", f"{o.least_factor:.2f}", f"{o.back_s:g}",
        )  # fmt: skip
    limit = TIMES * target_ms
    expectations = [
        Expectation("p99 with the controller, ms", found[WITH].p99, Relation.AT_MOST, limit),
        Expectation("p99 without it, ms", found[WITHOUT].p99, Relation.AT_LEAST, limit),
        Expectation("seconds until nothing is reduced any more", found[WITH].back_s, Relation.AT_MOST, BACK_S),
    ]
    figures: Figures = {name: o.figures() for name, o in found.items()}
    figures["saturation_per_s"] = rounded(most)
    notes = [f"settled: the median of the seconds' p99 after the first {LEARNING:.0%} of the burst"]
    return Report("overload", [shown], figures, expectations, notes)
