"""`recsvc top`: what it shows of real metrics pages, and how it ends."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from recsvc.cli import top
from recsvc.cli.main import main
from recsvc.telemetry import metrics as m
from recsvc.telemetry.metrics import Metrics
from recsvc.telemetry.prometheus import MetricsPage

GET = "recsvc.v1.ServingService/GetFeatures"


class Server:
    """The metrics of a server, with their page."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._page = MetricsPage(self.metrics, {"service.instance.id": "one"}, "127.0.0.1", 0)
        self.address = self._page.address

    def calls(self, _: float = 0.0) -> None:
        """Count some calls; it can be waited for."""
        for seconds in (0.0008,) * 99 + (0.15,):
            self.metrics[m.CALL_DURATION].histogram("grpc", GET, "OK", "").record(seconds)
        self.metrics[m.CACHE_LOOKUPS].count("hit").add(3)
        self.metrics[m.CACHE_LOOKUPS].count("miss").add(1)

    def close(self) -> None:
        """Serve the page no more."""
        self._page.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose page is read."""
    made = Server()
    yield made
    made.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[float], None]], None]:
    """Let something happen in the place of the time between two looks."""
    return lambda happens: monkeypatch.setattr("recsvc.cli.top.sleep", happens)


Waits = Callable[[Callable[[float], None]], None]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, without a page in the environment."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv(top.PAGE_VARIABLE, raising=False)


def test_once_prints_one_frame(server: Server, waits: Waits, capsys: pytest.CaptureFixture[str]) -> None:
    """Two looks at a real page make one frame with the figures of what happened in between, and status 0."""
    server.calls()
    waited: list[float] = []

    def busy(seconds: float) -> None:
        waited.append(seconds)
        server.calls()

    waits(busy)
    assert main(["top", "--once", "--interval", "3", server.address]) == 0
    output = capsys.readouterr().out.splitlines()
    assert waited == [3.0]
    assert output[0] == "● HEALTHY: nothing is over its threshold"
    [row] = [line.split() for line in output if line.startswith("GetFeatures")]
    # 99 of 100 lie between .75 and 1 ms: the median is the 50th of them, p99 the last.
    assert (row[2], row[3], row[4]) == ("0.876", "1.00", "0")
    [cache] = [after.split() for line, after in pairwise(output) if line.startswith("CACHE")]
    assert cache[1] == "75.0"


def test_once_without_an_answer_is_status_1(server: Server, waits: Waits, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no page answers there is no frame, but a line that says why and what to do."""
    server.close()
    waits(lambda _: None)
    assert main(["top", "--once", server.address]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        f"recsvc: no metrics page answers ({server.address}: nobody listens there); start the server with"
        " --metrics-listen HOST:PORT\n"
    )


def test_one_dead_page_of_two_is_shown(server: Server, waits: Waits, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that does not answer is named, and the other is shown."""
    dead = Server()
    dead.close()
    waits(server.calls)
    assert main(["top", "--once", server.address, dead.address]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"● DEGRADED: page {dead.address}: nobody listens there\n  1 of 2 pages")
    assert "GetFeatures" in output


def test_pages_come_from_the_environment(
    server: Server, waits: Waits, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without arguments the pages of the environment are read, and each but once."""
    monkeypatch.setenv(top.PAGE_VARIABLE, f"{server.address} http://{server.address}/metrics")
    waits(server.calls)
    assert main(["top", "--once"]) == 0
    assert "1 of 1 page " in capsys.readouterr().out


def test_the_default_page_is_that_of_the_conventions() -> None:
    """Nothing named is this machine, on the port that OpenTelemetry has for it."""
    assert [str(address) for address in top.addresses([])] == ["127.0.0.1:9464"]


def test_a_picture_loads_nothing(server: Server, waits: Waits, tmp_path: Path) -> None:
    """`--svg` writes the frame as a picture that needs nothing from elsewhere."""
    waits(server.calls)
    file = tmp_path / "top.svg"
    assert main(["top", "--once", "--svg", str(file), server.address]) == 0
    picture = file.read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "GetFeatures" in picture
    assert "url(http" not in picture
    assert "@font-face" not in picture


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--interval", "0"], "--interval 0: write seconds, more than 0"),
        (["--interval", "nan"], "--interval nan: write seconds, more than 0"),
        (["--svg", "x.svg"], "--svg goes with --once"),
        (["nowhere"], "'nowhere' is no metrics page: write HOST:PORT"),
    ],
)
def test_wrong_flags_are_one_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be done is said in one line."""
    assert main(["top", *words]) == 1
    assert capsys.readouterr().err.startswith(f"recsvc: {why}")


def test_a_picture_that_cannot_be_written(
    server: Server, waits: Waits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory that is not there is one line."""
    waits(server.calls)
    assert main(["top", "--once", "--svg", str(tmp_path / "no" / "top.svg"), server.address]) == 1
    assert "cannot write there (No such file or directory)" in capsys.readouterr().err


def interrupted_after(looks: int, then: Callable[[float], None]) -> Callable[[float], None]:
    """Return what waits so often, and is interrupted then."""
    left = iter(range(looks))

    def wait(seconds: float) -> None:
        if next(left, None) is None:
            signal.raise_signal(signal.SIGTERM)
        then(seconds)

    return wait


def test_it_goes_on_until_it_is_interrupted(server: Server, waits: Waits, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal frames follow each other, and a signal ends them with status 130 and without a word."""
    before = signal.getsignal(signal.SIGTERM)
    waits(interrupted_after(2, server.calls))
    assert main(["top", server.address]) == 130
    output = capsys.readouterr()
    assert output.out.count("CALLS ") == 3
    assert output.out.startswith("○ LOOKING")
    assert output.err == ""
    assert signal.getsignal(signal.SIGTERM) == before


def test_it_outlives_its_servers(server: Server, waits: Waits, capsys: pytest.CaptureFixture[str]) -> None:
    """When the last page has gone the view says so and goes on."""
    waits(interrupted_after(2, lambda _: server.close()))
    assert main(["top", server.address]) == 130
    assert capsys.readouterr().out.count(f"● UNHEALTHY: page {server.address}: nobody listens there") == 2


def test_a_terminal_is_drawn_in_place(server: Server, waits: Waits) -> None:
    """On a terminal each frame takes the place of the one before, and the screen is given back at the end."""
    waits(interrupted_after(1, server.calls))
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, height=40)
    watch = top.watch_of(top.addresses([server.address]))
    with pytest.raises(KeyboardInterrupt), top.terminated_as_interrupted():
        top.show(console, watch, 1.0)
    text = output.getvalue()
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1
    assert text.count("\x1b[?25h") == 1
    assert "● HEALTHY" in text
