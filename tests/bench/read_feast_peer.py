"""Feast's two servers, made ready for the read benchmark: ``feast listen`` (gRPC) and ``feast serve`` (HTTP)."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.feast_peer import FeastProgram, running_program
from tests.bench.read_definitions import VIEWS, WIDTH
from tests.bench.read_generator import Bodies
from tests.bench.read_process import Server, started
from tests.bench.read_stand import Calls, Stand
from tests.bench.read_values import value
from tests.parts.redis_server import free_port, short_folder

PROGRAM: Final = Path(__file__).with_name("read_feast_program.py")
GRPC_PATH: Final = "/GrpcFeatureServer/GetOnlineFeatures"
HTTP_PATH: Final = "/get-online-features"
WORKERS: Final = 10
REGISTRY_TTL_S: Final = 60
NARROW: Final = 5
_CLI: Final = ("-c", "from feast.cli.cli import cli; cli()")
Ids = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class ReadyFeast:
    """Feast with all rows in Redis, and both of its servers."""

    program: FeastProgram
    grpc: Server
    http: Server
    folder: Path

    def grpc_calls(self, name: str, features: Sequence[str], users: Ids, keys: int) -> Calls:
        """Write requests to the gRPC server; ``keys`` is the rows that each reads."""
        file = self.folder / f"{name}.grpc"
        self.program.ask({"do": "requests", "file": str(file), "features": list(features), "users": users})

        def check(number: int, reply: bytes) -> set[int]:
            _check(self._decoded(reply), features, users[number])
            return set()

        return Calls(GRPC_PATH, Bodies(file, len(users)), keys, check)

    def _decoded(self, reply: bytes) -> dict[str, list[int]]:
        order: dict[str, object] = {"do": "decode", "replies": [base64.b64encode(reply).decode()]}
        found: list[dict[str, list[int]]] = self.program.ask(order)["replies"]
        return found[0]

    def http_calls(self, name: str, features: Sequence[str], users: Ids, keys: int) -> Calls:
        """Write requests to the HTTP server."""
        texts = (json.dumps({"features": features, "entities": {"user_id": ids}}).encode() for ids in users)
        bodies = Bodies.write(self.folder / f"{name}.http", texts)

        def check(number: int, reply: bytes) -> set[int]:
            found = json.loads(reply)
            names = found["metadata"]["feature_names"]
            columns = {n: column["values"] for n, column in zip(names, found["results"], strict=True)}
            _check(columns, features, users[number])
            return set()

        return Calls(HTTP_PATH, bodies, keys, check, http=True)


def _check(found: dict[str, list[int]], features: Sequence[str], users: Sequence[int]) -> None:
    """Fail where Feast does not answer what is stored."""
    assert found["user_id"] == users
    for reference in features:
        name = reference.rpartition(":")[2]
        assert found[name] == [value(user, int(name[1:])) for user in users], name


@contextlib.contextmanager
def ready_feast(stand: Stand, python: Path, users: int, wide_users: int) -> Iterator[ReadyFeast]:
    """Load the first so many users with Feast, of 5 views and of the others, and start both servers."""
    with short_folder() as folder:
        job: dict[str, object] = {"address": stand.redis.address, "views": VIEWS, "width": WIDTH}
        job["users"] = [users if view < NARROW else wide_users for view in range(VIEWS)]
        (folder / "job.json").write_text(json.dumps(job))
        with running_program(python, PROGRAM, folder) as process:
            program = FeastProgram(process, folder / "log")
            program.answer()
            with _listen(stand, python, folder) as grpc, _serve(stand, python, folder) as http:
                yield ReadyFeast(program, grpc, http, folder)


@contextlib.contextmanager
def _listen(stand: Stand, python: Path, folder: Path) -> Iterator[Server]:
    address = f"127.0.0.1:{free_port()}"
    options = ["listen", "-a", address, "-w", f"{WORKERS}", "-r", f"{REGISTRY_TTL_S}"]
    with _feast(stand, python, folder, address, options) as server:
        yield server


@contextlib.contextmanager
def _serve(stand: Stand, python: Path, folder: Path) -> Iterator[Server]:
    """Start the HTTP server; by default it would end after 1,000 calls, and write a line about each."""
    port = free_port()
    options = ["serve", "-p", f"{port}", "--no-access-log", "--max-requests", "0", "--max-requests-jitter", "0"]
    with _feast(stand, python, folder, f"127.0.0.1:{port}", [*options, "-r", f"{REGISTRY_TTL_S}"]) as server:
        yield server


@contextlib.contextmanager
def _feast(stand: Stand, python: Path, folder: Path, address: str, options: Sequence[str]) -> Iterator[Server]:
    # It reports to nobody, and keeps the warnings of its libraries to itself.
    environment = {"FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}
    command: list[str | Path] = [python, *_CLI, *options]
    with started(command, stand.cores.server, address=address, cwd=folder, environment=environment) as server:
        yield server
