"""A new version of the index under load: calls that fail, and how long the others take.

Calls come at random times at half of saturation. In turns nothing happens, or another version is published as the burst
begins (the same vectors and lists, in files of their own); the server looks for one every 5 s. Replies name the version
that was searched, so it is seen that the swap came within the burst.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from recsvc.recommend.index.published import publish
from tests.bench.read_generator import Pressure
from tests.bench.recommend_definitions import KINDS
from tests.bench.recommend_latency import CACHED, HALF, saturation, tuned
from tests.bench.recommend_stand import Outcome, Shop, Sizes, beside, middle
from tests.bench.recommend_world import FIRST, SECOND
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

KIND: Final = KINDS[0]
LONG_S: Final = 30.0
"""Of a burst, but where the benchmark itself is tested: the server looks, reads the files, and then serves them."""
BRIEF_S: Final = 1.0
TIMES: Final = 2.0
"""How much longer the slowest calls may take with a swap."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """Bursts without and with a swap, in turns."""

    rate: float
    calm: Sequence[Outcome]
    swapped: Sequence[Outcome]

    @property
    def failed(self) -> int:
        """Calls of the bursts with a swap that were not answered."""
        return sum(o.burst.calls - o.burst.statuses.get("0", 0) for o in self.swapped)

    @property
    def seen(self) -> int:
        """In how many bursts both versions answered."""
        return sum(len(_versions(o)) == len((FIRST, SECOND)) for o in self.swapped)

    @property
    def ratio(self) -> float:
        """How much longer the 99th percentile is with a swap: the median of the rounds' ratios."""
        return middle([s.latency.p99 / c.latency.p99 for c, s in zip(self.calm, self.swapped, strict=True)])


async def measure(sizes: Sizes) -> Report:
    """Measure bursts without and with a swap."""
    async with Shop.open(sizes) as shop:
        root, calm, swapped = shop.world.indexes / KIND, [], []
        with shop.server() as server:
            rate = HALF * saturation(shop, server, KIND, CACHED).per_s
            asked = tuned(shop, server, KIND, rate, CACHED)
            seconds = sizes.seconds if sizes.seconds < BRIEF_S else max(LONG_S, sizes.seconds)
            pressure = Pressure(rate=rate, seconds=seconds)
            for _, version in zip(range(sizes.rounds), cycle((SECOND, FIRST)), strict=False):
                calm.append(shop.warmed(server, asked, pressure))

                def swap(version: str = version) -> None:
                    time.sleep(sizes.quiet_s)
                    publish(root, version)

                swapped.append(beside(lambda: shop.warmed(server, asked, pressure), swap)[0])
        publish(root, FIRST)
    return report(Rounds(rate, calm, swapped), sizes)


def _versions(outcome: Outcome) -> set[str]:
    return {version for slate in outcome.told() for version in slate.index_versions.values()}


def _worst(outcome: Outcome) -> float:
    """Return the 99th percentile of the worst second, in ms."""
    return max((second.latency.p99 for second in outcome.burst.course), default=float("nan"))


def report(found: Rounds, sizes: Sizes) -> Report:
    """Return the table."""
    shown = table(
        f"A swap of the index of {sizes.items:,} vectors at {found.rate:,.1f} slates/s, ms", "burst", "p50", "p99",
        "p99 of its worst second", "whole",
    )  # fmt: skip
    figures: Figures = {"rate": rounded(found.rate), "swaps_seen": found.seen, "failed": found.failed}
    for name, bursts in (("calm", found.calm), ("swap", found.swapped)):
        p50, p99, worst = ([f(o) for o in bursts] for f in (lambda o: o.latency.p50, lambda o: o.latency.p99, _worst))
        whole = sum(o.whole for o in bursts) / sum(o.burst.calls for o in bursts)
        shown.add_row(name, *(f"{middle(values):.2f}" for values in (p50, p99, worst)), f"{whole:.2%}")
        figures[name] = {"p50_ms": p50, "p99_ms": p99, "worst_second_p99_ms": worst, "whole_share": whole}
    expectations = [
        Expectation("failed calls in bursts with a swap", found.failed, Relation.AT_MOST, 0),
        Expectation("p99 with a swap / without", found.ratio, Relation.AT_MOST, TIMES),
        Expectation("bursts in which both versions answered", found.seen, Relation.AT_LEAST, len(found.swapped)),
    ]
    return Report("swap", [shown], figures, expectations)
