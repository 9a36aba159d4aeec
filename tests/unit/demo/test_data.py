"""Reading data sets: what the tables hold, how times move, and what is said of files that are wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from recsvc import INT64, Entity, Feature, FeatureView, Source
from recsvc.demo.data import DemoData, open_data
from recsvc.demo.definitions import registry
from recsvc.errors import ConfigError
from recsvc.registry.types import Kind

from .conftest import END, NOW, Compute, Write

Opened = Callable[..., DemoData]
ARROW = {
    Kind.INT64: pa.int64(),
    Kind.FLOAT64: pa.float64(),
    Kind.BOOL: pa.bool_(),
    Kind.STRING: pa.string(),
    Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Kind.INT64_LIST: pa.list_(pa.int64()),
    Kind.STRING_LIST: pa.list_(pa.string()),
}


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (datetime(2026, 3, 4, 12, tzinfo=UTC), datetime(2026, 3, 4, 1, 46, 40, tzinfo=UTC)),
        (datetime(2026, 3, 4, 1, 46, 39, 999_999, tzinfo=UTC), datetime(2026, 3, 3, 1, 46, 40, tzinfo=UTC)),
        (datetime(2026, 3, 4, 1, 46, 40, tzinfo=UTC), datetime(2026, 3, 4, 1, 46, 40, tzinfo=UTC)),
        (datetime(1999, 1, 2, tzinfo=UTC), datetime(1999, 1, 1, 1, 46, 40, tzinfo=UTC)),
        (datetime(2026, 3, 4, 1, tzinfo=UTC).astimezone(), datetime(2026, 3, 3, 1, 46, 40, tzinfo=UTC)),
    ],
)
def test_the_data_ends_in_the_day_before_now(opened: Opened, now: datetime, end: datetime) -> None:
    """Times move by whole days, forward or back, to the last place that is not after now."""
    data = opened(now)
    assert data.end == end
    assert data.end <= now < data.end + timedelta(days=1)
    assert data.shift % timedelta(days=1) == timedelta(0)
    assert data.end - data.shift == datetime.fromtimestamp(END, UTC)
    (row,) = data.compute(registry.view("rated")).to_pylist()
    assert row["event_time"] == end


@pytest.mark.parametrize("view", [v.name for v in registry.views.values()])
def test_a_view_has_its_columns_in_order_typed_as_declared(opened: Opened, view: str) -> None:
    """A computed view has join keys, features and event_time, in this order, with the Arrow types of their own."""
    of = registry.view(view)
    schema = opened().compute(of).schema
    assert schema.names == [*(e.join_key for e in of.entities), *(f.name for f in of.features), "event_time"]
    assert schema.field("event_time").type == pa.timestamp("us", tz="UTC")
    for feature in of.features:
        kind = feature.type.kind
        wanted = pa.list_(pa.float32(), feature.type.bound) if kind is Kind.VECTOR else ARROW[kind]
        assert schema.field(feature.name).type.equals(wanted), feature.name


def test_rows_are_in_the_order_of_their_ids_and_the_same_every_time(opened: Opened) -> None:
    """Two readings of the same files give the same tables, ordered by id whatever the order in the files."""
    inter = [(user, item, 1 + (user * item) % 5, END - user * item * 7_919) for user in (3, 1, 2) for item in (9, 4, 5)]
    item = [(n, f"Film {n}", 1990 + n, "Drama War") for n in (9, 4, 5)]
    user = [(n, 20 + n, "F", "artist", "1") for n in (3, 1, 2)]
    first, second = (opened(inter=inter, item=item, user=user) for _ in range(2))
    for view in registry.views.values():
        assert first.compute(view).equals(second.compute(view))
    assert first.compute(registry.view("rated"))["user_id"].to_pylist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert first.compute(registry.view("rated"))["item_id"].to_pylist() == [4, 5, 9] * 3


def test_what_files_do_not_know_is_null(compute: Compute) -> None:
    """Empty, `unknown` and `unkonwn` words and a year that is no number are null; an unknown genre is no genre."""
    item = [
        (1, "unkonwn", "unkonwn", "unknown"),
        (2, "Two", "V", ""),
        (3, "", "", "War unknown"),
        (4, "Four", 1999, "War"),
    ]
    rows = compute("film", item=item)
    assert [r["title"] for r in rows] == [None, "Two", None, "Four"]
    assert [r["release_year"] for r in rows] == [None, None, None, 1999]
    assert [r["genres"] for r in rows] == [[], [], ["War"], ["War"]]
    rows = compute("profile", user=[(1, "", "F", "", ""), (2, 7, "M", "none", "T8H1N")])
    assert [(r["age"], r["occupation"]) for r in rows] == [(None, None), (7, "none")]


def test_quotes_and_other_letters_are_text(compute: Compute) -> None:
    """A quote opens nothing: only tabs and line ends have a meaning; text is UTF-8."""
    titles = ['"Honest" Train', "Misérables, Les", '"', "Á köldum klaka", "it's, \\n"]
    rows = compute("film", item=[(n, title, 1999, "War") for n, title in enumerate(titles)])
    assert [r["title"] for r in rows] == titles


def test_line_ends_and_marks_of_other_systems_are_read(write: Write) -> None:
    """Files with CR LF and with a byte order mark read as those without."""
    directory = write()
    for path in directory.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    with open_data(directory, NOW) as data:
        assert data.compute(registry.view("film"))["genres"].to_pylist() == [["Drama"]]
        assert data.compute(registry.view("profile"))["occupation"].to_pylist() == ["student"]


def test_columns_are_found_by_name(write: Write) -> None:
    """Columns may stand in any order, among others, and with fractions in times."""
    directory = write()
    header, line = (
        "extra:token\ttimestamp:float\trating:float\titem_id:token\tuser_id:token\n",
        f"x\t{END}.0\t3.5\t1\t1\n",
    )
    (directory / "hand.inter").write_text(header + line, encoding="utf-8")
    with open_data(directory, NOW) as data:
        assert data.compute(registry.view("rated"))["rating"].to_pylist() == [3.5]
        assert data.end - data.shift == datetime.fromtimestamp(END, UTC)


def test_a_directory_without_the_files_is_one_clear_error(tmp_path: Path) -> None:
    """A directory that is not there, or has none of the files, is told which are wanted, in one line."""
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError) as caught:
            open_data(directory, NOW)
        text = str(caught.value)
        assert text.startswith(f"data: {directory} has no *.inter and no *.item and no *.user; wanted are")
        assert "user_id, item_id, rating, timestamp" in text
        assert "\n" not in text


def test_a_missing_file_is_named(write: Write) -> None:
    """Where one of the files is missing, the error names that one."""
    directory = write()
    (directory / "hand.user").unlink()
    with pytest.raises(ConfigError, match=r"has no \*\.user; wanted"):
        open_data(directory, NOW)


def test_two_files_of_a_kind_are_named(write: Write) -> None:
    """Of two files of one kind nobody can say which is meant."""
    directory = write()
    (directory / "other.item").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has 2 files \*\.item \(hand\.item, other\.item\); keep one"):
        open_data(directory, NOW)


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("inter", b"user_id:token\titem_id:token\tscore:float\ttimestamp:float\n", "has no column rating; its columns"),
        ("item", b"", "has no column item_id, movie_title, release_year, class"),
        (
            "user",
            b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t2\n",
            "Expected 5 columns",
        ),
        ("inter", b"user_id\titem_id\trating\ttimestamp\n1\tone\t3\t5\n", "Could not convert string 'one' to INT64"),
        ("inter", b"user_id\titem_id\trating\ttimestamp\n1\t1\t\t5\n", "Could not convert string '' to DOUBLE"),
        ("inter", b"user_id\titem_id\trating\ttimestamp\n", "has no ratings"),
        (
            "item",
            b"item_id\tmovie_title\trelease_year\tclass\n" + b"1\tTea\t1999\tWar\n" * 1000 + b"1\tCaf\xe9\t1999\tWar\n",
            "invalid UTF8",
        ),
        ("item", b"item_id\tmovie_title\trelease_year\tcl\xe9ss\n", "can't decode byte 0xe9"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(write: Write, ending: str, content: bytes, message: str) -> None:
    """Whatever is wrong with a file is a ConfigError of one line with the file's path."""
    directory = write()
    (directory / f"hand.{ending}").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        open_data(directory, NOW)
    assert str(caught.value).startswith(f"data: {directory / f'hand.{ending}'}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["duckdb", "pyarrow"])
def test_a_missing_package_is_told_with_the_command_that_installs_it(
    write: Write, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """Without the extra, the error is the pip command, not an ImportError."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'recsvc\[data\]'"):
        open_data(write(), NOW)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "has no source with a query"),
        (Source("files"), "has no source with a query"),
        (Source("s", query="SELECT user_id, 1 AS event_time FROM users"), "source 's': .*\"age\" not found"),
        (Source("s", query="SELEC 1"), "source 's': Parser Error"),
    ],
)
def test_a_view_that_cannot_be_computed_says_why(opened: Opened, source: Source | None, message: str) -> None:
    """A view without a query, with one that does not run or lacks a column is a ConfigError that names the view."""
    user = Entity("user", join_key="user_id", key_type=INT64)
    view = FeatureView("v", entities=[user], features=[Feature("age", INT64)], source=source)
    with pytest.raises(ConfigError, match=f"^view v@v1: {message}") as caught:
        opened().compute(view)
    assert "\n" not in str(caught.value)


def test_a_query_may_end_in_a_comment_and_name_its_event_time(opened: Opened) -> None:
    """The source's own name of the event time becomes `event_time`; a comment at the end of its query ends with it."""
    query = "SELECT users.*, ended_at AS as_of FROM users CROSS JOIN data_end -- all"
    user = Entity("user", join_key="user_id", key_type=INT64)
    source = Source("s", query=query, event_time="as_of")
    data = opened()
    table = data.compute(FeatureView("v", entities=[user], features=[Feature("age", INT64)], source=source))
    assert table.to_pylist() == [{"user_id": 1, "age": 30, "event_time": data.end}]
