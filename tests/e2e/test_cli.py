"""`recsvc get` against a running server: its table, its JSON, and what it says when there is nothing to print."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from recsvc.cli.main import main
from recsvc.registry.loader import load
from tests.e2e.serving import Server, command, definitions, environment, server_folder, serving
from tests.parts.redis_server import free_port
from tests.parts.topologies import Endpoint
from tests.rpc.rows import Rows, now_micros

pytestmark = pytest.mark.e2e

HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def server(redis_8: Endpoint) -> Iterator[Server]:
    """A server with one user, two and a half hours old."""
    with server_folder() as folder:
        file = definitions(folder)
        rows = Rows(redis.Redis.from_url(redis_8.admin_url))
        rows.client.flushdb()
        view = load(str(file)).view("profile")
        rows.put(view, ["196"], {"age": 49, "city": None}, event_micros=now_micros() - 5 * HOUR // 2)
        with serving(folder, file, redis_8.url) as running:
            yield running


@pytest.fixture(autouse=True)
def environment_of_the_user(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say once which server is meant."""
    monkeypatch.setenv("RECSVC_SERVER", server.address)


def lines_of(text: str) -> list[list[str]]:
    """Return the words of each line but rules."""
    return [line.split() for line in text.splitlines() if line.strip("─━ ")]


def test_get_prints_a_table(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each feature in the order asked: value, status, source, age; and below who answered."""
    words = ["get", "user_id=196", "live:plus", "profile", "request:offset", "--context", "offset=3", "--timeout", "20"]
    assert main(words) == 0
    output = capsys.readouterr()
    assert lines_of(output.out) == [
        ["feature", "value", "status", "source", "age"],
        ["live:plus", "52", "PRESENT", "COMPUTED", "-"],
        ["profile:age", "49", "PRESENT", "STORE", "2.5", "h"],
        ["profile:city", "-", "NULL_VALUE", "STORE", "2.5", "h"],
        ["request:offset", "3", "PRESENT", "REQUEST", "-"],
        ["registry", server.fingerprint, "·", "profile@v1,", "live@v1"],
    ]
    assert output.err == ""


def test_get_prints_json(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """--json has the same for a program, of a feature service too."""
    words = ["get", "--json", "user_id=404", "--service", "ranking", "--context", "offset=3", "--timeout", "20"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["registry_fingerprint"] == server.fingerprint
    assert [(f["name"], f["value"], f["status"], f["source"], f["event_time"]) for f in found["features"]] == [
        ("profile:age", -1, "NOT_FOUND", "DEFAULT", None),
        ("profile:city", None, "NOT_FOUND", "NONE", None),
        ("live:plus", 2, "NOT_FOUND", "COMPUTED", None),
    ]
    assert found["views"] == [{"view": "profile", "version": 1}, {"view": "live", "version": 1}]
    assert found["degraded"] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["user_id=196", "profile:agex"], "'profile:agex': 'profile' has no feature 'agex'"),
        (["user=196", "profile"], "there is no join key 'user'; there is user_id"),
        (["user_id=0196", "profile"], "'0196' is not canonical decimal"),
        (["user_id=196", "live"], "context field 'offset' is needed by the features asked for, and missing"),
        (["user_id=196", "live", "--context", "offset=x"], "is STRING, must be INT64"),
        (["user_id=196", "--service", "nope"], "'nope' is not a feature service"),
        (
            ["user_id=196", "profile", "--service", "ranking"],
            "name features (view:feature, or a whole view), or --service NAME",
        ),
        ([], "name features (view:feature, or a whole view), or --service NAME"),
        (["user_id=1", "user_id=2", "profile"], "a join key 'user_id' is given twice"),
        (["user_id=1", "profile", "--context", "x"], "--context 'x' is not NAME=VALUE"),
    ],
)
def test_a_refusal_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the server refuses, or the command itself, is one line on stderr and status 1."""
    assert main(["get", *words, "--timeout", "20"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(r"recsvc: .*\n", output.err)
    assert told in output.err


def test_a_server_that_is_not_there_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Where nothing answers the address is named."""
    address = f"127.0.0.1:{free_port()}"
    assert main(["get", "user_id=1", "profile", "--server", address]) == 1
    output = capfd.readouterr()
    assert output.out == ""
    assert re.fullmatch(rf"recsvc: cannot reach {re.escape(address)}: .*\n", output.err)


def test_commands_work_as_programs(server: Server, tmp_path: Path) -> None:
    """`python -m recsvc` reads the environment, prints plain text into a pipe, and passes its status on."""
    env = environment(tmp_path, {"RECSVC_SERVER": server.address})
    words = command("get", "user_id=196", "profile:age", "--timeout", 20)
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "profile:age" in done.stdout
    assert "\x1b" not in done.stdout
    done = subprocess.run(command("get", "profile:nope"), capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
