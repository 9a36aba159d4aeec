"""`recsvc serve` as a process: what it says, where its settings come from, how it starts, reloads and ends."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from recsvc.client import Client, ClientError
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.loader import load
from tests.e2e.serving import (
    DEFINITIONS,
    Process,
    age,
    definitions,
    environment,
    leftovers,
    server_folder,
    serving,
    started,
)
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import free_port
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually, wait_until
from tests.rpc.calling import PATIENCE, Caller, facts
from tests.rpc.own_redis import PASSWORD
from tests.rpc.rows import Rows

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("no_records")]

APPENDED = DEFINITIONS.replace("STRING[32])]", 'STRING[32]), Feature("height", FLOAT64, default=1.5)]')
BREAKING = DEFINITIONS.replace('"age", INT64', '"age", FLOAT64')
WRONG = DEFINITIONS.replace('"profile:age"', '"profile:nope"').replace('["profile", "live:plus"]', '["nope"]')

REFUSED = {
    BREAKING: "type INT64 -> FLOAT64",
    WRONG: "profile:nope",
    "def": "SyntaxError",
    "raise SystemExit(3)": "SystemExit",
    "import no_such_module_at_all": "ModuleNotFoundError",
    "x = 1": "has no Registry",
}
"""Definitions that no reload may serve, and what is said of them."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server."""
    with server_folder() as path:
        yield path


@pytest.fixture
def file(folder: Path) -> Path:
    """A file of right definitions."""
    return definitions(folder)


