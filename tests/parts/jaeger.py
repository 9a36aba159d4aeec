"""Jaeger 2, a build of the OpenTelemetry Collector: built once with Go, run on free ports, asked for traces.

Its configuration files take what differs by site from variables, so the files of deploy/otel are run as they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.clients.cache import built, run_build
from tests.parts import missing
from tests.parts.redis_server import free_port, short_folder
from tests.parts.waiting import wait_until

VERSION: Final = "v1.76.0"
"""Of the Go module; its command `jaeger` is Jaeger 2.13."""
MODULE: Final = "github.com/jaegertracing/jaeger"
BUILD_S: Final = 1_800
"""The time limit of a test that may have to build it first, on two busy cores: `pytest.mark.timeout(BUILD_S)`."""
CONFIG: Final = Path(__file__).parents[2] / "deploy" / "otel" / "jaeger.yaml"
_NAME: Final = f"jaeger-{VERSION}"
_LISTENS: Final = (
    "OTLP_GRPC_LISTEN", "OTLP_HTTP_LISTEN", "JAEGER_QUERY_LISTEN", "JAEGER_QUERY_GRPC_LISTEN", "HEALTH_LISTEN",
)  # fmt: skip

_TRIES: Final = 3
_READY_S: Final = 60.0
_END_S: Final = 5.0
_ANSWER_S: Final = 20.0
_HTTP: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine


@dataclass(frozen=True, slots=True)
class Jaeger:
    """A running one. ``otlp_grpc``, ``otlp_http``: HOST:PORT that spans go to; ``query``: URL to read traces at."""

    otlp_grpc: str
    otlp_http: str
    query: str
    log: Path

    @classmethod
    def prepared(cls) -> Path:
        """Return the program, built with Go at the first time (six minutes of an idle machine)."""
        return built(_NAME, _build) / "jaeger"

    @classmethod
    @contextlib.contextmanager
    def running(cls, config: Path | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Self]:
        """Run it by a configuration file (without one: all in memory) on free ports, and end it afterwards.

        The file's addresses are the variables OTLP_GRPC_LISTEN and so on, its health check is `healthcheckv2`;
        ``environment`` has others.
        """
        program = cls.prepared()
        with contextlib.ExitStack() as stack:
            for left in reversed(range(_TRIES)):
                made = cls._started(stack, [program, "--config", config or CONFIG], environment or {})
                if made is not None:
                    break
                assert left, "no free ports"
            assert made is not None
            yield made

    @classmethod
    def _started(cls, stack: contextlib.ExitStack, command: list[str | Path], more: Mapping[str, str]) -> Self | None:
        """Start it on ports that were free a moment ago; None where somebody has taken one since."""
        listens = {name: f"127.0.0.1:{free_port()}" for name in _LISTENS}
        metrics = {"SELF_METRICS_HOST": "127.0.0.1", "SELF_METRICS_PORT": str(free_port())}
        variables = {**os.environ, **listens, **metrics, **more}
        made = cls(
            variables["OTLP_GRPC_LISTEN"],
            variables["OTLP_HTTP_LISTEN"],
            f"http://{variables['JAEGER_QUERY_LISTEN']}",
            stack.enter_context(short_folder()) / "log",
        )
        process = stack.enter_context(_process(command, variables, made.log))
        health = f"http://{variables['HEALTH_LISTEN']}/status"
        wait_until(lambda: process.poll() is not None or _ready(health), _READY_S)
        if process.poll() is None:
            return made
        log = made.log.read_text(errors="replace")
        assert "address already in use" in log, f"jaeger ended: {log[-4_000:]}"
        return None

    def trace(self, trace_id: str) -> list[dict[str, Any]] | None:
        """Return the spans of a trace (32 hex digits) as /api/traces has them; None while it is not known."""
        answer = self._get(f"/api/traces/{trace_id}")
        found = (answer or {}).get("data") or []
        return list(found[0]["spans"]) if found else None

    def trace_ids(self, service: str, limit: int = 10_000) -> set[str]:
        """Return the ids of the traces, the newest first up to ``limit``, that a service of this name has a span in."""
        answer = self._get(f"/api/traces?service={service}&limit={limit}&lookback=1h")
        return {trace["traceID"].rjust(32, "0") for trace in (answer or {}).get("data") or []}

    def _get(self, path: str) -> Any:  # noqa: ANN401  # JSON
        """Return what it answers; None for what it has not."""
        try:
            with _HTTP.open(self.query + path, timeout=_ANSWER_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 404:
                    raise
            return None


@contextlib.contextmanager
def _process(command: list[str | Path], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that writes to ``log``, and end it."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(health: str) -> bool:
    try:
        with _HTTP.open(health, timeout=_ANSWER_S) as answer:
            return bool(answer.status == 200)
    except OSError:  # nobody listens yet, or 503: not all of it is ready
        return False


def _build(folder: Path) -> None:
    """Build it in a module of our own, for Go installs no module that replaces others."""
    go = shutil.which("go")
    if go is None:
        missing(f"no Go on PATH, which builds Jaeger {VERSION}")
    cache = folder.parents[1]
    with (cache / f"{_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds at once would take twice as long
        if (cache / _NAME).exists():
            return
        module = folder.parent / "module"
        module.mkdir()
        run_build([go, "mod", "init", "parts"], module)
        shutil.copyfile(_source(go, module) / "go.sum", module / "go.sum")  # the checksum database lacks a few
        run_build([go, "get", "-tool", f"{MODULE}/cmd/jaeger@{VERSION}"], module)
        run_build([go, "build", "-ldflags=-s -w", "-o", folder / "jaeger", f"{MODULE}/cmd/jaeger"], module)


def _source(go: str, module: Path) -> Path:
    """Return where Go keeps the module's source."""
    run_build([go, "mod", "download", f"{MODULE}@{VERSION}"], module)
    done = subprocess.run([go, "env", "GOMODCACHE"], cwd=module, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) / f"{MODULE}@{VERSION}"
