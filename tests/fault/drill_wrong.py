"""A million reads while replies are sliced and reset at every offset and callers leave: not one wrong value."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

from rich.table import Table

from tests.bench.report import Expectation, Figures, Relation, Report, table
from tests.fault.drill_killed import USERS
from tests.fault.judging import Scale
from tests.fault.plan import CANCELLED, Plan
from tests.fault.proxy import NONE, Cut, Fault, FaultProxy
from tests.fault.stage import Stage, durable_redis, proxied_stage

READS: Final = 1_000_000
ROWS: Final = 20
AT_ONCE: Final = 250
"""Rounds: after each, how many values have come is looked at."""
FLAGS: Final = ("--breaker", "closed", "--cache-s", 0.02, "--stale-if-error-s", 0)
"""Faults in every reply would open the breaker, and copies would answer in Redis' place."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of fault, for a share of the reads."""

    name: str
    fault: Fault
    share: float
    in_flight: int = 4
    cancel_share: float = 0.0


PARTS: Final = (
    Part("replies sliced at every offset", Fault(cut=Cut(pause_s=0.0005)), 0.3),
    Part("replies reset at every offset, one in 4", Fault(cut=Cut(reset=True, one_in=4)), 0.3),
    Part(
        "replies reset at every offset, late, out of order",
        Fault(jitter_s=0.004, cut=Cut(reset=True, one_in=9)),
        0.1,
        16,
    ),
    Part("half of the callers leave at some time", Fault(jitter_s=0.004), 0.2, 32, 0.5),
    Part("all of it", Fault(jitter_s=0.004, cut=Cut(reset=True, one_in=20)), 0.1, 32, 0.5),
)


@dataclass(slots=True)
class Count:
    """What came of one part."""

    calls: int = 0
    rows: int = 0
    from_redis: int = 0
    wrong: int = 0
    degraded: int = 0
    failed: int = 0
    left: int = 0
    seconds: float = 0.0


async def run(scale: Scale) -> Report:
    """Read a million rows, and judge."""
    shown = table(
        "Sliced, reset, cancelled", "fault", "values of Redis", "wrong", "degraded calls", "left", "offsets cut", "s"
    )
    figures: Figures = {}
    total, wrong, failed = 0, 0, 0
    examples: list[str] = []
    with durable_redis(USERS) as store:
        async with proxied_stage(store, *FLAGS) as (on, proxy):
            for part in PARTS:
                proxy.cuts.clear()
                count = await _part(on, proxy, part, scale.count(round(READS * part.share)), examples)
                _show(shown, part.name, count, len(proxy.cuts))
                figures[part.name] = {
                    "values": count.from_redis,
                    "wrong": count.wrong,
                    "degraded_calls": count.degraded,
                    "offsets": len(proxy.cuts),
                }
                total, wrong, failed = total + count.from_redis, wrong + count.wrong, failed + count.failed
    reads = Expectation("wrong: rows whose values came from Redis", float(total), Relation.AT_LEAST, scale.count(READS))
    none = Expectation("wrong: wrong or unflagged answers", float(wrong), Relation.AT_MOST, 0)
    no_failure = Expectation("wrong: failed calls", float(failed), Relation.AT_MOST, 0)
    return Report("wrong", [shown], {**figures, "examples": examples}, [reads, none, no_failure])


async def _part(on: Stage, proxy: FaultProxy, part: Part, wanted: int, examples: list[str]) -> Count:
    count = Count()
    began = time.monotonic()
    plan = Plan(on.server.address, 0, USERS, in_flight=part.in_flight, rows=ROWS, past_cache_share=0.3)
    plan = replace(plan, deadlines_s=(5.0,), cancel_share=part.cancel_share)
    proxy.fault = part.fault
    while count.from_redis < wanted:
        calls = max((wanted - count.from_redis) // ROWS, AT_ONCE)
        async with on.load(replace(plan, calls=calls, seed=count.calls + 1)) as load:
            done = await load.finished()
        examples += load.wrong
        count.calls += len(done)
        count.rows += int(done.rows.sum())
        count.from_redis += int(done.from_redis.sum())
        count.wrong += int(done.wrong.sum())
        count.degraded += int(done.degraded.sum())
        count.failed += int(done.failed.sum())
        count.left += int((done.code == CANCELLED).sum())
    proxy.fault = NONE
    count.seconds = time.monotonic() - began
    return count


def _show(shown: Table, name: str, count: Count, offsets: int) -> None:
    numbers = (count.from_redis, count.wrong, count.degraded, count.left, offsets)
    shown.add_row(name, *(f"{n:,}" for n in numbers), f"{count.seconds:.1f}")
