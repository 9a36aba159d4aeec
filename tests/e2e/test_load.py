"""`recsvc load`, as a user runs it: files in, rows in a real Redis, counts and bad rows told, exit statuses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from recsvc.cli.main import main
from recsvc.online.row import RowCodec
from recsvc.registry.loader import load as load_definitions
from tests.parts.topologies import Endpoint
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.e2e

DEFINITIONS = """
from recsvc import *

user = Entity("user", "user_id", INT64)
film = Entity("film", "film_id", spread=8)
profile = FeatureView("profile", [user], [
    Feature("age", INT64), Feature("score", FLOAT32), Feature("member", BOOL), Feature("name", STRING[16]),
    Feature("joined", TIMESTAMP), Feature("taste", VECTOR[2]), Feature("seen", INT64_LIST[3]),
    Feature("tags", STRING_LIST[2, 8]),
], source=Source("profiles", event_time="at"))
rating = FeatureView("rating", [user, film], [Feature("stars", FLOAT64)])
rating2 = FeatureView("rating", [user, film], [Feature("stars", INT64)], version=2)
registry = Registry(views=[profile, rating, rating2], active={"rating": 1})
"""
HEADER = "user_id,at,age,score,member,name,joined,taste,seen,tags"


@dataclass
class Shop:
    """A folder with definitions, an empty store, and the command."""

    folder: Path
    url: str
    client: redis.Redis
    capture: pytest.CaptureFixture[str]

    def write(self, name: str, text: str) -> str:
        """Write a file; its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8", newline="")
        return str(path)

    def load(self, *words: str, redis_url: str | None = "") -> tuple[int, str, str]:
        """Run `recsvc load DEFS …`; its status, stdout and stderr."""
        flags = [] if redis_url is None else ["--redis", redis_url or self.url]
        status = main(["load", str(self.folder / "defs.py"), *words, *flags])
        out, err = self.capture.readouterr()
        return status, out, err

    def rows(self) -> dict[str, bytes]:
        """Return all rows of the store, without the time of their writing."""
        keys: Any = self.client.keys("fs:{*")
        found: dict[str, Any] = {key.decode(): self.client.get(key) for key in keys}
        return {key: row[:16] + row[24:] for key, row in found.items()}

    def values(self, key: str, view: str = "profile") -> list[Any]:
        """Return the values of a row; None for null."""
        registry = load_definitions(str(self.folder / "defs.py"))
        schema = registry.schema(registry.view(view))
        row: Any = self.client.get(key)
        block = RowCodec(schema).decode([row], range(len(schema)))
        assert not block.corrupt[0]
        nulls = [index in block.null and bool(block.null[index][0]) for index in range(len(schema))]
        values = [np.asarray(block.values[index][0]).tolist() for index in range(len(schema))]
        return [None if null else value for null, value in zip(nulls, values, strict=True)]


