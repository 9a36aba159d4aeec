"""One of three cluster nodes is killed under load: its users alone are degraded, its breaker alone opens."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np

from tests.bench.report import Expectation, Figures, Relation, Report, table
from tests.fault.breaker_log import OPEN
from tests.fault.cluster_nodes import HOST, filled_cluster
from tests.fault.drill_killed import DOWN_S, SETTLED_S, USERS, WARM_S, mixed
from tests.fault.judging import Scale, behind, behind_ms, first_change, timeline
from tests.fault.plan import Calls
from tests.fault.stage import stage


async def run(scale: Scale) -> Report:
    """Kill one, and judge."""
    with filled_cluster(np.arange(USERS)) as nodes:
        dead = nodes.ports[1]
        async with stage(nodes.endpoint.url) as on:
            async with on.load(mixed(on.server.address)) as load:
                await asyncio.sleep(WARM_S)
                nodes.kill(dead)
                down = time.monotonic()
                await asyncio.sleep(scale.of(DOWN_S))
                calls = await load.finish()
            changes = on.breaker_changes()
    opened = first_change(changes, OPEN, after=down)
    others = {c.change.node for c in changes} - {f"{HOST}:{dead}"}
    report = _judge(calls, down, opened, nodes.owners[dead])
    report.figures["wrong"] = load.wrong
    none = _none("cluster: breakers of other nodes that changed", len(others))
    return replace(report, expectations=[*report.expectations, none])


def _judge(calls: Calls, down: float, opened: float, gone: list[int]) -> Report:
    after = calls.between(down, np.inf)
    its = np.isin(after.user, gone)
    shown = table("One of three cluster nodes killed", "calls", "number", "p50 ms", "p99 ms", "degraded", "failed")
    timeline(shown, "before", calls.between(down - WARM_S / 2, down))
    timeline(shown, "users of the killed node, until its breaker opens", after.where(its).between(down, opened))
    timeline(shown, "users of the killed node, then", after.where(its).between(opened + SETTLED_S, np.inf))
    timeline(shown, "users of the other nodes", after.where(~its))
    figures: Figures = {"calls": len(calls), **behind_ms(calls), "breaker_open_after_s": opened - down}
    return Report(
        "cluster",
        [shown],
        figures,
        [
            _none("cluster: degraded calls for users of other nodes", int(after.where(~its).degraded.sum())),
            _none("cluster: failed calls", int(calls.failed.sum())),
            _none("cluster: wrong or unflagged answers", int((calls.wrong > 0).sum())),
            Expectation("cluster: its breaker open after, s", opened - down, Relation.AT_MOST, 1.0),
        ],
        [behind(calls)],
    )


def _none(name: str, number: int) -> Expectation:
    return Expectation(name, float(number), Relation.AT_MOST, 0)
