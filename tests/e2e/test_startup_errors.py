"""`recsvc serve` that cannot start: one clear line on stderr, status 1, no traceback, and no Redis left behind."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from recsvc.cli.main import main
from recsvc.config import SETTINGS, variable
from tests.e2e.serving import DEFINITIONS, definitions, leftovers, refused, server_folder, serving
from tests.parts.redis_server import free_port
from tests.parts.topologies import Endpoint
from tests.rpc.own_redis import PASSWORD, own_redis

pytestmark = pytest.mark.e2e

WRONG = DEFINITIONS.replace('"profile:age"', '"profile:nope"').replace('["profile", "live:plus"]', '["nope"]')
Said = Callable[..., list[str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server."""
    with server_folder() as path:
        yield path


@pytest.fixture
def file(folder: Path) -> Path:
    """A file of right definitions."""
    return definitions(folder)


@pytest.fixture
def said(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    """Run a server that cannot start, in this process, and return its lines, whoever writes them to stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for setting in SETTINGS:
        monkeypatch.delenv(variable(setting), raising=False)

    def run(*words: object) -> list[str]:
        assert main(["serve", *map(str, words)]) == 1
        output = capfd.readouterr()
        assert output.out == ""
        assert leftovers(folder) == []
        return output.err.splitlines()

    return run


def one_line(lines: Sequence[str]) -> str:
    """Return the one line that a server says which cannot start."""
    assert len(lines) == 1, lines
    assert lines[0].startswith("recsvc: ")
    return lines[0].removeprefix("recsvc: ")


def test_a_port_that_is_taken_is_told(folder: Path, file: Path) -> None:
    """A second server on a port is one clear line, and the Redis that it had started is gone."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = one_line(refused(folder, file, "--listen", address))
    assert line == f"cannot listen on {address}: the port is taken"


def test_two_servers_do_not_share_a_port(folder: Path, file: Path, redis_8: Endpoint, said: Said) -> None:
    """By default gRPC would let a second server listen on the same port, and nobody would know which answers."""
    with serving(folder, file, redis_8.url) as server:
        assert "the port is taken" in one_line(said(file, "--redis", redis_8.url, "--listen", server.address))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("192.0.2.1:50051", "this machine does not have that address"),
        ("no-such-host.invalid:50051", "the host name cannot be resolved"),
    ],
)
def test_an_address_that_is_not_ours_is_told(
    address: str, words: str, file: Path, redis_8: Endpoint, said: Said
) -> None:
    """So is an address that this machine does not have, and a name that nobody has."""
    line = one_line(said(file, "--redis", redis_8.url, "--listen", address))
    assert line == f"cannot listen on {address}: {words}"


STORES: dict[str, tuple[Callable[[str, int], str], str]] = {
    "nobody there": (lambda _, port: f"redis://:{PASSWORD}@127.0.0.1:{port}", "refuses connections"),
    "no socket": (lambda _, __: "unix:///no/such/redis.sock", "no socket at that path"),
    "wrong password": (lambda url, _: url.replace(PASSWORD, "Wr0ng"), "refuses the user or the password"),
    "no password": (lambda url, _: url.replace(f":{PASSWORD}@", ""), "asks for a password"),
    "no cluster": (lambda url, _: url.replace("redis:", "redis+cluster:"), "a single server"),
    "no Sentinel": (lambda url, _: url.replace("redis:", "redis+sentinel:") + "/main", "Sentinel"),
    "no URL": (lambda _, __: "http://example.invalid", "redis"),
    "no TLS": (lambda url, _: url.replace("redis:", "rediss:"), "TLS"),
}


@pytest.mark.parametrize("case", STORES)
def test_a_store_that_is_wrong_is_told(case: str, file: Path, said: Said) -> None:
    """What is wrong with the store is one line, without the password."""
    url_of, words = STORES[case]
    with own_redis() as store:
        line = one_line(said(file, "--redis", url_of(store.url, free_port()), "--listen", "127.0.0.1:0"))
    assert words in line
    assert PASSWORD not in line
    assert "Wr0ng" not in line


BROKEN = {
    "raising": ("raise RuntimeError('boom')", ["failed at", "RuntimeError: boom"]),
    "no Python": ("def", ["SyntaxError"]),
    "exiting": ("import sys; sys.exit(0)", ["SystemExit"]),
    "empty": ("", ["has no Registry"]),
    "of two minds": (DEFINITIONS + "other = Registry()", ["several registries (other, registry)"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_definitions_that_cannot_be_read_are_told(case: str, folder: Path, said: Said) -> None:
    """What is wrong with the file is one line, before anything is started."""
    text, words = BROKEN[case]
    line = one_line(said(definitions(folder, text)))
    assert all(word in line for word in words)


def test_definitions_that_are_wrong_are_a_line_each(folder: Path) -> None:
    """Every mistake in the definitions is told, a line for each."""
    lines = refused(folder, definitions(folder, WRONG))
    assert len(lines) == 2
    assert all(line.startswith("recsvc: ") and "nope" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["none.py"], "none.py is not a file"),
        (["no.such.module"], "no.such.module"),
        (["definitions.py", "--max-rows", "0"], "--max-rows: '0' must be at least 1"),
        (["definitions.py", "--listen", "nowhere"], "--listen: 'nowhere' is not HOST:PORT"),
        (["definitions.py", "--config", "none.toml"], "none.toml: cannot be read"),
    ],
)
def test_wrong_words_are_told(words: list[str], told: str, file: Path, said: Said) -> None:
    """A file that is not there and a setting that cannot be are one line that names them."""
    assert told in one_line(said(*words))


def test_a_wrong_setting_of_the_environment_is_told_as_such(
    file: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line begins with the variable."""
    monkeypatch.setenv("RECSVC_REDIS_TIMEOUT_MS", "soon")
    assert one_line(said(file)) == "RECSVC_REDIS_TIMEOUT_MS: 'soon' is not a whole number"