def health(address: str, service: str) -> str:
    """Return what the health service says of a service, or the code with which it refuses."""
    with grpc.insecure_channel(address) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE
            )
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code.name
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def test_a_server_says_where_it_is_and_answers(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """One line with what is served and where; health and reflection are there; it ends with 0 and says why."""
    with serving(folder, file, redis_8.url) as server:
        assert server.fingerprint == load(str(file)).fingerprint
        assert age(server.address, 404).status == pb.FEATURE_STATUS_NOT_FOUND
        wait_until(lambda: health(server.address, "recsvc.redis") == "SERVING")
        asked = ("", "recsvc.v1.ServingService", "nope")
        assert [health(server.address, name) for name in asked] == ["SERVING", "SERVING", "NOT_FOUND"]
        with grpc.insecure_channel(server.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            services = set(database.get_services())
            contract = database.FindFileContainingSymbol("recsvc.v1.ServingService")
    assert services == {
        "recsvc.v1.ServingService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert contract.name == "recsvc/v1/serving.proto"
    lines = server.log().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["event"] == "stopping: calls under way are finished, new ones refused"


def test_settings_come_from_flags_environment_and_file(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """Flag before environment before file before default, as the limits show that are told."""
    config = folder / "recsvc.toml"
    config.write_text("max_rows = 2\nmax_features = 2\nmax_cells = 2\n")
    env = {"RECSVC_MAX_FEATURES": "3", "RECSVC_MAX_CELLS": "3"}
    words = ("--config", config, "--max-cells", "4")
    with serving(folder, file, redis_8.url, *words, env=env) as server, Client(server.address) as client:
        with pytest.raises(ClientError) as caught:
            client.get_features_batch({"user_id": range(5)}, features=["profile:age"] * 5, timeout=PATIENCE)
        with pytest.raises(ClientError) as others:
            client.get_features_batch({"user_id": range(5)}, features=["profile:age"] * 3, timeout=PATIENCE)
    assert (caught.value.metadata["limit"], caught.value.metadata["allowed"]) == ("features", "3")
    assert (others.value.metadata["limit"], others.value.metadata["allowed"]) == ("rows,cells", "2,4")


def test_the_embedded_redis_is_the_default_and_goes_with_the_server(folder: Path, file: Path) -> None:
    """Without --redis a private Redis is started, and nothing of it is left afterwards."""
    with started(folder, file, "--listen", "127.0.0.1:0", "--refuse-s", 0) as process:
        server = process.announced()
        assert age(server.address).status == pb.FEATURE_STATUS_NOT_FOUND
        assert len(leftovers(folder)) == 1
        server.signal(signal.SIGINT)
        assert server.ended() == 0
    assert leftovers(folder) == []
    assert "Traceback" not in server.log()


def test_the_environment_names_the_store(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """RECSVC_REDIS and RECSVC_LISTEN are enough to be told nothing on the command line."""
    Rows(redis.Redis.from_url(redis_8.admin_url)).put(load(str(file)).view("profile"), ["77"], {"age": 7, "city": "x"})
    env = {
        "RECSVC_REDIS": redis_8.url,
        "RECSVC_LISTEN": "127.0.0.1:0",
        "RECSVC_LAME_DUCK_S": "0",
        "RECSVC_REFUSE_S": "0",
    }
    with started(folder, file, env=env) as process:
        assert age(process.announced().address, 77).value.int64_value == 7
    assert leftovers(folder) == []


class Load:
    """Clients that ask without a pause, and what they were told."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(20)]
        self.fingerprints: list[str] = []
        self.failures: list[str] = []

    async def _ask(self) -> None:
        request = pb.GetFeaturesRequest(
            entities={"user_id": "1"}, feature_service="ranking", context={"offset": pb.Value(int64_value=1)}
        )
        while not self._stop.is_set():
            try:
                reply = await self._caller.one(request)
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code().name} {error.details()}")
            else:
                self.fingerprints.append(reply.registry_fingerprint)
                if len(reply.features) != (4 if "profile:height" in facts(reply) else 3):
                    self.failures.append(f"{len(reply.features)} features")

    async def answered(self, fingerprint: str) -> None:
        """Wait until some more calls are answered, the last by these definitions."""
        before = len(self.fingerprints)
        await eventually(lambda: len(self.fingerprints) > before + 50 and self.fingerprints[-1] == fingerprint)

    async def stop(self) -> None:
        """End it."""
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def test_sighup_reloads_without_failing_a_call(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """Under load an appended feature goes live; breaking, wrong and broken definitions are refused, the old stay."""
    with serving(folder, file, redis_8.url) as server:
        async with Caller(server.address) as caller:
            clients = Load(caller)
            await clients.answered(server.fingerprint)
            await reload(server, file, APPENDED, "reloaded: registry ")
            appended = load(str(file)).fingerprint
            await clients.answered(appended)
            for text, words in REFUSED.items():
                await reload(server, file, text, words)
            await reload(server, file, None, "is not a file")
            await clients.answered(appended)
            wider = APPENDED.replace("STRING[32]", "STRING[33]")
            await reload(server, file, wider, "bound STRING[32] -> STRING[33]")
            await clients.answered(load(str(file)).fingerprint)
            await clients.stop()
    assert clients.failures == []
    assert list(dict.fromkeys(clients.fingerprints)) == [server.fingerprint, appended, load(str(file)).fingerprint]
    refusals = [line for line in server.log().splitlines() if "reload refused, the old definitions stay" in line]
    assert len(refusals) == len(REFUSED) + 1


async def reload(server: Process, file: Path, text: str | None, words: str) -> None:
    """Change the definitions, send SIGHUP, and wait until the log has these words once more."""
    before = server.log().count(words)
    write(file, text)
    server.signal(signal.SIGHUP)
    await eventually(lambda: server.log().count(words) == before + 1)


def write(file: Path, text: str | None) -> None:
    """Change the definitions; None removes them."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")


async def test_many_reloads_at_once_end_with_the_last(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """However fast SIGHUPs come, the last definitions are the ones that are served."""
    with serving(folder, file, redis_8.url) as server:
        for text in (APPENDED, DEFINITIONS, APPENDED) * 3:
            write(file, text)
            server.signal(signal.SIGHUP)
        fingerprint = load(str(file)).fingerprint
        async with Caller(server.address) as caller:

            async def is_served() -> bool:
                row = await caller.one(pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile"]))
                return row.registry_fingerprint == fingerprint

            await eventually(is_served)


def test_a_server_can_start_without_its_store(folder: Path, file: Path) -> None:
    """With --redis-at-start optional the store may be missing: that is logged, and the server answers."""
    url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}"
    with serving(folder, file, url, "--redis-at-start", "optional") as server:
        found = age(server.address)
        assert (found.status, found.source) == (pb.FEATURE_STATUS_UNAVAILABLE, pb.VALUE_SOURCE_DEFAULT)
        wait_until(lambda: health(server.address, "recsvc.redis") == "NOT_SERVING")
        assert health(server.address, "") == "SERVING"
    assert "starting without it" in server.log()
    assert PASSWORD not in server.log()


SLOW_REDIS = """#!/bin/sh
touch {folder}/starting
while [ ! -e {folder}/go ]; do sleep 0.02; done
exec {server} "$@"
"""


@pytest.fixture
def slow_redis(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a redis-server first on PATH that makes a file `starting`, and starts once there is a file `go`."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "redis-server"
    script.write_text(SLOW_REDIS.format(folder=folder, server=shutil.which(redis_server(REDIS_8_2))))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{environment(folder)['PATH']}")
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_told_to_end_while_it_starts_ends(slow_redis: Path, file: Path, number: signal.Signals) -> None:
    """A signal during start-up ends the server as ever: status 0, nothing announced, no traceback, no Redis left."""
    with started(slow_redis, file, "--listen", "127.0.0.1:0", "--lame-duck-s", 0, "--refuse-s", 0) as process:
        wait_until((slow_redis / "starting").exists, 30)
        process.signal(number)
        (slow_redis / "go").touch()
        assert process.ended() == 0
        assert process.process.stdout is not None
        assert process.process.stdout.read() == ""
    assert leftovers(slow_redis) == []
    assert "Traceback" not in process.log()


@pytest.mark.parametrize("delay_ms", [0, 20, 60, 150])
def test_a_signal_at_any_moment_of_the_start_leaves_nothing(delay_ms: int, folder: Path) -> None:
    """Whenever SIGTERM comes after the definitions are read, the server is ended by it or ends in order."""
    timer = f"import os, threading\nthreading.Timer({delay_ms / 1000}, os.kill, (os.getpid(), 15)).start()\n"
    file = definitions(folder, timer + DEFINITIONS)
    with started(folder, file, "--listen", "127.0.0.1:0", "--lame-duck-s", 0, "--refuse-s", 0) as process:
        assert process.ended() in {0, -signal.SIGTERM}
    assert leftovers(folder) == []
    assert "Traceback" not in process.log()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have Ctrl-C heard by programs that are started, also where this run is in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_definitions_that_hang_can_be_ended(folder: Path, interruptible: None) -> None:
    """While the user's code runs, which may take for ever, Ctrl-C ends the server at once."""
    file = definitions(
        folder, f"import pathlib, time\npathlib.Path({str(folder)!r}, 'loading').touch()\ntime.sleep(900)"
    )
    with started(folder, file) as process:
        wait_until((folder / "loading").exists, 30)
        process.signal(signal.SIGINT)
        assert process.ended() == 130
    assert process.log() == ""


def test_sighup_while_definitions_are_read_is_kept(folder: Path, redis_8: Endpoint) -> None:
    """It neither ends the server, whose definitions may take long, nor is it forgotten."""
    wait = (
        f"import pathlib, time\nat = pathlib.Path({str(folder)!r})\n(at / 'loading').touch()\n"
        "while not (at / 'go').exists(): time.sleep(0.01)\n"
    )
    file = definitions(folder, wait + DEFINITIONS)
    words = ("--listen", "127.0.0.1:0", "--redis", redis_8.url, "--lame-duck-s", 0, "--refuse-s", 0)
    with started(folder, file, *words, env={"RECSVC_LOG_LEVL": "debug"}) as process:
        wait_until((folder / "loading").exists, 30)
        process.signal(signal.SIGHUP)
        (folder / "go").touch()
        process.announced()
        wait_until(lambda: "reloaded: registry " in process.log())
        assert "RECSVC_LOG_LEVL is no setting and changes nothing; is RECSVC_LOG_LEVEL meant?" in process.log()


def test_sighup_while_starting_does_not_end_the_server(slow_redis: Path, file: Path) -> None:
    """A reload that comes too early is done once the server is there."""
    with started(slow_redis, file, "--listen", "127.0.0.1:0", "--lame-duck-s", 0, "--refuse-s", 0) as process:
        wait_until((slow_redis / "starting").exists, 30)
        file.write_text(APPENDED, encoding="utf-8")
        process.signal(signal.SIGHUP)
        (slow_redis / "go").touch()
        process.announced()
        wait_until(lambda: "reloaded: registry " in process.log())


def test_a_killed_servers_redis_is_cleared_by_the_next(folder: Path, file: Path, redis_8: Endpoint) -> None:
    """A `kill -9` leaves a Redis behind; the next start of an embedded one ends it and removes its directory."""
    words = ("--listen", "127.0.0.1:0", "--lame-duck-s", 0, "--refuse-s", 0)
    with started(folder, file, *words) as process:
        process.announced()
        process.signal(signal.SIGKILL)
        process.ended()
    (left,) = leftovers(folder)
    with started(folder, file, *words) as process:
        process.announced()
        assert left not in leftovers(folder)
        process.signal(signal.SIGTERM)
        assert process.ended() == 0
    assert leftovers(folder) == []
