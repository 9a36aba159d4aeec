"""Redis says nothing more, frozen by SIGSTOP or behind a black hole: no call outlives its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from tests.bench.report import Expectation, Relation, Report, table
from tests.fault.breaker_log import OPEN
from tests.fault.drill_killed import AFTER_S, DOWN_S, SETTLED_S, USERS, WARM_S, Times, mixed
from tests.fault.judging import Scale, behind, behind_ms, first_change, in_time, timeline
from tests.fault.plan import Calls
from tests.fault.proxy import NONE, Fault, FaultProxy
from tests.fault.stage import DurableRedis, Stage, durable_redis, proxied_stage, stage

TIMEOUT_MS: Final = 50.0
"""The server's own default."""
DEADLINES_S: Final = (0.04, 0.25)
"""In turns: one that Redis' timeout alone would not keep, and one that leaves time for it."""


async def run_stopped(scale: Scale) -> Report:
    """Freeze it with SIGSTOP."""
    with durable_redis(USERS) as store:
        async with stage(store.url) as on:
            return await _break("frozen", on, _stopped(store), scale)


async def run_black_hole(scale: Scale) -> Report:
    """Let nothing pass on the way to it, while all connections stay open."""
    with durable_redis(USERS) as store:
        async with proxied_stage(store) as (on, proxy):
            return await _break("black-holed", on, _black_hole(proxy), scale)


@contextlib.contextmanager
def _stopped(store: DurableRedis) -> Iterator[None]:
    store.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        store.signal(signal.SIGCONT)


@contextlib.contextmanager
def _black_hole(proxy: FaultProxy) -> Iterator[None]:
    proxy.fault = Fault(black_hole=True)
    try:
        yield
    finally:
        proxy.fault = NONE


async def _break(name: str, on: Stage, fault: contextlib.AbstractContextManager[None], scale: Scale) -> Report:
    async with on.load(mixed(on.server.address, deadlines_s=DEADLINES_S)) as load:
        began = time.monotonic()
        await asyncio.sleep(WARM_S)
        with fault:
            down = time.monotonic()
            await asyncio.sleep(scale.of(DOWN_S))
        back = time.monotonic()
        await asyncio.sleep(AFTER_S)
        calls = await load.finish()
    opened = first_change(on.breaker_changes(), OPEN, after=down)
    return _judge(name, calls, Times(began, down, back), opened, load.wrong)


def _judge(name: str, calls: Calls, times: Times, opened: float, wrong: list[str]) -> Report:
    before = calls.between(times.began + WARM_S / 2, times.down)
    waiting = calls.between(times.down, opened)
    misses = waiting.where(~waiting.hits)
    shown = table(f"Redis {name}", "calls", "number", "p50 ms", "p99 ms", "degraded", "failed")
    for title, some in (
        ("before, hits", before.where(before.hits)),
        ("before, others", before.where(~before.hits)),
        ("until the breaker opens, hits", waiting.where(waiting.hits)),
        ("until the breaker opens, others", misses),
        ("the breaker is open", calls.between(opened + SETTLED_S, times.back)),
        ("Redis is back", calls.between(times.back, np.inf)),
    ):
        timeline(shown, title, some)
    last = calls.where(calls.degraded & (calls.sent >= times.down))
    figures = {
        "calls": len(calls),
        **behind_ms(calls),
        "breaker_open_after_s": opened - times.down,
        "recovered_after_s": float((last.sent + last.took).max(initial=times.back)) - times.back,
        "p99_of_misses_until_open_ms": misses.percentile_ms(99),
        "late_before_ms": float(before.over.max(initial=-1.0)) * 1e3,
        "wrong": wrong,
    }
    p99 = waiting.percentile_ms(99)
    return Report(
        name,
        [shown],
        figures,
        [
            *in_time(name, calls.between(times.down, np.inf)),
            Expectation(f"{name}: p99 until the breaker opens, ms", p99, Relation.AT_MOST, TIMEOUT_MS + 5),
            Expectation(f"{name}: wrong or unflagged answers", float((calls.wrong > 0).sum()), Relation.AT_MOST, 0),
        ],
        [behind(calls), f"breaker open {opened - times.down:.3f} s after"],
    )
