"""One node of a cluster is gone: its keys are what is missing, and its breaker is the one that opens."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from recsvc.client import Source, Status
from tests.fault.breaker_log import CLOSED, illegal
from tests.fault.cluster_nodes import HOST, Nodes, filled_cluster
from tests.fault.rig import NO_COPIES, QUICK_BREAKER, USERS, Asker, asking, breaker_changes
from tests.fault.values import has_row
from tests.parts.waiting import eventually

SETTINGS = {**NO_COPIES, **QUICK_BREAKER, "redis_timeout_ms": 500}


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A cluster of three nodes."""
    with filled_cluster(np.arange(USERS)) as made:
        yield made


async def all_healthy(ask: Asker) -> bool:
    """Ask for all users, and say whether nothing was missing."""
    return not (await ask.in_parts(range(USERS), 100)).reasons


async def test_one_of_three_nodes_is_killed(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """Only its users are unavailable, also in calls for all; the other breakers stay closed; it comes back, empty."""
    dead, *others = nodes.ports
    gone = nodes.owners[dead]
    async with asking(nodes.endpoint.url, **SETTINGS) as (_, _, ask):
        await eventually(lambda: all_healthy(ask))
        folder = nodes.folder(dead)
        nodes.kill(dead)

        async def its_breaker_is_open() -> bool:
            for port in others:
                assert (await ask.many(nodes.owners[port])).reasons == set()
            return (await ask.many(gone)).reasons == {"CIRCUIT_OPEN"}

        await eventually(its_breaker_is_open)
        seen = await ask.many(range(USERS))
        assert seen.outcomes[Status.UNAVAILABLE, Source.DEFAULT] == len(gone)
        there = np.setdiff1d(np.arange(USERS), gone)
        assert seen.outcomes[Status.PRESENT, Source.STORE] == int(has_row(there).sum())
        assert {c.node for c in breaker_changes(caplog)} == {f"{HOST}:{dead}"}
        ask.flushed = True  # the node comes back without rows
        with nodes.started_again(dead, folder):
            await eventually(lambda: all_healthy(ask), timeout=30)
            assert (await ask.many(gone)).statuses == {Status.NOT_FOUND}
    found = breaker_changes(caplog)
    assert (found[-1].after, illegal(found), {c.node for c in found}) == (CLOSED, [], {f"{HOST}:{dead}"})


async def test_a_replica_takes_over(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """A node is killed and its replica takes its slots: the same server reads every user again, from there."""
    dead = nodes.ports[1]
    with nodes.followed(dead):
        async with asking(nodes.endpoint.url, **SETTINGS) as (_, _, ask):
            await eventually(lambda: all_healthy(ask))
            nodes.kill(dead)
            assert not await all_healthy(ask)
            await eventually(lambda: all_healthy(ask), timeout=30)
            seen = await ask.many(nodes.owners[dead])
            assert seen.sources == {Source.STORE, Source.DEFAULT}
    found = breaker_changes(caplog)
    assert (illegal(found), {c.node for c in found} <= {f"{HOST}:{dead}"}) == ([], True)
