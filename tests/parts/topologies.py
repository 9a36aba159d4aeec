"""Redis in every shape that recsvc serves from, each as a context manager that yields an `Endpoint`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from tests.parts import missing
from tests.parts.certificates import Certificates, make_certificates
from tests.parts.redis_binaries import REDIS_6_2, REDIS_7_0, REDIS_8_2, redis_server, search_module, version_of
from tests.parts.redis_server import RunningRedis, free_port, running_redis, short_folder, wait_for_redis
from tests.parts.waiting import wait_until

# Every character that must be percent-encoded, so that no test passes by a password without them.
PASSWORD = "p/w?#@:% é"
SERVICE = "recsvc-test"
SLOTS = 16384


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running Redis: the URL that recsvc is given, and one that may write where the first may not."""

    name: str
    url: str
    admin_url: str
    server_version: str


def login(user: str = "", password: str = PASSWORD) -> str:
    """Return `user:password@`, percent-encoded."""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@"


@contextlib.contextmanager
def standalone(version: str) -> Iterator[Endpoint]:
    """One server over TCP, with a password."""
    server, port = redis_server(version), free_port()
    with running_redis(server, {"port": port, "bind": "127.0.0.1", "requirepass": PASSWORD}) as running:
        wait_for_redis(running, _admin(port))
        url = f"redis://{login()}127.0.0.1:{port}/0"
        yield Endpoint(f"redis-{version}", url, url, version_of(server))


@contextlib.contextmanager
def unix_socket(version: str = REDIS_8_2) -> Iterator[Endpoint]:
    """One server on a unix socket, nobody asked for a password."""
    server = redis_server(version)
    with short_folder() as folder, running_redis(server, {"port": 0, "unixsocket": folder / "redis.sock"}) as running:
        path = folder / "redis.sock"
        wait_for_redis(running, redis.Redis(unix_socket_path=str(path)))
        yield Endpoint("unix", f"unix://{path}", f"unix://{path}", version_of(server))


@contextlib.contextmanager
def with_search(*, port: int | None = None) -> Iterator[tuple[Endpoint, RunningRedis]]:
    """One server over TCP that has the Query Engine, with a password; also its process, to be ended by a test."""
    server, module, port = redis_server(REDIS_8_2), search_module(), port or free_port()
    options = {"port": port, "bind": "127.0.0.1", "requirepass": PASSWORD, "loadmodule": module}
    with running_redis(server, options) as running:
        wait_for_redis(running, _admin(port))
        url = f"redis://{login()}127.0.0.1:{port}/0"
        yield Endpoint("redis-with-search", url, url, version_of(server)), running


@contextlib.contextmanager
def tls(version: str = REDIS_7_0) -> Iterator[Endpoint]:
    """One server over TLS that asks its clients for a certificate."""
    server, port = redis_server(version), free_port()
    with short_folder() as folder:
        files = make_certificates(folder)
        options = {
            "port": 0,
            "tls-port": port,
            "bind": "127.0.0.1",
            "requirepass": PASSWORD,
            "tls-ca-cert-file": files.ca,
            "tls-cert-file": files.cert,
            "tls-key-file": files.key,
        }
        with running_redis(server, options) as running:
            _wait_for_tls(running, port, files)
            query = f"?ca={quote(str(files.ca))}&cert={quote(str(files.cert))}&key={quote(str(files.key))}"
            url = f"rediss://{login()}127.0.0.1:{port}/0{query}"
            yield Endpoint("tls", url, url, version_of(server))


def _wait_for_tls(running: RunningRedis, port: int, files: Certificates) -> None:
    client = _admin(
        port, ssl=True, ssl_ca_certs=str(files.ca), ssl_certfile=str(files.cert), ssl_keyfile=str(files.key)
    )
    try:
        wait_for_redis(running, client)
    except AssertionError:
        if "TLS support" in running.log():
            missing("this redis-server was built without TLS")
        raise


@contextlib.contextmanager
def read_only_user(version: str = REDIS_8_2) -> Iterator[Endpoint]:
    """One server, and a user that may do nothing but read keys of ours and PING."""
    server, port = redis_server(version), free_port()
    user = ("--user", "reader", "on", f">{PASSWORD.replace(' ', '')}", "~fs:*", "resetchannels", "+@read", "+ping")
    options = {"port": port, "bind": "127.0.0.1", "requirepass": PASSWORD}
    with running_redis(server, options, extra=user) as running:
        wait_for_redis(running, _admin(port))
        reader = login("reader", PASSWORD.replace(" ", ""))
        yield Endpoint(
            "acl-readonly",
            f"redis://{reader}127.0.0.1:{port}",
            f"redis://{login()}127.0.0.1:{port}",
            version_of(server),
        )


