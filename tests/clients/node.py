"""A client in JavaScript (node/client.js): gRPC by @grpc/grpc-js, messages by protobufjs, from the same protos."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.clients.cache import built, run_build
from tests.parts import missing

SOURCE: Final = Path(__file__).parent / "node"


@dataclass(frozen=True, slots=True)
class NodeClient:
    """Calls a server in the clear; ``packages`` is the folder that npm filled."""

    program: Path
    packages: Path

    @classmethod
    def prepared(cls) -> Self:
        """Return the client with the packages of package-lock.json, which npm fetches at the first time."""
        program = shutil.which("node")
        if program is None:
            missing("no node on PATH, which runs the client in JavaScript")
        lock = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
        return cls(Path(program), built(f"node-client-{lock}", _install) / "node_modules")

    def traced(self, address: str, method: str, request: dict[str, Any], endpoint: str) -> str:
        """Call with OpenTelemetry's own instrumentation, whose spans go to ``endpoint``; return the trace's id."""
        command: list[str | Path] = [
            self.program,
            "--require",
            SOURCE / "traced.js",
            SOURCE / "client.js",
            address,
            method,
        ]
        environment = {**os.environ, "NODE_PATH": str(self.packages), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        done = subprocess.run(
            command, input=json.dumps(_plain(request)), env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr.split()[1]

    def call(self, address: str, method: str, request: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
        """Return the reply as JSON; ``request`` is JSON by the names of the contract. A failed call fails the test."""
        command: list[str | Path] = [self.program, SOURCE / "client.js", address, method]
        environment = {**os.environ, "NODE_PATH": str(self.packages)}
        done = subprocess.run(
            command, input=json.dumps(_plain(request)), env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def _plain(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``request`` for protobufjs, which does not know that JSON writes a Duration as "1.5s"."""
    duration = request.get("max_staleness")
    if duration is None:
        return request
    seconds, _, fraction = duration.removesuffix("s").partition(".")
    return {**request, "max_staleness": {"seconds": seconds, "nanos": int(fraction.ljust(9, "0"))}}


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        missing("no npm on PATH, which installs the packages of the client in JavaScript")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, folder)
    run_build([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)
