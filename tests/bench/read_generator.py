"""The load generator (loadgen/, in Go), which Python is not fast enough for: built at first use, run for each burst."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.clients.cache import built, run_build
from tests.parts import missing

SOURCE: Final = Path(__file__).parent / "loadgen"
_HEAD: Final = struct.Struct("<IB")
_SLACK_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Bodies:
    """A file of requests, which are sent in order and then from the first again."""

    path: Path
    count: int

    @classmethod
    def write(cls, path: Path, bodies: Iterable[bytes | tuple[int, bytes]]) -> Self:
        """Write requests; one with a number is of that class, others of class 0. Latencies are told apart by class."""
        count = 0
        with path.open("wb") as file:
            for body in bodies:
                of_class, data = body if isinstance(body, tuple) else (0, body)
                file.write(_HEAD.pack(len(data), of_class) + data)
                count += 1
        return cls(path, count)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds."""

    calls: int
    p50: float
    p90: float
    p99: float
    most: float
    mean: float


@dataclass(frozen=True, slots=True)
class Second:
    """What came of the calls that were to be sent in one second of a burst."""

    latency: Latency
    seen: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of a number of calls.

    ``samples`` are replies with the number of the body that they answer; ``firsts`` are the first ones of their size.
    ``seen``: what the watched fields of replies were, such as ``0: 3x10 7=3`` (class 0, field 3 ten times, field 7 the
    number 3), ``0: 10x1 .1=8`` (and in it field 1 the number 8) or ``0: status 4``, and how often; ``course`` has it by
    second.
    """

    seconds: float
    cpu_seconds: float
    next: int
    latency: Latency
    classes: Mapping[int, Latency]
    statuses: Mapping[str, int]
    sizes: Mapping[int, int]
    samples: tuple[tuple[int, bytes], ...]
    firsts: tuple[tuple[int, bytes], ...]
    lag_p99: float
    seen: Mapping[str, int]
    course: tuple[Second, ...]

    @property
    def calls(self) -> int:
        """How many."""
        return self.latency.calls

    @property
    def reply_bytes(self) -> int:
        """The size that most replies have."""
        return max(self.sizes, key=lambda size: self.sizes[size])


@dataclass(frozen=True, slots=True)
class Pressure:
    """How calls come: ``in_flight`` at once, each followed by the next, or ``rate`` per second whatever the answers do.

    With a rate, latency counts from when a call was to be sent: at fixed times, or ``poisson`` at random ones. Fields
    of the replies that are in ``watch`` are counted, by number; ``10.1`` is field 1 of the messages in field 10.

    It ends after ``calls`` or ``seconds``, whichever is given, or comes first. Every ``keep``-th reply is kept, at most
    ``most``.
    """

    in_flight: int = 1
    connections: int = 1
    rate: float = 0.0
    calls: int = 0
    seconds: float = 0.0
    keep: int = 97
    most: int = 20
    poisson: bool = False
    watch: tuple[str, ...] = ()

    def flags(self) -> Iterator[str]:
        """Return it as flags of the program."""
        yield from ("-in-flight", f"{self.in_flight}", "-connections", f"{self.connections}", "-rate", f"{self.rate}")
        yield from ("-count", f"{self.calls}", "-time", f"{self.seconds}s", "-keep", f"{self.keep}")
        yield from ("-most", f"{self.most}", f"-poisson={str(self.poisson).lower()}")
        if self.watch:
            yield from ("-watch", ",".join(self.watch))


@dataclass(frozen=True, slots=True)
class Generator:
    """Sends load from the core that this process is on."""

    program: Path

    @classmethod
    def prepared(cls) -> Self:
        """Return the program, built with Go where this version of it is not built yet."""
        files = sorted(path for path in SOURCE.iterdir() if path.suffix in {".go", ".mod", ".sum"})
        version = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
        return cls(built(f"loadgen-{version}", _build) / "loadgen")

    def grpc(self, address: str, path: str, bodies: Bodies, pressure: Pressure, start: int = 0) -> Burst:
        """Call a gRPC method (``/package.Service/Method``) with the bodies from number ``start`` on.

        A call that fails fails the benchmark.
        """
        burst = self.try_grpc(address, path, bodies, pressure, start)
        assert set(burst.statuses) == {"0"}, burst.statuses
        return burst

    def try_grpc(self, address: str, path: str, bodies: Bodies, pressure: Pressure, start: int = 0) -> Burst:
        """Call a gRPC method likewise; calls may fail."""
        return self._run(["grpc", "-target", address, "-path", path, "-start", f"{start}"], bodies, pressure)

    def http(self, address: str, path: str, bodies: Bodies, pressure: Pressure, start: int = 0) -> Burst:
        """Post JSON, one call at a time per connection."""
        burst = self._run(["http", "-target", address, "-path", path, "-start", f"{start}"], bodies, pressure)
        assert set(burst.statuses) == {"200"}, burst.statuses
        return burst

    def _run(self, words: Sequence[str], bodies: Bodies, pressure: Pressure) -> Burst:
        command: list[str | Path] = [self.program, *words, "-bodies", bodies.path, *pressure.flags()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=pressure.seconds + _SLACK_S)
        assert done.returncode == 0, done.stderr
        burst = _burst(json.loads(done.stdout))
        assert burst.calls, "no call was made"
        return burst

    @contextmanager
    def proxy(self, address: str, delay_s: float) -> Iterator[str]:
        """Run a proxy that holds back what ``address`` says for ``delay_s``; yields where it is."""
        command = [str(self.program), "proxy", "-target", address, "-delay", f"{delay_s}s"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield process.stdout.readline().strip()
            finally:
                process.stdin.close()  # it ends
                process.stdout.close()


def _build(folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        missing("no Go on PATH, which builds the load generator")
    run_build([go, "build", "-buildvcs=false", "-trimpath", "-o", folder / "loadgen", "."], SOURCE)


def _burst(found: dict[str, Any]) -> Burst:
    return Burst(
        seconds=found["seconds"],
        cpu_seconds=found["cpu_seconds"],
        next=found["next"],
        latency=Latency(**found["all"]),
        classes={int(name): Latency(**values) for name, values in found["classes"].items()},
        statuses=found["statuses"],
        sizes={int(size): times for size, times in found["sizes"].items()},
        samples=_replies(found["samples"]),
        firsts=_replies(found["firsts"]),
        lag_p99=found["lag_p99"],
        seen=found["seen"] or {},
        course=tuple(Second(Latency(**one["all"]), one["seen"]) for one in found["course"] or ()),
    )


def _replies(found: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[int, bytes], ...]:
    return tuple((sample["number"], base64.b64decode(sample["reply"])) for sample in found or ())
