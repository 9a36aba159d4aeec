"""At 90 % load all copies are gone at once and Redis is slow; then Redis is well again, and the server has to be.

That is the trap of systems with a cache: without copies every call costs more than the server can give, calls time out,
what they fetched is not used, and it stays so. The load moves to users of whom there is no copy; that is the same
as a cache that was flushed.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from tests.bench.report import Expectation, Relation, Report, table
from tests.fault.judging import Scale, behind, behind_ms, timeline
from tests.fault.plan import OK, Calls, Plan
from tests.fault.proxy import NONE, Fault
from tests.fault.stage import Stage, durable_redis, proxied_stage

USERS: Final = 15_000
"""In each of two halves: the one that the load begins with, and the one that it moves to."""
ROWS: Final = 100
LOAD: Final = 0.9
DEADLINE_S: Final = 0.25
WARM_S: Final = 6.0
MEASURED_S: Final = 4.0
STEADY_S: Final = 6.0
TRIGGER_S: Final = 5.0
AFTER_S: Final = 14.0
SLOW: Final = Fault(delay_s=0.03, jitter_s=0.04)
"""Replies come after 30 to 70 ms: some within Redis' timeout of 50 ms, some not."""
BIN_S: Final = 0.5
SUSTAINED_S: Final = 2.0
"""For so long goodput has to be good before it counts as back."""
GOOD: Final = 0.99
BUSY: Final = 0.9
"""A server that was less busy while its capacity was measured can do more: then the load was not 90 %."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the server can do: calls per second, and how much of its core it took for them."""

    calls_per_s: float
    cpu_share: float

    @property
    def rate(self) -> float:
        """The load to put on it."""
        return LOAD * self.calls_per_s


async def run(scale: Scale) -> Report:
    """Pull the trigger once, and judge."""
    with durable_redis(2 * USERS) as store:
        async with proxied_stage(store) as (on, proxy):
            plan = Plan(on.server.address, 0, USERS, rows=ROWS, deadlines_s=(DEADLINE_S,), checked_share=0.1)
            capacity = await _capacity(on, replace(plan, in_flight=24))
            async with on.load(replace(plan, rate=capacity.rate)) as load:
                await asyncio.sleep(STEADY_S)
                began = time.monotonic()
                proxy.fault = SLOW
                await load.change(first=USERS, last=2 * USERS)
                await asyncio.sleep(TRIGGER_S)
                proxy.fault = NONE
                ended = time.monotonic()
                await asyncio.sleep(AFTER_S)
                calls = await load.finish()
    return _judge(calls, capacity, began, ended, load.wrong)


async def _capacity(on: Stage, plan: Plan) -> Capacity:
    """Measure with as many calls at once as it takes to keep the server busy, once copies are there."""
    async with on.load(plan) as load:
        await asyncio.sleep(WARM_S)
        began, cpu = time.monotonic(), on.cpu_s()
        await asyncio.sleep(MEASURED_S)
        ended, cpu = time.monotonic(), on.cpu_s() - cpu
        calls = (await load.finish()).between(began, ended)
    return Capacity(len(calls) / (ended - began), min(cpu / (ended - began), 1.0))


def goodput(calls: Calls, start: float, end: float) -> npt.NDArray[np.float64]:
    """Return for each bin from ``start`` to ``end`` the share of calls that got all they asked for in time."""
    edges = np.arange(start, end, BIN_S)
    good = (calls.code == OK) & ~calls.degraded & (calls.over <= 0)
    sent, _ = np.histogram(calls.sent, edges)
    well, _ = np.histogram(calls.sent[good], edges)
    shares: npt.NDArray[np.float64] = well / np.maximum(sent, 1)
    return shares


def _back_after(after: npt.NDArray[np.float64]) -> float:
    """Return when two seconds of good bins begin; infinity if never."""
    length = round(SUSTAINED_S / BIN_S)
    starts = (i for i in range(len(after) - length + 1) if (after[i : i + length] >= GOOD).all())
    return next(starts, math.inf) * BIN_S


def _judge(calls: Calls, capacity: Capacity, began: float, ended: float, wrong: list[str]) -> Report:
    before = goodput(calls, began - STEADY_S / 2, began)
    after = goodput(calls, ended, ended + AFTER_S - BIN_S)
    back = _back_after(after)
    shown = table(
        "All copies gone and Redis slow, at 90 % load", "calls", "number", "p50 ms", "p99 ms", "degraded", "failed"
    )
    timeline(shown, "before", calls.between(began - STEADY_S / 2, began))
    timeline(shown, "slow, without copies", calls.between(began, ended))
    timeline(shown, "Redis is well again", calls.between(ended, np.inf))
    figures = {
        **behind_ms(calls),
        "capacity_calls_per_s": capacity.calls_per_s,
        "capacity_cpu_share": capacity.cpu_share,
        "offered_calls_per_s": capacity.rate,
        "goodput_before": float(before.mean()),
        "goodput_while_slow": float(goodput(calls, began, ended).mean()),
        "goodput_after": [round(float(g), 4) for g in after],
        "back_after_s": back,
        "wrong": wrong,
    }
    return Report(
        "metastable",
        [shown],
        figures,
        [
            Expectation(
                "metastable: server's share of its core, as capacity", capacity.cpu_share, Relation.AT_LEAST, BUSY
            ),
            Expectation("metastable: goodput before", float(before.mean()), Relation.AT_LEAST, GOOD),
            Expectation("metastable: back to 99 % goodput after, s", back, Relation.AT_MOST, 10.0),
            Expectation("metastable: wrong or unflagged answers", float((calls.wrong > 0).sum()), Relation.AT_MOST, 0),
        ],
        [
            behind(calls),
            f"{capacity.calls_per_s:,.0f} calls/s: {capacity.cpu_share:.0%} of a core, offered {capacity.rate:,.0f}",
            "goodput by half seconds after the trigger: " + " ".join(f"{g:.2f}" for g in after),
        ],
    )
