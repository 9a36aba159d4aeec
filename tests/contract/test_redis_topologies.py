"""Every Redis that recsvc serves from is reached by its URL, and a wrong URL is one clear line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import pytest
import redis.exceptions
from redis.asyncio import Redis, RedisCluster

from recsvc.errors import StartupError
from recsvc.online.redis_connect import ConnectionSettings, connect, parse, probe
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import free_port, running_redis, wait_for_redis
from tests.parts.topologies import PASSWORD, Endpoint, login
from tests.parts.waiting import eventually

SETTINGS = ConnectionSettings(connect_timeout_s=2.0, max_connections=4)
QUICK = ConnectionSettings(connect_timeout_s=0.2)
GetEndpoint = Callable[[str], Endpoint]


@contextlib.asynccontextmanager
async def client_of(url: str, settings: ConnectionSettings = SETTINGS) -> AsyncIterator[Redis | RedisCluster]:
    """Yield a client made by `connect`."""
    client = connect(parse(url), settings=settings)
    try:
        yield client
    finally:
        await client.aclose()


async def refusal(url: str, settings: ConnectionSettings = SETTINGS) -> str:
    """Return the line with which `probe` refuses, after checking that it is one line without the password."""
    async with client_of(url, settings) as client:
        with pytest.raises(StartupError) as caught:
            await probe(client)
    line = str(caught.value)
    assert "\n" not in line
    assert PASSWORD not in line
    assert quote(PASSWORD, safe="") not in line
    assert caught.value.__cause__ is None
    return line


async def test_written_rows_are_read_back(store_endpoint: Endpoint) -> None:
    """What the admin URL writes, the URL under test reads, in the order asked, as bytes."""
    rows = {f"fs:{{topology}}:{i}": bytes([i, 0, 255]) for i in range(20)}
    async with client_of(store_endpoint.admin_url) as admin:
        for key, row in rows.items():
            await admin.execute_command("SET", key, row)
    async with client_of(store_endpoint.url) as client:
        assert await client.execute_command("MGET", *rows, "fs:{topology}:none") == [*rows.values(), None]


async def test_probe_tells_version_and_mode(store_endpoint: Endpoint) -> None:
    """`probe` knows the version and the mode, whatever the user may do."""
    async with client_of(store_endpoint.url) as client:
        info = await probe(client)
    assert info.version == store_endpoint.server_version
    assert info.mode == ("cluster" if store_endpoint.name == "cluster" else "standalone")
    assert info.role == "master"


@pytest.mark.parametrize("name", ["redis-6.2", "redis-8.2", "unix", "tls"])
async def test_a_connection_opens_with_one_hello(name: str, redis_endpoint: GetEndpoint) -> None:
    """A new connection sends HELLO and what it was made for, nothing else, and carries our name."""
    endpoint = redis_endpoint(name)
    async with client_of(endpoint.admin_url) as admin, client_of(endpoint.url) as client:
        await admin.config_resetstat()
        await client.execute_command("GET", "fs:none")
        names = await admin.client_list()
        stats = await admin.info("commandstats")
    assert [entry["name"] for entry in names] == ["recsvc", "recsvc"]
    calls = {command.removeprefix("cmdstat_"): stat["calls"] for command, stat in stats.items()}
    admins = {"config|resetstat", "client|list", "config", "client"}
    assert {command: n for command, n in calls.items() if command not in admins} == {"hello": 1, "get": 1}


async def test_a_database_is_selected(redis_endpoint: GetEndpoint) -> None:
    """The database of the URL is where keys are read."""
    url = redis_endpoint("redis-8.2").url
    async with client_of(url) as zero, client_of(url.removesuffix("/0") + "/3") as three:
        await three.execute_command("SET", "fs:db", b"three")
        assert await three.execute_command("GET", "fs:db") == b"three"
        assert await zero.execute_command("GET", "fs:db") is None


async def test_a_read_only_user_cannot_write(redis_endpoint: GetEndpoint) -> None:
    """The user of the read-only endpoint is really refused writes and other keys."""
    async with client_of(redis_endpoint("acl-readonly").url) as client:
        for command in (("SET", "fs:x", "1"), ("GET", "other:x"), ("CLIENT", "SETNAME", "x")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                await client.execute_command(*command)


async def test_a_cluster_reader_needs_two_more_rights(redis_endpoint: GetEndpoint) -> None:
    """With +cluster|slots and +command a reader can use a Cluster; without them the refusal names them."""
    url = redis_endpoint("cluster").url
    rules = ["on", ">pw", "~fs:*", "+@read", "+ping"]
    async with client_of(url) as admin:
        await probe(admin)
        assert isinstance(admin, RedisCluster)
        for node in admin.get_nodes():
            await node.execute_command("ACL", "SETUSER", "few", *rules)
            await node.execute_command("ACL", "SETUSER", "enough", *rules, "+cluster|slots", "+command")
    hosts = url.rpartition("@")[2]
    assert "+cluster|slots +command" in await refusal(f"redis+cluster://few:pw@{hosts}")
    async with client_of(f"redis+cluster://enough:pw@{hosts}") as client:
        await probe(client)
        assert await client.execute_command("GET", "fs:none") is None


async def test_a_fetch_cut_short_leaves_the_client_right(redis_endpoint: GetEndpoint) -> None:
    """After a timeout around a command, later commands get their own answers, not the late one."""
    async with client_of(redis_endpoint("redis-8.2").url) as client:
        await client.execute_command("SET", "fs:right", b"right")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.execute_command("BLPOP", "fs:late", 0)
        await client.execute_command("RPUSH", "fs:late", b"late")
        assert await client.execute_command("GET", "fs:right") == b"right"
        await client.execute_command("DEL", "fs:late")


async def test_a_full_pool_refuses_at_once(redis_endpoint: GetEndpoint) -> None:
    """With all connections busy a command fails at once instead of queueing."""
    async with client_of(redis_endpoint("redis-8.2").url, ConnectionSettings(max_connections=1)) as client:
        assert isinstance(client, Redis)
        busy = asyncio.create_task(client.execute_command("BLPOP", "fs:busy", 0))
        await eventually(lambda: client.connection_pool._in_use_connections)
        with pytest.raises(redis.exceptions.MaxConnectionsError):
            await client.execute_command("GET", "fs:x")
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


@pytest.mark.parametrize("name", ["redis-7.0", "tls", "acl-readonly", "sentinel", "cluster"])
async def test_a_wrong_password_is_one_line(name: str, redis_endpoint: GetEndpoint) -> None:
    """A wrong password, and none, are told apart."""
    url = redis_endpoint(name).url
    right = url.partition("://")[2].rpartition("@")[0]
    line = await refusal(url.replace(f"{right}@", login(password=f"{PASSWORD}wrong"), 1))
    assert "refuses the user or the password" in line
    assert "asks for a password" in await refusal(url.replace(f"{right}@", "", 1))


async def test_wrong_sentinel_login_is_one_line(redis_endpoint: GetEndpoint) -> None:
    """The Sentinels' own password is named where it is the one that is missing, and so is an unknown service."""
    url = redis_endpoint("sentinel").url
    assert "sentinel_password=" in await refusal(url.partition("?")[0])
    assert "no healthy master" in await refusal(url.replace("/recsvc-test?", "/other?"))


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "redis+sentinel"])
async def test_nobody_there_is_one_line(scheme: str) -> None:
    """A closed port is refused by name of host and port, whatever the kind of URL."""
    port = free_port()
    tail = "/service" if scheme == "redis+sentinel" else ""
    for host in ("127.0.0.1", "localhost"):
        line = await refusal(f"{scheme}://{login()}{host}:{port}{tail}")
        assert f"{host}:{port}" in line
        assert "refuses connections" in line


