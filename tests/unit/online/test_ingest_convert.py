"""Batches into rows: which columns must be there, which rows are refused and why, and what becomes of the others."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import FLOAT64, INT64, INT64_LIST, STRING, TIMESTAMP, VECTOR, Entity, Feature, FeatureView, Source
from recsvc.errors import ConfigError
from recsvc.online.ingest_convert import Converted, Converter
from recsvc.online.ingest_ids import id_column
from recsvc.online.ingest_rules import TimeUnit
from recsvc.online.row import RowCodec
from recsvc.registry import ids
from recsvc.registry.schema import Schema

NOW = 1_800_000_000_000_000
HOUR = 3_600_000_000
USER = Entity("user", "user_id", INT64)
FILM = Entity("film", "film_id")
FEATURES = (Feature("stars", FLOAT64), Feature("tags", STRING[4]), Feature("seen", INT64_LIST[2]))
RATING = FeatureView("rating", [USER, FILM], FEATURES)


def converter(view: FeatureView = RATING, **options: Any) -> Converter:  # noqa: ANN401  # of several types
    """Make the converter of a view, at NOW."""
    return Converter(view, Schema.of(view.features), now_micros=NOW, **options)


def batch(**columns: Any) -> Any:  # noqa: ANN401  # Arrow is untyped
    """Make a batch of right rows, but for the columns that are given."""
    length = len(next(iter(columns.values()))) if columns else 2
    right: dict[str, Any] = {
        "user_id": pa.array(range(length), pa.int64()),
        "film_id": pa.array([f"f{i}" for i in range(length)]),
        "event_time": pa.array([NOW] * length, pa.timestamp("us", "UTC")),
        "stars": pa.array([1.5] * length),
        "tags": pa.array(["ab"] * length),
        "seen": pa.array([[1, 2]] * length),
    }
    return pa.RecordBatch.from_pydict(right | columns)


def reasons(found: Converted) -> dict[int, str]:
    """Map the index of each rejected row to why."""
    return dict(found.rejected)


def test_right_rows_are_all_accepted() -> None:
    """Ids become texts, the event time µs, and each feature a column, in the order of the schema."""
    found = converter().convert(batch())
    assert found.rejected == []
    assert found.ids == [["0", "1"], ["f0", "f1"]]
    assert found.event_micros.tolist() == [NOW, NOW]
    assert np.asarray(found.columns[0][0]).tolist() == [1.5, 1.5]
    assert found.columns[1] == ([b"ab", b"ab"], None)


def test_a_refused_row_leaves_the_others_as_they_are() -> None:
    """What is accepted beside bad rows encodes to the same bytes as without them."""
    mixed = batch(
        user_id=["7", "+7", "8", None, "9"],
        stars=[1.0, 2.0, None, 4.0, 5.0],
        tags=["a", "b", "toolong", "d", None],
        seen=[[1], None, [2], [3], None],
    )
    found = converter().convert(mixed)
    assert found.rows.tolist() == [0, 4]
    assert sorted(reasons(found)) == [1, 2, 3]
    codec = RowCodec(Schema.of(FEATURES))
    alone = converter().convert(mixed.take(pa.array([0, 4])))
    times = np.zeros(2, np.int64)
    assert codec.encode(found.event_micros, times, found.columns) == codec.encode(times + NOW, times, alone.columns)
    assert found.ids == alone.ids


def test_all_that_is_wrong_with_a_row_is_said_at_once() -> None:
    """A row with several bad columns is rejected once, with every reason."""
    found = converter().convert(batch(user_id=["x"], film_id=[""], event_time=["never"], stars=["y"], seen=["z"]))
    (reason,) = reasons(found).values()
    assert [part.partition(":")[0] for part in reason.split("; ")] == [
        "user_id",
        "film_id",
        "event_time",
        "stars",
        "seen",
    ]


@given(
    st.lists(
        st.none()
        | st.from_regex(r"\A[+-]?[0-9]{1,20}(\.0)?\Z")
        | st.integers(-(2**63) - 2, 2**63 + 1).map(str)
        | st.text(max_size=4),
        max_size=5,
    ),
    st.sampled_from([USER, FILM]),
)
def test_ids_of_text_are_those_that_the_server_takes(texts: list[str | None], entity: Entity) -> None:
    """A load accepts exactly the ids that a request may name."""
    found, bad = id_column(pa.array(texts, pa.string()), entity)
    wrong = {i for i, t in enumerate(texts) if t is None or ids.problem(entity, t) is not None}
    assert {i for i, _ in bad} == wrong
    assert [t for i, t in enumerate(found) if i not in wrong] == [t for i, t in enumerate(texts) if i not in wrong]


@given(st.lists(st.none() | st.integers(0, 2**64 - 1), max_size=5), st.sampled_from([USER, FILM]), st.booleans())
def test_ids_of_integers_are_their_decimal_text(numbers: list[int | None], entity: Entity, signed: bool) -> None:  # noqa: FBT001
    """Integer columns are ids of both key types, as far as 64 bits with a sign reach for INT64."""
    values = [n if n is None or not signed else n - 2**63 for n in numbers]
    found, bad = id_column(pa.array(values, pa.int64() if signed else pa.uint64()), entity)
    wrong = {i for i, v in enumerate(values) if v is None or (entity is USER and v >= 2**63)}
    assert {i for i, _ in bad} == wrong
    assert all(found[i] == str(v) for i, v in enumerate(values) if i not in wrong)


@pytest.mark.parametrize(
    ("entity", "value", "reason"),
    [
        (USER, "0196", "'0196' is not canonical decimal"),
        (USER, "+1", "'+1' is not canonical decimal"),
        (USER, "196.0", "'196.0' is not canonical decimal"),
        (USER, None, "is null, every row needs an id"),
        (FILM, "", "an id must not be empty"),
        (FILM, "é" * 257, "has 514 bytes, an id has at most 512"),
        (FILM, b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_wrong_id_says_what_is_wrong(entity: Entity, value: object, reason: str) -> None:
    """Each way not to be an id has its reason, told once."""
    _, bad = id_column(pa.array([value, value]), entity)
    assert [i for i, _ in bad] == [0, 1]
    assert reason in bad[0][1]


def test_an_event_time_may_be_an_hour_ahead_of_the_clock() -> None:
    """Up to 1 h is for clocks that differ; 1 µs more is a row that would never be replaced."""
    times = pa.array([NOW + HOUR, NOW + HOUR + 1, None, NOW - 10**15], pa.timestamp("us", "UTC"))
    found = reasons(converter().convert(batch(event_time=times)))
    assert found == {
        1: "event_time: 2027-01-15T09:00:00Z is 1.0 h ahead of the clock, at most 1 h is allowed",
        2: "event_time: is null, every row needs an event time",
    }


def test_an_event_time_of_text_that_is_none_is_told_once() -> None:
    """A bad time is not reported as null or as ahead besides."""
    found = reasons(converter().convert(batch(event_time=["soon", "2999-01-01", b"\xff".decode("latin1")])))
    assert [r.count("event_time") for r in found.values()] == [1, 1, 1]


def test_the_event_time_column_is_the_sources_unless_told() -> None:
    """`--event-time-column` goes before the source's `event_time`, that before `event_time`."""
    sourced = FeatureView("v", [USER], [FEATURES[0]], source=Source("s", event_time="at"))
    assert converter().event_time == "event_time"
    assert converter(sourced).event_time == "at"
    assert converter(sourced, event_time_column="when").event_time == "when"