@pytest.fixture
def shop(
    tmp_path: Path, redis_8: Endpoint, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """Make a folder and empty the store; what the environment says does not count."""
    monkeypatch.delenv("RECSVC_REDIS", raising=False)
    (tmp_path / "defs.py").write_text(DEFINITIONS)
    with redis.Redis.from_url(redis_8.admin_url) as client:
        client.flushall()
        yield Shop(tmp_path, redis_8.url, client, capsys)


def summary(out: str) -> tuple[int, ...]:
    """Return read, written, older and rejected of the last line of stdout."""
    match = re.fullmatch(
        r"([\d,]+) rows read, ([\d,]+) written, ([\d,]+) older than the store's, ([\d,]+) rejected \([\d,]+ rows/s\)",
        out.splitlines()[-1],
    )
    assert match, out
    return tuple(int(number.replace(",", "")) for number in match.groups())


def test_bad_rows_are_told_with_their_line_and_the_rest_is_loaded(shop: Shop) -> None:
    """Quoted line breaks, malformed and blank lines do not move the lines that are told; the status is 0."""
    path = shop.write(
        "users.csv",
        f"{HEADER}\n"
        '1,2026-01-01,30,,,"two\nlines",,,,\n'
        "0196,2026-01-01,30,,,,,,,\n"  # line 4
        "\n"
        "+1,2026-01-01,thirty,1e39,yes,,,,,\n"  # line 6
        "2,2026-01-01\n"  # line 7
        '3,2026-01-01,,,,"a\n\nb","2020-13-01",,,\n'  # line 8
        '4,2026-01-01,,,,,,"[1, 2, 3]","[1, 2, 3, 4]","[1]"\n'  # line 11
        "5,2999-01-01,,,,,,,,\n"  # line 12
        "6,,,,,,,,,\n"  # line 13
        ",2026-01-01,,,,,,,,\n"  # line 14
        "7,1767225600,,,,,,,,\n"  # line 15
        "8,2026-01-01,,,,,,,,\n",
    )  # fmt: skip
    rejected = shop.folder / "rejected.tsv"
    status, out, err = shop.load("profile", path, "--rejected", str(rejected))
    assert (status, summary(out)) == (0, (11, 2, 0, 9))
    reasons = {int(line.split()[2].rstrip(":")): line for line in err.splitlines()}
    assert sorted(reasons) == [4, 6, 7, 8, 11, 12, 13, 14, 15]
    assert "user_id: '0196' is not canonical decimal" in reasons[4]
    assert all(
        part in reasons[6] for part in ("user_id: ", "age: 'thirty'", "score: '1e39' does not fit", "member: 'yes'")
    )
    assert "has 2 cells, the header has 10" in reasons[7]
    assert "joined: '2020-13-01' is not a time: month must be in 1..12" in reasons[8]
    assert all(part in reasons[11] for part in ("taste: has 3 components", "seen: has 4 items", "tags: item 1"))
    assert "ahead of the clock, at most 1 h" in reasons[12]
    assert "at: is null" in reasons[13]
    assert "user_id: is null" in reasons[14]
    assert "--event-time-unit s, ms or us" in reasons[15]
    assert sorted(shop.rows()) == ["fs:{1}:user:profile:v1", "fs:{8}:user:profile:v1"]
    places = [line.split("\t")[0] for line in rejected.read_text().splitlines()[1:]]
    assert places == [f"{path} line {line}" for line in sorted(reasons)]


def ratings(rows: Sequence[tuple[object, ...]]) -> str:
    """Write ratings as CSV."""
    return "user_id,film_id,event_time,stars\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


def test_loading_twice_gives_the_same_store(shop: Shop) -> None:
    """A load can be run again without fear."""
    path = shop.write("r.csv", ratings([(u, f"film {u}", "2026-01-01", u) for u in range(50)]))
    assert summary(shop.load("rating", path)[1]) == (50, 50, 0, 0)
    before = shop.rows()
    assert summary(shop.load("rating", path)[1]) == (50, 50, 0, 0)
    assert shop.rows() == before


def test_an_older_file_never_overwrites_a_newer_one_unless_forced(shop: Shop) -> None:
    """The order of loads does not matter; --force brings the older rows back."""
    new = shop.write("new.csv", ratings([(1, "a", "2026-02-01", 5), (1, "b", "2026-02-01", 5)]))
    old = shop.write("old.csv", ratings([(1, "a", "2026-01-01", 1), (2, "a", "2026-01-01", 2)]))
    shop.load("rating", new)
    status, out, _ = shop.load("rating", old)
    assert (status, summary(out)) == (0, (2, 1, 1, 0))
    key = "fs:{1}:user+film:a:rating:v1"
    assert shop.values(key, "rating") == [5.0]
    assert summary(shop.load("rating", old, "--force")[1]) == (2, 2, 0, 0)
    assert shop.values(key, "rating") == [1.0]


def test_several_files_are_loaded_in_order(shop: Shop) -> None:
    """Of rows with the same event time, those of the later file stay; all files count in one summary."""
    first = shop.write("1.csv", ratings([(1, "a", "2026-01-01", 1)]))
    second = shop.write("2.csv", ratings([(1, "a", "2026-01-01", 2), ("x", "a", "2026-01-01", 2)]))
    status, out, err = shop.load("rating", first, second)
    assert (status, summary(out)) == (0, (3, 2, 0, 1))
    assert err.startswith(f"{second} line 3: user_id: ")
    assert shop.values("fs:{1}:user+film:a:rating:v1", "rating") == [2.0]


def test_a_version_can_be_loaded_that_is_not_active(shop: Shop) -> None:
    """`view@v2` writes beside the active version."""
    path = shop.write("r.csv", ratings([(1, "a", "2026-01-01", 5)]))
    shop.load("rating@v2", path)
    assert list(shop.rows()) == ["fs:{1}:user+film:a:rating:v2"]


def test_strict_writes_nothing_of_a_chunk_with_a_bad_row(shop: Shop) -> None:
    """--strict stops at the bad row with status 1."""
    path = shop.write("r.csv", ratings([(1, "a", "2026-01-01", 5), ("x", "a", "2026-01-01", 5)]))
    status, out, err = shop.load("rating", path, "--strict")
    assert (status, summary(out)) == (1, (2, 0, 0, 1))
    assert "line 3: user_id" in err
    assert "stopped at a rejected row (--strict)" in err
    assert shop.rows() == {}


def test_strict_is_no_hindrance_to_right_rows(shop: Shop) -> None:
    """--strict with nothing bad is an ordinary load."""
    path = shop.write("r.csv", ratings([(1, "a", "2026-01-01", 5)]))
    status, out, _ = shop.load("rating", path, "--strict")
    assert (status, summary(out)) == (0, (1, 1, 0, 0))


def test_a_load_of_bad_rows_only_fails(shop: Shop) -> None:
    """Where nothing was accepted the status is 1, the first 20 rows are shown and the others counted."""
    path = shop.write("r.csv", ratings([("x", "a", "2026-01-01", 5)] * 25))
    status, out, err = shop.load("rating", path)
    assert (status, summary(out)) == (1, (25, 0, 0, 25))
    assert len(err.splitlines()) == 21
    assert "… and 5 more rejected rows; --rejected FILE writes them all down" in err


def test_times_delimiter_and_column_can_be_told(shop: Shop) -> None:
    """Flags say what the event time is called, what it counts, and what is between cells; surplus columns are named."""
    path = shop.write("r.data", "user_id;film_id;timestamp;stars;note\n1;a;881250949;3;x\n")
    status, out, err = shop.load(
        "rating", path, "--delimiter", ";", "--event-time-column", "timestamp", "--event-time-unit", "s"
    )
    assert (status, summary(out)) == (0, (1, 1, 0, 0))
    assert err == f"{path}: ignored column note\n"
    (row,) = shop.rows().values()
    assert int.from_bytes(row[8:16], "little") == 881250949_000_000


def test_a_file_that_does_not_fit_is_one_line_and_nothing_is_written(shop: Shop) -> None:
    """A missing column is told once, with what the file has, before any row is written."""
    right = shop.write("right.csv", ratings([(1, "a", "2026-01-01", 5)]))
    wrong = shop.write("wrong.csv", "user_id:token,film_id\n1,a\n")
    status, out, err = shop.load("rating", right, wrong)
    assert (status, out) == (1, "")
    assert err == (
        f"recsvc: {wrong} does not fit view rating@v1: no column 'user_id', 'event_time', 'stars';"
        " it has 'user_id:token', 'film_id'\n"
    )
    assert shop.client.dbsize() == 0


@pytest.mark.parametrize("url", [None, "embedded"])
def test_a_store_must_be_named(shop: Shop, url: str | None) -> None:
    """A command that writes never starts a Redis that ends with it: one line says what to set, status 2."""
    path = shop.write("r.csv", ratings([]))
    status, out, err = shop.load("rating", path, redis_url=url)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "set --redis (or RECSVC_REDIS) to redis://HOST:PORT or to embedded:DIR" in err


def test_the_store_can_be_named_by_the_environment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """RECSVC_REDIS stands for --redis."""
    monkeypatch.setenv("RECSVC_REDIS", shop.url)
    path = shop.write("r.csv", ratings([(1, "a", "2026-01-01", 5)]))
    assert shop.load("rating", path, redis_url=None)[0] == 0
    assert len(shop.rows()) == 1


def test_an_embedded_store_keeps_its_rows(shop: Shop) -> None:
    """embedded:DIR is there again for the next command, with what the last one wrote."""
    url = f"embedded:{shop.folder / 'data'}"
    path = shop.write("r.csv", ratings([(1, "a", "2026-01-02", 5)]))
    older = shop.write("older.csv", ratings([(1, "a", "2026-01-01", 5)]))
    assert summary(shop.load("rating", path, redis_url=url)[1]) == (1, 1, 0, 0)
    assert summary(shop.load("rating", older, redis_url=url)[1]) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--delimiter", "ab"], "--delimiter 'ab': must be one ASCII character"),
        (["--delimiter", '"'], "must be one ASCII character"),
    ],
)
def test_a_wrong_delimiter_is_wrong_usage(shop: Shop, words: list[str], problem: str) -> None:
    """A delimiter that cannot be one is told before anything is opened, status 2."""
    status, _, err = shop.load("rating", "nowhere.csv", *words)
    assert status == 2
    assert problem in err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["ratings", "r.csv"], "'ratings' is not a stored view; there is profile@v1, rating@v1, rating@v2"),
        (["rating", "nowhere.csv"], "nowhere.csv cannot be read: No such file or directory"),
        (["rating", "defs.py"], "defs.py: its name must end in .parquet, .csv, .tsv or .txt, or say --delimiter"),
        (["rating", "r.csv", "--rejected", "no/such/folder"], "--rejected no/such/folder: cannot be written"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, words: list[str], problem: str
) -> None:
    """Wrong names fail with status 1 and a line that says what is wrong."""
    monkeypatch.chdir(shop.folder)
    shop.write("r.csv", ratings([]))
    status, out, err = shop.load(*words)
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert problem in err


