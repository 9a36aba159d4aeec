"""`recsvc delete`, as a user runs it: asks, erases, tells what it erased, and older data stays away."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from recsvc.cli.main import main
from recsvc.online.layout import TOMBSTONE
from tests.parts.topologies import Endpoint

pytestmark = pytest.mark.e2e

DEFINITIONS = """
from recsvc import *

user = Entity("user", "user_id", INT64)
film = Entity("film", "film_id", spread=8)
profile = FeatureView("profile", [user], [Feature("age", INT64)])
rating = FeatureView("rating", [user, film], [Feature("stars", FLOAT64)])
registry = Registry(views=[profile, rating])
"""
PROFILES = "user_id,event_time,age\n196,{time},49\n197,{time},20\n"
RATINGS = "user_id,film_id,event_time,stars\n196,a,2026-01-01,5\n196,b,2026-01-01,4\n197,a,2026-01-01,3\n"
QUESTION = "Erase user '196' and all pairs with it, in all views and versions? [y/N] "


@dataclass
class Shop:
    """A folder with definitions, a store with rows, and the commands."""

    folder: Path
    url: str
    client: redis.Redis
    capture: pytest.CaptureFixture[str]

    def run(self, command: str, *words: str, redis_url: str = "") -> tuple[int, str, str]:
        """Run a command on the definitions; its status, stdout and stderr."""
        flags = ["--redis", redis_url or self.url]
        status = main([command, str(self.folder / "defs.py"), *words, *flags])
        out, err = self.capture.readouterr()
        return status, out, err

    def load(self, view: str, text: str) -> str:
        """Load CSV; the summary."""
        path = self.folder / f"{view}.csv"
        path.write_text(text)
        status, out, _ = self.run("load", view, str(path))
        assert status == 0
        return out.partition(" rejected")[0]

    def live(self) -> set[str]:
        """Return the keys of rows that are no tombstones."""
        keys: Any = self.client.keys("fs:{*")
        rows: dict[str, Any] = {key.decode(): self.client.get(key) for key in keys}
        return {key for key, row in rows.items() if not row[1] & TOMBSTONE}


@pytest.fixture
def shop(
    tmp_path: Path, redis_8: Endpoint, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """Make a folder, and fill the emptied store with rows of two users."""
    monkeypatch.delenv("RECSVC_REDIS", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    (tmp_path / "defs.py").write_text(DEFINITIONS)
    with redis.Redis.from_url(redis_8.admin_url) as client:
        client.flushall()
        made = Shop(tmp_path, redis_8.url, client, capsys)
        made.load("profile", PROFILES.format(time="2026-01-01"))
        made.load("rating", RATINGS)
        yield made


OF_197 = {"fs:{197}:user:profile:v1", "fs:{197}:user+film:a:rating:v1"}


def test_an_entity_is_erased_and_told_view_by_view(shop: Shop) -> None:
    """Its rows and its pairs go, those of others stay."""
    status, out, err = shop.run("delete", "user_id=196", "--yes")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "profile@v1: 1 row erased",
        "rating@v1: 2 rows erased",
        "user '196': 3 rows erased in 2 views",
    ]
    assert shop.live() == OF_197


def test_the_second_entity_of_a_pair_can_be_erased(shop: Shop) -> None:
    """An item takes its pairs along, whose keys are tagged by their users."""
    status, out, _ = shop.run("delete", "film_id=a", "--yes")
    assert (status, out.splitlines()[0]) == (0, "rating@v1: 2 rows erased")
    assert "fs:{196}:user+film:b:rating:v1" in shop.live()


def test_loading_older_data_again_does_not_bring_an_entity_back_but_newer_data_does(shop: Shop) -> None:
    """What was erased stays so under a reload of the same files, until something newer is known."""
    shop.run("delete", "user_id=196", "--yes")
    assert (
        shop.load("profile", PROFILES.format(time="2026-01-01"))
        == "2 rows read, 1 written, 1 older than the store's, 0"
    )
    assert shop.load("rating", RATINGS) == "3 rows read, 1 written, 2 older than the store's, 0"
    assert shop.live() == OF_197
    seconds, micros = shop.client.time()
    rows = PROFILES.format(time=seconds * 1_000_000 + micros + 1_000_000)
    path = shop.folder / "new.csv"
    path.write_text(rows)
    assert shop.run("load", "profile", str(path), "--event-time-unit", "us")[1].startswith("2 rows read, 2 written")
    assert "fs:{196}:user:profile:v1" in shop.live()


def test_an_embedded_store_is_erased_too(shop: Shop) -> None:
    """embedded:DIR works for delete as it does for load."""
    url = f"embedded:{shop.folder / 'data'}"
    shop.run("load", "profile", str(shop.folder / "profile.csv"), redis_url=url)
    status, out, _ = shop.run("delete", "user_id=196", "--yes", redis_url=url)
    assert (status, out.splitlines()[-1]) == (0, "user '196': 1 row erased in 1 view")


def test_rows_that_a_newer_recsvc_wrote_are_not_said_to_be_erased(shop: Shop) -> None:
    """A row that we cannot replace stays, and the command fails."""
    key = "fs:{196}:user:profile:v1"
    row: Any = shop.client.get(key)
    shop.client.set(key, b"\x7f" + row[1:])
    status, out, err = shop.run("delete", "user_id=196", "--yes")
    assert (status, out) == (1, "rating@v1: 2 rows erased\n")
    assert err == "recsvc: 1 row stayed, a newer recsvc wrote it: delete with that one\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["user_id=0196", "--yes"], "user_id: '0196' is not canonical decimal of 64 bits"),
        (["user_id=", "--yes"], "user_id: '' is not canonical decimal"),
        (["film_id=", "--yes"], "film_id: an id must not be empty"),
        (["userid=196", "--yes"], "'userid=196' does not name an entity: write film_id=ID, user_id=ID"),
        (["user_id", "--yes"], "'user_id' does not name an entity"),
        (["user_id=196"], "there is no terminal to ask on whether to erase: say --yes"),
    ],
)
def test_wrong_usage_erases_nothing(shop: Shop, words: list[str], problem: str) -> None:
    """A wrong join key or id, and nobody to ask, are one line and status 2."""
    before = shop.live()
    status, out, err = shop.run("delete", *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert problem in err
    assert shop.live() == before


def test_a_store_must_be_named(shop: Shop) -> None:
    """`embedded` without a directory is refused like in load."""
    status, _, err = shop.run("delete", "user_id=196", "--yes", redis_url="embedded")
    assert status == 2
    assert "set --redis (or RECSVC_REDIS)" in err


@pytest.mark.parametrize(("answer", "status", "rest"), [("y", 0, 2), ("", 1, 5), ("no", 1, 5)])
def test_a_terminal_is_asked(shop: Shop, answer: str, status: int, rest: int) -> None:
    """Only a yes erases; anything else leaves all rows and says so with status 1."""
    words = ["delete", str(shop.folder / "defs.py"), "user_id=196", "--redis", shop.url]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "recsvc", *words],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(theirs)
        kill = threading.Timer(60, process.kill)
        kill.start()
        try:
            assert process.stdout is not None
            assert process.stdout.read(len(QUESTION)) == QUESTION
            os.write(ours, f"{answer}\n".encode())
            out, _ = process.communicate()
        finally:
            kill.cancel()
            os.close(ours)
    assert process.returncode == status
    assert ("nothing was erased" in out) == (status == 1)
    assert len(shop.live()) == rest
