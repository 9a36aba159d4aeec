"""A clean stop under load: calls begun before the signal end OK, later ones get UNAVAILABLE, none is cut off."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import grpc
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recsvc.pb import serving_pb2 as pb
from recsvc.registry.loader import load
from tests.e2e.serving import END_S, Server, definitions, server_folder, started
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually
from tests.rpc.calling import SINGLE, Caller, facts
from tests.rpc.own_redis import OwnRedis, own_redis
from tests.rpc.rows import Rows

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("no_records")]

CLIENTS: Final = 200
CONNECTIONS: Final = 8
REQUEST: Final = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile:age"])
AGE: Final = {"profile:age": (33, "PRESENT", "STORE")}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server."""
    with server_folder() as path:
        yield path


@pytest.fixture
def file(folder: Path) -> Path:
    """A file of definitions."""
    return definitions(folder)


def fill(client: redis.Redis, file: Path) -> None:
    """Write the one user."""
    Rows(client).put(load(str(file)).view("profile"), ["1"], {"age": 33, "city": None})


class Clients:
    """Clients that call without a pause, and what became of the calls: begun before the signal, and after it."""

    def __init__(self, callers: list[Caller], *, again: bool) -> None:
        self._callers = callers
        self._again = again
        self._over = asyncio.Event()
        self._signalled = False
        self.before: Counter[str] = Counter()
        self.after: Counter[str] = Counter()
        self._tasks = [asyncio.create_task(self._call(callers[i % len(callers)])) for i in range(CLIENTS)]

    async def _call(self, caller: Caller) -> None:
        """Call until the server is gone; who does not try again stops at the first refusal."""
        while not self._over.is_set():
            counts = self.after if self._signalled else self.before
            status = await outcome(caller)
            counts[status] += 1
            if status != "OK" and not self._again:
                return

    async def answered(self, calls: int) -> None:
        """Wait until so many calls have been answered."""
        await eventually(lambda: self.before["OK"] >= calls, 60)

    async def end(self, server: Server, number: signal.Signals) -> int:
        """Send the signal, wait until server and clients have ended, and return the server's status."""
        server.signal(number)
        self._signalled = True
        status = await asyncio.to_thread(server.process.wait, END_S)
        self._over.set()
        await asyncio.gather(*self._tasks)
        return status


async def outcome(caller: Caller) -> str:
    """Make a call and return the name of its status; of an answer that is not the right one, the answer."""
    try:
        row = await caller.one(REQUEST)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK" if facts(row) == AGE else str(facts(row))