def test_plain_numbers_are_times_in_the_unit_that_is_told() -> None:
    """Integers stand for times where their unit is known, in the event time and in features."""
    view = FeatureView("v", [USER], [Feature("at", TIMESTAMP)])
    rows = pa.RecordBatch.from_pydict({"user_id": [1], "event_time": [1_700_000_000], "at": ["1700000000.5"]})
    found = converter(view, unit=TimeUnit.SECONDS).convert(rows)
    assert found.event_micros.tolist() == [1_700_000_000_000_000]
    assert np.asarray(found.columns[0][0]).tolist() == [1_700_000_000_500_000]


def test_surplus_columns_are_named_and_do_no_harm() -> None:
    """A file may have more columns than the view needs."""
    rows = batch(extra=[1, 2])
    assert converter().check(rows.schema, "file") == ("extra",)
    assert len(converter().convert(rows)) == 2


def check(schema: Any, view: FeatureView = RATING, **options: Any) -> str:  # noqa: ANN401  # an Arrow schema
    """Return what is said of columns that do not fit."""
    with pytest.raises(ConfigError) as caught:
        converter(view, **options).check(schema, "f.csv")
    return str(caught.value)


def test_columns_that_are_missing_are_one_error() -> None:
    """All that is missing is named, with what there is, once for the file."""
    schema = pa.schema([("user_id", pa.string()), ("Stars", pa.string()), ("seen", pa.string())])
    assert check(schema) == (
        "f.csv does not fit view rating@v1: no column 'film_id', 'event_time', 'stars', 'tags';"
        " it has 'user_id', 'Stars', 'seen'"
    )


