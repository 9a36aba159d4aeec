"""A `recsvc serve` process as a user starts it, with definitions in a file and nothing of the tester's own settings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import redis

from recsvc.pb import serving_pb2 as pb
from tests.parts.redis_server import short_folder
from tests.rpc.calling import PATIENCE

DEFINITIONS: Final = """
from recsvc import *
user = Entity("user", "user_id", INT64)
FEATURES = [Feature("age", INT64, default=-1), Feature("city", STRING[32])]
profile = FeatureView("profile", [user], FEATURES)
offset = RequestField("offset", INT64)
plus = OnDemandFeature("plus", INT64, {"a": "profile:age", "b": "request:offset"}, lambda a, b: a + b)
live = OnDemandView("live", [plus])
service = FeatureService("ranking", ["profile", "live:plus"])
registry = Registry(views=[profile], on_demand=[live], services=[service], request=[offset])
"""
ANNOUNCEMENT: Final = re.compile(
    r"recsvc serves 1 view, 1 feature service \(registry ([0-9a-f]{16})\) on (127\.0\.0\.1:\d+)\n"
)
END_S: Final = 30.0
"""How long a server may take to end, at the most, on a busy machine."""


@dataclass(frozen=True)
class Process:
    """A started server, whether it serves or not."""

    process: subprocess.Popen[str]
    stderr: Path

    def log(self) -> str:
        """Return what it has written to stderr so far."""
        return self.stderr.read_text(encoding="utf-8")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end, and return its status."""
        return self.process.wait(END_S)

    def announced(self) -> Server:
        """Wait until it says where it serves."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = ANNOUNCEMENT.fullmatch(line)
        assert found, (line, self.log())
        return Server(self.process, self.stderr, found[2], found[1])


@dataclass(frozen=True)
class Server(Process):
    """A server that serves."""

    address: str
    fingerprint: str


def definitions(folder: Path, text: str = DEFINITIONS) -> Path:
    """Write definitions to a file."""
    file = folder / "definitions.py"
    file.write_text(text, encoding="utf-8")
    return file


def command(*words: object) -> list[str]:
    """Return the command line of `recsvc` with these words."""
    return [sys.executable, "-m", "recsvc", *map(str, words)]


def environment(temporary: Path, others: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without settings of ours, and with that directory for temporary files."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RECSVC_")}
    return {**plain, "TMPDIR": str(temporary), **(others or {})}


@contextmanager
def started(folder: Path, *words: object, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Start `recsvc serve` with these words and end it, if it has not ended, afterwards."""
    stderr = folder / "stderr"
    with (
        stderr.open("wb") as log,
        subprocess.Popen(
            command("serve", *words), stdout=subprocess.PIPE, stderr=log, text=True, env=environment(folder, env)
        ) as process,
    ):
        try:
            yield Process(process, stderr)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(END_S)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def serving(
    folder: Path, file: Path, redis: str, *words: object, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Start a server on a free port, wait until it serves, and see afterwards that it ended as it should."""
    quick = ("--listen", "127.0.0.1:0", "--redis", redis, "--lame-duck-s", 0, "--refuse-s", 0)
    with started(folder, file, *quick, *words, env=env) as process:
        server = process.announced()
        yield server
        if server.process.poll() is None:
            server.signal(signal.SIGTERM)
        assert (server.ended(), "Traceback" in server.log()) == (0, False), server.log()


def refused(folder: Path, *words: object, env: Mapping[str, str] | None = None) -> Sequence[str]:
    """Run a server that cannot start, and return what it says: lines on stderr alone, and a status that is not 0."""
    done = subprocess.run(
        command("serve", *words),
        capture_output=True,
        text=True,
        env=environment(folder, env),
        timeout=END_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, ""), done
    assert leftovers(folder) == []
    return done.stderr.splitlines()


@contextmanager
def server_folder() -> Iterator[Path]:
    """Yield a folder for a server: its path is short, for there are sockets in it, and no Redis in it stays behind."""
    with short_folder() as folder:
        try:
            yield folder
        finally:
            for directory in leftovers(folder):  # of a server that a test has killed
                with suppress(redis.RedisError), redis.Redis(unix_socket_path=str(directory / "redis.sock")) as left:
                    left.shutdown(nosave=True)


def leftovers(temporary: Path) -> list[Path]:
    """Return the directories of throw-away Redis servers, which go only after their server has ended."""
    return list(temporary.glob("recsvc-*/throwaway-*"))


def age(address: str, user: int = 1) -> pb.FeatureValue:
    """Ask a server for a user's age."""
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(
            "/recsvc.v1.ServingService/GetFeatures",
            pb.GetFeaturesRequest.SerializeToString,
            pb.GetFeaturesResponse.FromString,
        )
        reply = ask(pb.GetFeaturesRequest(entities={"user_id": str(user)}, features=["profile:age"]), timeout=PATIENCE)
    return reply.features[0]