def test_a_file_that_breaks_off_tells_what_was_written(shop: Shop) -> None:
    """Where reading fails half-way, the counts so far are printed besides the error."""
    path = shop.write("r.csv", ratings([(1, "a", "2026-01-01", 5)]) + '2,"' + "b\n" * 2_000_000 + '",2026-01-01,5\n')
    status, out, err = shop.load("rating", path)
    assert (status, summary(out)) == (1, (1, 1, 0, 0))
    assert "a row on line 3 or after is longer than 1 MiB" in err


def test_duckdb_and_the_command_write_the_same_rows(shop: Shop) -> None:
    """A Parquet file that DuckDB wrote is loaded as its query says."""
    path = shop.folder / "duck.parquet"
    query = (
        "select i user_id, 'f' || i film_id, timestamptz '2026-01-01 00:00:00+00' event_time, i / 4 stars"
        " from range(5000) t(i)"
    )
    relation = duckdb.sql(query)
    assert relation is not None
    relation.write_parquet(str(path))
    status, out, _ = shop.load("rating", str(path))
    assert (status, summary(out)) == (0, (5000, 5000, 0, 0))
    assert shop.values("fs:{4999}:user+film:f4999:rating:v1", "rating") == [1249.75]


@pytest.fixture
def start(shop: Shop) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `recsvc` as a process of its own, and end it by force at the end of the test."""
    processes: list[subprocess.Popen[str]] = []

    def popen(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "recsvc", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield popen
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_with_what_was_written(
    shop: Shop, start: Callable[..., subprocess.Popen[str]], number: signal.Signals, status: int
) -> None:
    """Ctrl-C ends the load with the rows under way, the counts tell what is in the store, and there is no traceback."""
    users = np.arange(1_500_000)
    table = {
        "user_id": users,
        "event_time": pa.array(np.full(len(users), 10**15), pa.timestamp("us")),
        "stars": users * 0.5,
    }
    path = shop.folder / "many.parquet"
    pq.write_table(pa.table(table | {"film_id": pa.array(["a"] * len(users))}), path)
    process = start("load", str(shop.folder / "defs.py"), "rating", str(path), "--redis", shop.url)
    wait_until(lambda: int(str(shop.client.dbsize())) > 1_000 or process.poll() is not None, 60)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err == "stopped: what was written stays, loading again does the rest\n"
    read, written, *_ = summary(out)
    assert 1_000 < written <= read < len(users)
    assert len(shop.client.keys("fs:{*")) == written


def test_without_the_extra_the_command_says_what_to_install(shop: Shop) -> None:
    """Without pyarrow the other commands work, and load is one line with the pip command."""
    code = "import sys; sys.modules['pyarrow'] = None; from recsvc.cli.main import main; sys.exit(main(sys.argv[1:]))"
    path = shop.write("r.csv", ratings([]))
    words = ["load", str(shop.folder / "defs.py"), "rating", path, "--redis", shop.url]
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert result.returncode == 1
    assert result.stderr == "recsvc: loading needs pyarrow, which is not installed: pip install 'recsvc[data]'\n"


def test_help_says_what_files_and_exit_statuses_mean(capsys: pytest.CaptureFixture[str]) -> None:
    """--help tells that empty cells are null, what plain numbers need, and each exit status."""
    with pytest.raises(SystemExit) as caught:
        main(["load", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0
    for part in (
        "an empty cell is null, also in a STRING column",
        "plain numbers need --event-time-unit",
        "130 stopped",
    ):
        assert part in text