async def test_no_socket_is_one_line() -> None:
    """A unix socket that does not exist is said to be so."""
    assert "no socket at that path" in await refusal("unix:///nowhere/redis.sock")


async def test_the_wrong_kind_of_url_is_one_line(redis_endpoint: GetEndpoint) -> None:
    """A URL of one topology on another says which URL would be right."""
    single, cluster, sentinel = (redis_endpoint(name).url for name in ("redis-8.2", "cluster", "sentinel"))
    a_single, a_node = single.partition("://")[2].removesuffix("/0"), cluster.partition("://")[2].partition(",")[0]
    a_sentinel = login() + sentinel.rpartition("?")[0].rpartition("@")[2].partition(",")[0]
    assert "a single server: its URL is redis://" in await refusal(f"redis+cluster://{a_single}")
    assert "a node of a Cluster: its URL is redis+cluster://" in await refusal(f"redis://{a_node}")
    assert "a Sentinel: its URL is redis+sentinel://" in await refusal(f"redis://{a_sentinel}")
    hosts = a_single.rpartition("@")[2]
    query = f"sentinel_password={quote(PASSWORD, safe='')}"
    assert "a single server" in await refusal(f"redis+sentinel://{hosts}/service?{query}")


async def test_tls_mistakes_are_one_line(redis_endpoint: GetEndpoint) -> None:
    """Plain TCP to a TLS port, the reverse, an untrusted authority, no client certificate: each is explained."""
    secure, plain = redis_endpoint("tls").url, redis_endpoint("redis-8.2").url
    ca = secure.partition("?")[2].partition("&")[0]
    assert "does it want TLS" in await refusal(secure.partition("?")[0].replace("rediss", "redis"))
    assert "does it speak TLS" in await refusal(plain.replace("redis://", "rediss://"), QUICK)
    assert "not trusted" in await refusal(secure.partition("?")[0])
    line = await refusal(f"{secure.partition('?')[0]}?{ca}")
    assert "want a cert=" in line or "client's certificate" in line


async def test_another_server_is_one_line() -> None:
    """A server of another protocol is no Redis, and one that says nothing does not answer in time."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for handler, words in ((talk, "does not speak the protocol"), (listen, "did not answer in time")):
        async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            for scheme, tail in (("redis", ""), ("redis+cluster", ""), ("redis+sentinel", "/service")):
                assert words in await refusal(f"{scheme}://127.0.0.1:{port}{tail}", QUICK)


async def test_a_cluster_without_slots_is_one_line() -> None:
    """A node in cluster mode that no cluster was made of yet is said to be so."""
    port = free_port()
    options: dict[str, Any] = {"port": port, "cluster-enabled": "yes", "cluster-port": free_port(), "bind": "127.0.0.1"}
    with running_redis(redis_server(REDIS_8_2), options) as running:
        with redis.Redis(port=port, socket_timeout=5) as admin:
            wait_for_redis(running, admin)
        assert "slots are not assigned" in await refusal(f"redis+cluster://127.0.0.1:{port}")