@pytest.mark.parametrize("again", [False, True], ids=["stop-when-refused", "try-again-at-once"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_a_stop_under_200_concurrent_calls(  # noqa: PLR0913, PLR0917  # what there is of a server and a signal
    folder: Path,
    file: Path,
    redis_8: Endpoint,
    number: signal.Signals,
    again: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every call begun before the signal ends OK, later ones OK or UNAVAILABLE; status 0, no traceback."""
    fill(redis.Redis.from_url(redis_8.admin_url), file)
    words = ("--listen", "127.0.0.1:0", "--redis", redis_8.url, "--redis-timeout-ms", 5_000, "--cache-s", 0)
    with started(folder, file, *words, "--lame-duck-s", 3, "--refuse-s", 0.3) as process:
        server = await asyncio.to_thread(process.announced)
        async with AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(Caller(server.address)) for _ in range(CONNECTIONS)]
            clients = Clients(callers, again=again)
            await clients.answered(2 * CLIENTS)
            status = await clients.end(server, number)
    with capsys.disabled():
        manner = "that try again at once" if again else "that stop when refused"
        print(  # noqa: T201  # the figures are wanted
            f"\n{number.name} under {CLIENTS} clients {manner}: begun before {dict(clients.before)},"
            f" after {dict(clients.after)}, exit status {status}"
        )
    assert status == 0
    assert "Traceback" not in server.log()
    assert set(clients.before) == {"OK"}
    assert set(clients.after) == {"OK", "UNAVAILABLE"}


async def test_calls_that_wait_for_the_store_are_finished(folder: Path, file: Path) -> None:
    """200 calls that hang in a silent store when the signal comes are all answered from it, though it takes long."""
    with own_redis() as store:
        fill(store.rows.client, file)
        words = ("--listen", "127.0.0.1:0", "--redis", store.url, "--lame-duck-s", 0.2, "--refuse-s", 0.2)
        patient = ("--redis-timeout-ms", 60_000, "--redis-connect-timeout-ms", 60_000, "--cache-s", 0)
        with started(folder, file, *words, *patient) as process:
            server = await asyncio.to_thread(process.announced)
            async with Caller(server.address) as caller:
                assert await outcome(caller) == "OK"
                outcomes = await stopped_while_waiting(server, store, caller)
            assert await asyncio.to_thread(server.ended) == 0
    assert Counter(outcomes) == {"OK": CLIENTS}
    assert "Traceback" not in server.log()


async def stopped_while_waiting(server: Server, store: OwnRedis, caller: Caller) -> list[str]:
    """Begin calls that hang, stop the server, and let the store go on only when the server's port is closed."""
    with store.paused():
        calls = [asyncio.create_task(outcome(caller)) for _ in range(CLIENTS)]
        assert not await is_refused(caller)  # and what was sent before this call is there as well
        server.signal(signal.SIGTERM)
        await eventually(lambda: is_closed(server.address), 30)
        assert not any(call.done() for call in calls)
    return list(await asyncio.gather(*calls))


async def is_closed(address: str) -> bool:
    """Whether nobody listens on an address."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_new_calls_are_refused_for_a_while(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """After the lame duck time the server still listens, and tells everyone that it is stopping."""
    words = ("--listen", "127.0.0.1:0", "--redis", redis_8.url, "--lame-duck-s", 0, "--refuse-s", 600)
    with started(folder, file, *words) as process:
        server = await asyncio.to_thread(process.announced)
        async with Caller(server.address) as caller:
            server.signal(signal.SIGTERM)
            await eventually(lambda: is_refused(caller))
            refusal = await caller.refused(REQUEST)
            assert not await is_closed(server.address)
        server.signal(signal.SIGKILL)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")


async def is_refused(caller: Caller) -> bool:
    """Whether a new call is UNAVAILABLE; while it would wait like the others, it is not."""
    try:
        await caller.raw(SINGLE, REQUEST.SerializeToString(), 1.0)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_health_watchers_see_the_stop_and_do_not_hold_it_up(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """Who watches health is told NOT_SERVING; a watch, which never ends by itself, does not delay the end."""
    words = ("--listen", "127.0.0.1:0", "--redis", redis_8.url, "--lame-duck-s", 0.1, "--refuse-s", 0)
    with started(folder, file, *words) as process:
        server = await asyncio.to_thread(process.announced)
        async with Caller(server.address) as caller:
            seen: list[str] = []
            watch = asyncio.create_task(watched(caller, seen))
            await eventually(lambda: seen == ["SERVING"])
            begun = time.monotonic()
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 0
            assert time.monotonic() - begun < 4.5  # gRPC's grace for calls that hang is 5 s
            assert await watch is grpc.StatusCode.UNAVAILABLE
    assert seen == ["SERVING", "NOT_SERVING"]
    assert "Traceback" not in server.log()


async def watched(caller: Caller, seen: list[str]) -> grpc.StatusCode:
    """Watch health until it ends, and return how."""
    stub = health_pb2_grpc.HealthStub(caller.channel)
    try:
        async for reply in stub.Watch(health_pb2.HealthCheckRequest(service="")):
            name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
            seen += [name]
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_second_signal_changes_nothing(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """Who presses Ctrl-C twice gets the same clean end."""
    words = ("--listen", "127.0.0.1:0", "--redis", redis_8.url, "--lame-duck-s", 0.5, "--refuse-s", 0)
    with started(folder, file, *words) as process:
        server = await asyncio.to_thread(process.announced)
        server.signal(signal.SIGINT)
        await eventually(lambda: "stopping" in server.log())
        server.signal(signal.SIGINT)
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGHUP)
        assert await asyncio.to_thread(server.ended) == 0
    assert "Traceback" not in server.log()
