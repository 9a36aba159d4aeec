"""Redis is killed under load, and started again: no failed call, and as fast without it as from copies."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from tests.bench.report import Expectation, Relation, Report, table
from tests.fault.breaker_log import OPEN
from tests.fault.judging import Scale, behind, behind_ms, first_change, milliseconds, timeline
from tests.fault.plan import Calls, Plan
from tests.fault.stage import DurableRedis, Stage, durable_redis, stage

USERS: Final = 20_000
WARM_S: Final = 6.0
DOWN_S: Final = 6.0
AFTER_S: Final = 5.0
SETTLED_S: Final = 0.1
"""Calls sent so soon after the breaker has opened may still wait for fetches that began before."""
RATE: Final = 500.0


def mixed(address: str, rate: float = RATE, deadlines_s: tuple[float, ...] = (0.25,)) -> Plan:
    """Return a load of single users: four of five calls for hot ones, which are mostly copies, the fifth for any."""
    return Plan(address, 0, USERS, rate=rate, hot=500, hot_share=0.8, deadlines_s=deadlines_s)


@dataclass(frozen=True, slots=True)
class Times:
    """When what was done, on the monotonic clock."""

    began: float
    down: float
    back: float


async def run(scale: Scale) -> Report:
    """Kill it once, and judge."""
    with durable_redis(USERS) as store:
        async with stage(store.url) as on:
            calls, times, wrong = await _break(on, store, scale)
            opened = first_change(on.breaker_changes(), OPEN, after=times.down)
    return _judge(calls, times, opened, wrong)


async def _break(on: Stage, store: DurableRedis, scale: Scale) -> tuple[Calls, Times, list[str]]:
    async with on.load(mixed(on.server.address)) as load:
        began = time.monotonic()
        await asyncio.sleep(WARM_S)
        store.kill()
        down = time.monotonic()
        await asyncio.sleep(scale.of(DOWN_S))
        await asyncio.to_thread(store.start)
        back = time.monotonic()
        await asyncio.sleep(AFTER_S)
        return await load.finish(), Times(began, down, back), load.wrong


def _judge(calls: Calls, times: Times, opened: float, wrong: list[str]) -> Report:
    before = calls.between(times.began + WARM_S / 2, times.down)
    without = calls.between(opened + SETTLED_S, times.back)
    hit, down = before.where(before.hits).percentile_ms(99), without.percentile_ms(99)
    last = calls.where(calls.degraded & (calls.sent >= times.down))
    recovered = float((last.sent + last.took).max(initial=times.back)) - times.back
    shown = table("Redis killed under load", "calls", "number", "p50 ms", "p99 ms", "degraded", "failed")
    for name, some in (
        ("before, hits", before.where(before.hits)),
        ("before, others", before.where(~before.hits)),
        ("killed, until the breaker opens", calls.between(times.down, opened)),
        ("the breaker is open", without),
        ("Redis is back", calls.between(times.back, np.inf)),
    ):
        timeline(shown, name, some)
    figures = {
        "calls": len(calls),
        **behind_ms(calls),
        "breaker_open_after_s": opened - times.down,
        "hit_p99_ms": milliseconds(hit),
        "without_redis_p99_ms": milliseconds(down),
        "recovered_after_s": recovered,
        "wrong": wrong,
    }
    return Report(
        "killed",
        [shown],
        figures,
        [
            Expectation("killed: failed calls", float(calls.failed.sum()), Relation.AT_MOST, 0),
            Expectation("killed: wrong or unflagged answers", float((calls.wrong > 0).sum()), Relation.AT_MOST, 0),
            Expectation("killed: breaker open after, s", opened - times.down, Relation.AT_MOST, 1.0),
            Expectation("killed: then p99 over that of hits, ms", down - hit, Relation.AT_MOST, 1.0),
            Expectation("killed: recovered after Redis is back, s", recovered, Relation.AT_MOST, 2.0),
        ],
        [behind(calls)],
    )