@contextlib.contextmanager
def sentinel(sentinels: int = 3, version: str = REDIS_8_2) -> Iterator[Endpoint]:
    """A master, a replica, and Sentinels with a password of their own that watch them."""
    server = redis_server(version)
    with ExitStack() as stack:
        master, replica = free_port(), free_port()
        common = {"bind": "127.0.0.1", "requirepass": PASSWORD, "masterauth": PASSWORD, "repl-diskless-sync-delay": 0}
        running = stack.enter_context(running_redis(server, {"port": master, **common}))
        wait_for_redis(running, _admin(master))
        running = stack.enter_context(
            running_redis(server, {"port": replica, **common}, extra=("--replicaof", "127.0.0.1", str(master)))
        )
        wait_for_redis(running, _admin(replica))
        wait_until(lambda: _info(_admin(replica), "replication").get("master_link_status") == "up", 30)
        ports = [stack.enter_context(_one_sentinel(server, master, sentinels)) for _ in range(sentinels)]
        for port in ports:
            wait_until(partial(_sentinel_sees, port, sentinels), 30)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        url = f"redis+sentinel://{login()}{hosts}/{SERVICE}?sentinel_password={quote(PASSWORD, safe='')}"
        yield Endpoint("sentinel", url, url, version_of(server))


@contextlib.contextmanager
def _one_sentinel(server: Path, master: int, sentinels: int) -> Iterator[int]:
    port = free_port()
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f'requirepass "{PASSWORD}"',
        f'sentinel sentinel-pass "{PASSWORD}"',
        f"sentinel monitor {SERVICE} 127.0.0.1 {master} {sentinels // 2 + 1}",
        f'sentinel auth-pass {SERVICE} "{PASSWORD}"',
        f"sentinel down-after-milliseconds {SERVICE} 1000",
        f"sentinel failover-timeout {SERVICE} 5000",
    ]
    with running_redis(server, {}, sentinel_conf="\n".join(lines) + "\n") as running:
        wait_for_redis(running, _admin(port))
        yield port


def _sentinel_sees(port: int, sentinels: int) -> bool:
    """Whether a Sentinel has found the replica and the other Sentinels."""
    with _admin(port) as client:
        state: dict[str, Any] = client.execute_command("SENTINEL MASTER", SERVICE)
    return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == sentinels - 1 and not state["is_sdown"])


@contextlib.contextmanager
def cluster(nodes: int = 3, version: str = REDIS_8_2) -> Iterator[Endpoint]:
    """A Cluster of masters that share the slots."""
    server = redis_server(version)
    with ExitStack() as stack:
        ports = [free_port() for _ in range(nodes)]
        buses = [free_port() for _ in range(nodes)]
        clients = [
            stack.enter_context(_cluster_node(server, port, bus)) for port, bus in zip(ports, buses, strict=True)
        ]
        _form_cluster(clients, ports, buses)
        for client in clients:
            wait_until(partial(_cluster_ready, client, nodes), 30)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        url = f"redis+cluster://{login()}{hosts}"
        yield Endpoint("cluster", url, url, version_of(server))


@contextlib.contextmanager
def _cluster_node(server: Path, port: int, bus: int) -> Iterator[redis.Redis]:
    options = {
        "port": port,
        "bind": "127.0.0.1",
        "requirepass": PASSWORD,
        "masterauth": PASSWORD,
        "cluster-enabled": "yes",
        "cluster-port": bus,
        "cluster-node-timeout": 2000,
    }
    with running_redis(server, options) as running, _admin(port) as client:
        wait_for_redis(running, client)
        yield client


def _form_cluster(clients: Sequence[redis.Redis], ports: Sequence[int], buses: Sequence[int]) -> None:
    bounds = [SLOTS * i // len(clients) for i in range(len(clients) + 1)]
    for i, client in enumerate(clients):
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
        client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[i], bounds[i + 1] - 1)
    for port, bus in zip(ports[1:], buses[1:], strict=True):
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)


def _cluster_ready(client: redis.Redis, nodes: int) -> bool:
    info: dict[str, str] = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_size"] == str(nodes)


def _admin(port: int, **options: Any) -> redis.Redis:  # noqa: ANN401 - passed on to redis-py
    return redis.Redis(host="127.0.0.1", port=port, password=PASSWORD, socket_timeout=5, **options)


def _info(client: redis.Redis, section: str) -> dict[str, Any]:
    with client:
        info: dict[str, Any] = client.info(section)
        return info


TOPOLOGIES: dict[str, Callable[[], AbstractContextManager[Endpoint]]] = {
    "redis-6.2": lambda: standalone(REDIS_6_2),
    "redis-7.0": lambda: standalone(REDIS_7_0),
    "redis-8.2": lambda: standalone(REDIS_8_2),
    "unix": unix_socket,
    "tls": tls,
    "acl-readonly": read_only_user,
    "sentinel": sentinel,
    "cluster": cluster,
}
