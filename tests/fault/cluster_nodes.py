"""The nodes of a Redis Cluster, to be killed, started again, or followed by a replica."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fault.values import Ids, fill, keys
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import free_port, running_redis, wait_for_redis
from tests.parts.topologies import PASSWORD, Endpoint, cluster
from tests.parts.waiting import wait_until

HOST: Final = "127.0.0.1"
_READY_S: Final = 30.0


def client_of(port: int) -> redis.Redis:
    """Return a client of one server of the topologies."""
    return redis.Redis(host=HOST, port=port, password=PASSWORD, socket_timeout=5, retry=Retry(NoBackoff(), 0))


def kill(client: redis.Redis) -> None:
    """End a server without a word."""
    os.kill(client.info("server")["process_id"], signal.SIGKILL)

    def gone() -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return not client.ping()
        return True

    wait_until(gone)


@dataclass(frozen=True)
class Nodes:
    """A cluster that is filled with users, in which nodes answer for their slots also while others are gone."""

    endpoint: Endpoint
    ports: list[int]
    owners: dict[int, list[int]]
    """The users by the port of the node that has their rows."""

    def kill(self, port: int) -> None:
        """End a node without a word."""
        with client_of(port) as client:
            kill(client)

    @contextlib.contextmanager
    def started_again(self, port: int, folder: Path) -> Iterator[None]:
        """Start a node that was killed, with what it knew of the cluster, and wait until it serves again: empty."""
        with running(port, {"cluster-config-file": folder / "nodes.conf"}):
            self._wait("cluster_state", "ok")
            yield

    def folder(self, port: int) -> Path:
        """Return where a node keeps what it knows."""
        with client_of(port) as client:
            return Path(client.config_get("dir")["dir"])

    @contextlib.contextmanager
    def followed(self, port: int) -> Iterator[int]:
        """Give a node a replica, and its port."""
        own = free_port()
        with running(own, {}), client_of(own) as replica, client_of(port) as master:
            replica.execute_command("CLUSTER MEET", HOST, port, master.config_get("cluster-port")["cluster-port"])
            name = master.execute_command("CLUSTER MYID")
            wait_until(partial(_knows, replica, name), _READY_S)
            replica.execute_command("CLUSTER REPLICATE", name)
            wait_until(lambda: replica.info("replication").get("master_link_status") == "up", _READY_S)
            self._wait("cluster_known_nodes", str(len(self.ports) + 1))
            yield own

    def _wait(self, name: str, value: str) -> None:
        for port in self.ports:
            with client_of(port) as client:
                wait_until(partial(_says, client, name, value), _READY_S)


def _says(client: redis.Redis, name: str, value: str) -> bool:
    info: dict[str, str] = client.execute_command("CLUSTER INFO")
    return info[name] == value


def _knows(client: redis.Redis, name: bytes | str) -> bool:
    text = name.decode() if isinstance(name, bytes) else name
    nodes: dict[str, Any] = client.execute_command("CLUSTER NODES")
    return any(text == node["node_id"] for node in nodes.values())


@contextlib.contextmanager
def running(port: int, others: dict[str, object]) -> Iterator[None]:
    """Run a node."""
    options = {
        "port": port,
        "bind": HOST,
        "requirepass": PASSWORD,
        "masterauth": PASSWORD,
        "cluster-enabled": "yes",
        "cluster-port": free_port(),
        "cluster-node-timeout": 2000,
        "cluster-require-full-coverage": "no",
        "repl-diskless-sync-delay": 0,
        **others,
    }
    with running_redis(redis_server(REDIS_8_2), options) as process:
        wait_for_redis(process, client_of(port))
        yield


@contextlib.contextmanager
def filled_cluster(users: Ids) -> Iterator[Nodes]:
    """Run a cluster of three nodes with the rows of users."""
    with cluster() as endpoint:
        hosts = urlsplit(endpoint.url).netloc.rpartition("@")[2].split(",")
        ports = [int(host.rpartition(":")[2]) for host in hosts]
        for port in ports:
            with client_of(port) as client:
                client.config_set("cluster-require-full-coverage", "no")
                client.config_set("repl-diskless-sync-delay", 0)
        client = redis.RedisCluster(host=HOST, port=ports[0], password=PASSWORD)
        owners: dict[int, list[int]] = {port: [] for port in ports}
        for user, key in zip(users.tolist(), keys(users), strict=True):
            node = client.get_node_from_key(key)
            assert node is not None
            owners[node.port].append(user)
        fill(client, len(users))
        yield Nodes(endpoint, ports, owners)
