"""A replica takes over from its master: the server finds the new one by itself, and no value is wrong on the way."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import redis

from recsvc.client import Source
from tests.fault.breaker_log import illegal
from tests.fault.cluster_nodes import client_of, kill
from tests.fault.rig import NO_COPIES, QUICK_BREAKER, USERS, Asker, asking, breaker_changes, rigged
from tests.fault.values import fill
from tests.parts.topologies import PASSWORD as SENTINEL_PASSWORD
from tests.parts.topologies import SERVICE, sentinel
from tests.parts.waiting import eventually, wait_until
from tests.rpc.own_redis import PASSWORD, OwnRedis

SETTINGS = {**NO_COPIES, **QUICK_BREAKER, "redis_timeout_ms": 500}


async def all_healthy(ask: Asker) -> bool:
    """Ask for all users, and say whether nothing was missing."""
    return not (await ask.in_parts(range(USERS), 100)).reasons


async def test_sentinel_makes_the_replica_master(caplog: pytest.LogCaptureFixture) -> None:
    """The master is killed, Sentinel promotes its replica: the same server reads every user again, from there."""
    with sentinel(sentinels=1) as endpoint:
        with sentinels_client(endpoint.url) as watcher:
            _, master = watcher.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
        with client_of(int(master)) as client:
            fill(client_of(int(master)), USERS)
            client.wait(1, 10_000)
            async with asking(endpoint.url, **SETTINGS) as (_, _, ask):
                await eventually(lambda: all_healthy(ask))
                kill(client)
                assert not await all_healthy(ask)
                await eventually(lambda: all_healthy(ask), timeout=30)
    assert illegal(breaker_changes(caplog)) == []


def sentinels_client(url: str) -> redis.Redis:
    """Return a client of the Sentinel that a URL names."""
    port = int(urlsplit(url).netloc.rpartition(":")[2])
    return redis.Redis(port=port, password=SENTINEL_PASSWORD, socket_timeout=5)


async def test_a_replica_is_promoted_by_hand(store: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    """REPLICAOF NO ONE on the replica, the address moved to it, the old master killed: reads go on."""
    with ExitStack() as stack:
        other = OwnRedis(stack)
        replica = stack.enter_context(other.rows.client)
        async with rigged(store, **SETTINGS) as rig:
            assert await rig.ask.healthy()
            rig.admin.config_set("repl-diskless-sync-delay", 0)
            follow(replica, rig.proxy.target)
            rig.admin.wait(1, 10_000)
            replica.replicaof("NO", "ONE")
            rig.proxy.target = port_of(other)
            store.kill()
            await eventually(lambda: all_healthy(rig.ask))
            assert (await rig.ask.one(1)).sources == {Source.STORE}
    assert illegal(breaker_changes(caplog)) == []


async def test_the_master_becomes_a_replica(store: OwnRedis) -> None:
    """The server that is read is made a replica of another one with the same rows: reads go on, none is wrong."""
    with ExitStack() as stack:
        other = OwnRedis(stack)
        with other.rows.client as master:
            master.config_set("repl-diskless-sync-delay", 0)
        fill(other.rows.client, USERS)
        async with rigged(store, **SETTINGS) as rig:
            assert await rig.ask.healthy()
            follow(rig.admin, port_of(other))
            await eventually(lambda: all_healthy(rig.ask))
            assert rig.admin.info("replication")["role"] == "slave"


def follow(replica: redis.Redis, port: int) -> None:
    """Make a server a replica of another one, and wait until it has its rows."""
    replica.config_set("masterauth", PASSWORD)
    replica.replicaof("127.0.0.1", str(port))
    wait_until(lambda: replica.info("replication").get("master_link_status") == "up", 30)


def port_of(server: OwnRedis) -> int:
    """Return where a server listens."""
    port = urlsplit(server.url).port
    assert port is not None
    return port