def test_a_file_of_one_column_hints_at_the_delimiter() -> None:
    """A wrong delimiter makes one column of all, and the error says so."""
    assert "(only one column: is --delimiter right?)" in check(pa.schema([("user_id;film_id", pa.string())]))


def test_a_column_that_is_there_twice_is_refused() -> None:
    """Which of two columns is meant cannot be guessed."""
    schema = pa.schema([*batch().schema, ("stars", pa.string())])
    assert "column 'stars' is there 2 times" in check(schema)


@pytest.mark.parametrize(
    ("name", "arrow", "problem"),
    [
        ("user_id", pa.float64(), "column 'user_id' is double, ids are text or integers: cast it"),
        ("film_id", pa.bool_(), "column 'film_id' is bool, ids are text or integers: cast it"),
        ("event_time", pa.int64(), "column 'event_time' is int64, a time is wanted; say what it counts since 1970"),
        ("event_time", pa.bool_(), "column 'event_time' is bool, which cannot be TIMESTAMP: cast it"),
        ("stars", pa.timestamp("us"), "column 'stars' is timestamp[us], which cannot be FLOAT64: cast it"),
        ("tags", pa.float64(), "column 'tags' is double, which cannot be STRING[4]: cast it"),
        ("seen", pa.list_(pa.bool_()), "which cannot be INT64_LIST[2]: cast it"),
        ("seen", pa.struct([("a", pa.int64())]), "which cannot be INT64_LIST[2]: cast it"),
    ],
)
def test_a_column_of_a_type_that_cannot_be_meant_is_one_error(name: str, arrow: Any, problem: str) -> None:  # noqa: ANN401  # an Arrow type
    """A typed column that fits no row is told for the file, not for each of its rows."""
    fields = [(f.name, arrow if f.name == name else f.type) for f in batch().schema]
    assert problem in check(pa.schema(fields))


@pytest.mark.parametrize("arrow", [pa.null(), pa.dictionary(pa.int8(), pa.string()), pa.large_string(), pa.binary()])
def test_encodings_of_text_fit_where_text_fits(arrow: Any) -> None:  # noqa: ANN401  # an Arrow type
    """How Arrow keeps a column does not matter."""
    converter().check(pa.schema([(f.name, arrow) for f in batch().schema]), "file")


def test_what_duckdb_gives_fits() -> None:
    """Decimals, huge integers, enums, lists and arrays of a query convert to what they stand for."""
    view = FeatureView(
        "v", [FILM], [Feature("a", FLOAT64), Feature("b", INT64), Feature("c", VECTOR[2]), Feature("d", STRING[4])]
    )
    query = (
        "select uuid() film_id, timestamp '2020-01-01' event_time, 0.47 a, sum(2::hugeint) b,"
        " [1.5, 2]::float[2] c, 'x'::enum('x', 'y') d"
    )
    relation = duckdb.sql(query)
    assert relation is not None
    rows = relation.to_arrow_table().to_batches()[0]
    wanted = converter(view)
    wanted.check(rows.schema, "query")
    found = wanted.convert(rows)
    assert found.rejected == []
    assert found.event_micros.tolist() == [int(dt.datetime(2020, 1, 1, tzinfo=dt.UTC).timestamp()) * 10**6]
    assert [np.asarray(values).tolist() for values, _ in found.columns] == [[0.47], [2], [[1.5, 2.0]], [b"x"]]
