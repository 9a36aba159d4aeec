"""Columns from Arrow: every type's rules, and that the shortcuts agree with the rules in everything."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT32, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, TIMESTAMP, VECTOR, FeatureType
from recsvc.online.ingest_columns import Column, _one_by_one, column, plain
from recsvc.online.ingest_rules import UNITS, TimeUnit
from recsvc.online.row import pack_strings

MICROS = TimeUnit.MICROSECONDS
NUMBERISH = st.text("0123456789+-.eEnaifxty _", max_size=12) | st.from_regex(r"\A-?[0-9]{1,20}\Z")
FLOAT_TEXT = (
    NUMBERISH | st.floats().map(repr) | st.sampled_from(["nan", "-INF", "Infinity", "nan(1)", "1e999", "-1e999"])
)
TIMEISH = (
    st.from_regex(
        r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9](:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,9})?)?)?)?"
        r"(Z|[+-][0-2][0-9](:?[0-6][0-9])?)?\Z"
    )
    | st.datetimes(timezones=st.none() | st.just(dt.UTC)).map(str)
    | NUMBERISH
)
LISTISH = st.lists(FLOAT_TEXT, max_size=4).map(lambda items: f"[{','.join(items)}]") | st.text(
    "[]{}1, .\t\"'", max_size=8
)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats()
STRINGS = st.text(max_size=6)

CASES: list[tuple[FeatureType, Any, st.SearchStrategy[Any]]] = [
    (INT64, pa.string(), NUMBERISH | INTS.map(str)),
    (INT64, pa.int64(), INTS),
    (INT64, pa.uint64(), st.integers(0, 2**64 - 1)),
    (INT64, pa.int8(), st.integers(-128, 127)),
    (INT64, pa.float64(), FLOATS | INTS.map(float)),
    (INT64, pa.decimal128(20, 2), st.decimals(-(10**15), 10**15, places=2) | st.integers(-9, 9).map(decimal.Decimal)),
    (FLOAT64, pa.string(), FLOAT_TEXT),
    (FLOAT64, pa.float64(), FLOATS),
    (FLOAT64, pa.int64(), INTS),
    (FLOAT64, pa.decimal128(20, 2), st.decimals(-(10**15), 10**15, places=2)),
    (FLOAT32, pa.string(), FLOAT_TEXT),
    (FLOAT32, pa.float64(), FLOATS),
    (FLOAT32, pa.float32(), st.floats(width=32)),
    (FLOAT32, pa.uint64(), st.integers(0, 2**64 - 1)),
    (BOOL, pa.bool_(), st.booleans()),
    (BOOL, pa.int32(), st.integers(-1, 2)),
    (
        BOOL,
        pa.string(),
        st.sampled_from(["true", "FALSE", "tRue", "0", "1", "2", "t", "yes", "\N{LATIN SMALL LETTER LONG S}", " 1"]),
    ),
    (STRING[5], pa.string(), STRINGS),
    (STRING[5], pa.large_string(), STRINGS),
    (STRING[5], pa.string_view(), STRINGS),
    (STRING[5], pa.binary(), st.binary(max_size=6) | STRINGS.map(str.encode)),
    (STRING[5], pa.int64(), INTS | st.integers(-99, 99)),
    (TIMESTAMP, pa.string(), TIMEISH),
    (VECTOR[2], pa.list_(pa.float64()), st.lists(st.none() | FLOATS, min_size=1, max_size=3)),
    (VECTOR[2], pa.large_list(pa.int64()), st.lists(INTS, min_size=2, max_size=2)),
    (VECTOR[2], pa.list_(pa.float32(), 2), st.lists(st.floats(width=32), min_size=2, max_size=2)),
    (VECTOR[2], pa.list_(pa.string()), st.lists(FLOAT_TEXT, min_size=2, max_size=2)),
    (VECTOR[2], pa.string(), LISTISH | st.just("[1, 2]") | st.just(" [0.5,\n1e3]")),
    (VECTOR[1], pa.string(), LISTISH | st.just("[]") | st.just("[1]")),
    (INT64_LIST[2], pa.list_(pa.int64()), st.lists(INTS, max_size=3) | st.lists(st.none() | INTS, max_size=2)),
    (INT64_LIST[2], pa.list_(pa.uint64()), st.lists(st.integers(0, 2**64 - 1), max_size=2)),
    (INT64_LIST[2], pa.list_(pa.float64()), st.lists(FLOATS, max_size=2)),
    (INT64_LIST[2], pa.list_(pa.int64(), 2), st.lists(INTS, min_size=2, max_size=2)),
    (INT64_LIST[2], pa.string(), LISTISH | st.just("[]") | st.just("[1, -2]")),
    (STRING_LIST[2, 3], pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=4), max_size=3)),
    (STRING_LIST[2, 3], pa.string(), LISTISH | st.lists(st.text(max_size=3), max_size=3).map(json.dumps)),
]


def cells(found: Column, of: FeatureType) -> list[Any]:
    """List what each value became: ``BAD``, None for null, or the value as comparable bytes."""
    bad = {i for i, _ in found.bad}
    values: Any = found.values
    if isinstance(values, np.ndarray):
        values = [v.astype(np.float32 if of.kind.value in {"FLOAT32", "VECTOR"} else v.dtype).tolist() for v in values]
    valid = found.valid if found.valid is not None else np.ones(len(values), bool)
    return ["BAD" if i in bad else repr(v) if ok else None for i, (v, ok) in enumerate(zip(values, valid, strict=True))]


@pytest.mark.parametrize(("of", "arrow", "values"), CASES, ids=[f"{of}-{arrow}" for of, arrow, _ in CASES])
@given(data=st.data())
def test_a_shortcut_gives_what_the_rules_give(
    of: FeatureType,
    arrow: Any,  # noqa: ANN401  # an Arrow type
    values: st.SearchStrategy[Any],
    data: st.DataObject,
) -> None:
    """Converting a whole column and converting value by value accept the same values and make the same of them."""
    array = pa.array(data.draw(st.lists(st.none() | values, max_size=6)), arrow)
    whole = column(array, of, None)
    plainly, undecodable = plain(array)
    assert cells(whole, of) == cells(_one_by_one(plainly, of, None, undecodable), of)


@given(st.lists(st.none() | INTS, max_size=6), st.integers(0, 3))
def test_slices_convert_like_copies(items: list[int | None], start: int) -> None:
    """A column that begins in the middle of its buffers gives its own values, not those before it."""
    lists = [None if i is None else [i, 1] for i in items]
    for of, arrow, values in (
        (INT64, pa.int64(), items),
        (STRING, pa.string(), [None if i is None else str(i) for i in items]),
        (INT64_LIST[4], pa.list_(pa.int64()), lists),
        (VECTOR[2], pa.list_(pa.int64(), 2), lists),
        (TIMESTAMP, pa.timestamp("ms"), [None if i is None else i // 10**6 for i in items]),
    ):
        sliced = column(pa.array(values, arrow).slice(start), of, None)
        copied = column(pa.array(values[start:], arrow), of, None)
        assert cells(sliced, of) == cells(copied, of)


def one(
    value: object,
    of: FeatureType,
    arrow: Any = None,  # noqa: ANN401  # an Arrow type
    unit: TimeUnit | None = None,
) -> Any:  # noqa: ANN401  # what the row keeps
    """Convert a single value: what became of it, or the reason why not."""
    found = column(pa.array([value], arrow), of, unit)
    if found.bad:
        return found.bad[0][1]
    if found.valid is not None and not found.valid[0]:
        return None
    return found.values[0]


@pytest.mark.parametrize(
    ("value", "of", "reason"),
    [
        ("196.0", INT64, "'196.0' is not an integer"),
        ("0196", INT64, "'0196' is not an integer"),
        ("+1", INT64, "'+1' is not an integer"),
        ("-0", INT64, "'-0' is not an integer"),
        ("0x10", INT64, "'0x10' is not an integer"),
        ("9223372036854775808", INT64, "does not fit 64 bits"),
        ("9" * 5_000, INT64, "does not fit 64 bits"),
        (2.5, INT64, "2.5 is not an integer"),
        (math.nan, INT64, "nan is not an integer"),
        (2.0**63, INT64, "does not fit 64 bits"),
        (True, INT64, "True is not an integer"),
        ("abc", FLOAT64, "'abc' is not a number"),
        (" 1", FLOAT64, "' 1' is not a number"),
        ("1_0", FLOAT64, "'1_0' is not a number"),
        ("nan(1)", FLOAT64, "is not a number"),
        ("1e999", FLOAT64, "does not fit a double"),
        (False, FLOAT64, "is not a number"),
        (1e39, FLOAT32, "does not fit a FLOAT32"),
        ("-1e39", FLOAT32, "does not fit a FLOAT32"),
        ("yes", BOOL, "'yes' is not true, false, 1 or 0"),
        (2, BOOL, "2 is not true, false, 1 or 0"),
        ("äöü", STRING[5], "has 6 bytes, more than the bound 5"),
        (1.5, STRING[5], "1.5 is not a text"),
        (b"\xff", STRING[5], "is not UTF-8"),
        ("2026-13-01", TIMESTAMP, "is not a time: month must be in 1..12"),
        ("2026-01-01T00:00+24:00", TIMESTAMP, "its zone is out of range"),
        ("yesterday", TIMESTAMP, "is not a time such as"),
        ("1763600000", TIMESTAMP, "--event-time-unit s, ms or us"),
        (1763600000, TIMESTAMP, "--event-time-unit s, ms or us"),
        ([1.0, 2.0, 3.0], VECTOR[2], "has 3 components, must have 2"),
        ([1.0, None], VECTOR[2], "component 2 is null"),
        ([1.0, 1e39], VECTOR[2], "component 2: 1e+39 does not fit a FLOAT32"),
        ("[1, x]", VECTOR[2], "component 2: 'x' is not a number"),
        ("1, 2", VECTOR[2], "is not a list such as [1, 2]"),
        ([1, 2, 3], INT64_LIST[2], "has 3 items, more than the bound 2"),
        ([1, None], INT64_LIST[2], "item 2 is null"),
        ("[1, 2.0]", INT64_LIST[2], "item 2: '2.0' is not an integer"),
        (["a", "b", "c"], STRING_LIST[2, 3], "has 3 items, more than the bound 2"),
        (["a", "abcd"], STRING_LIST[2, 3], "item 2: 'abcd' has 4 bytes, more than the bound 3"),
        ("[1]", STRING_LIST[2, 3], "item 1: 1 is not a text"),
        ('{"a": 1}', STRING_LIST[2, 3], "is not a list of strings"),
        ("a,b", STRING_LIST[2, 3], "is not a JSON array of strings"),
        ('["\\ud800"]', STRING_LIST[2, 9], "cannot be written as UTF-8"),
    ],
)
def test_a_wrong_value_says_what_is_wrong(value: object, of: FeatureType, reason: str) -> None:
    """Every rule that a value breaks is named, with the value and what would be right."""
    assert reason in one(value, of)


@pytest.mark.parametrize(
    ("value", "of", "expected"),
    [
        ("-9223372036854775808", INT64, -(2**63)),
        (5.0, INT64, 5),
        ("1e3", FLOAT64, 1000.0),
        (decimal.Decimal("1.5"), FLOAT64, 1.5),
        (3, FLOAT64, 3.0),
        ("-inf", FLOAT64, -math.inf),
        (math.inf, FLOAT32, math.inf),
        ("3.4028235e38", FLOAT32, 3.4028234663852886e38),
        ("True", BOOL, True),
        ("0", BOOL, False),
        (1, BOOL, True),
        (55105, STRING[5], b"55105"),
        ("äö", STRING[5], "äö".encode()),
        (b"ok", STRING[5], b"ok"),
        ("1970-01-01", TIMESTAMP, 0),
        ("1970-01-01T01:00:00.5+01:00", TIMESTAMP, 500_000),
        ("1970-01-01 00:00:00.123456789Z", TIMESTAMP, 123_456),
        (dt.date(1970, 1, 2), TIMESTAMP, 86_400_000_000),
        (dt.datetime(1970, 1, 1, 0, 0, 1), TIMESTAMP, 1_000_000),  # noqa: DTZ001  # naive is UTC
        ("[1, 2, 3]", INT64_LIST[3], np.array([1, 2, 3], "<i8").tobytes()),
        ([], INT64_LIST[3], b""),
        ('["a", "ü"]', STRING_LIST[2, 2], pack_strings(["a", "ü"])),
        (["a"], STRING_LIST[2, 2], pack_strings(["a"])),
        (None, FLOAT64, None),
        (None, STRING_LIST[2, 2], None),
    ],
)
def test_a_right_value_is_taken(value: object, of: FeatureType, expected: object) -> None:
    """Every form that a type takes becomes the same value in the row."""
    assert one(value, of) == expected


def test_vectors_of_text_and_of_lists_are_the_same() -> None:
    """A vector written as text in a CSV cell is the vector of a Parquet list."""
    listed = column(pa.array([[1.5, -2.0], None, [0.1, 1e38]]), VECTOR[2], None)
    written = column(pa.array(["[1.5,-2]", None, " [ 0.1 , 1e38 ] "]), VECTOR[2], None)
    assert np.array_equal(np.asarray(listed.values), np.asarray(written.values))
    assert written.valid is not None
    assert written.valid.tolist() == [True, False, True]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@given(micros=st.integers(-(10**16), 10**16))
@example(micros=-1)
def test_timestamps_of_every_unit_and_zone_are_the_same_moment(unit: str, zone: str | None, micros: int) -> None:
    """An Arrow timestamp is the moment it names, cut off below its unit; its zone is only how it is shown."""
    per = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}[unit]
    count = micros // per * (1_000 if unit == "ns" and abs(micros) < 9 * 10**15 else 1)
    expected = count // 1_000 if unit == "ns" else count * per
    assert one(count, TIMESTAMP, pa.timestamp(unit, zone)) == expected


def test_a_timestamp_beyond_64_bits_of_microseconds_is_bad() -> None:
    """A time in seconds that µs cannot hold is a bad value, never a wrapped one."""
    found = column(pa.array([2**62, 5, None, -(2**62)], pa.timestamp("s")), TIMESTAMP, None)
    assert [i for i, _ in found.bad] == [0, 3]
    assert np.asarray(found.values)[1] == 5_000_000


@pytest.mark.parametrize(
    ("value", "unit", "micros"),
    [
        (1763600000, "s", 1763600000_000_000),
        ("1763600000", "s", 1763600000_000_000),
        ("1763600000.25", "s", 1763600000_250_000),
        (1763600000.25, "s", 1763600000_250_000),
        ("007", "ms", 7_000),
        (-5, "us", -5),
    ],
)
def test_plain_numbers_are_times_where_the_unit_is_told(value: object, unit: str, micros: int) -> None:
    """With a unit, integers, fractions and their texts are times since 1970."""
    assert one(value, TIMESTAMP, unit=UNITS[unit]) == micros


@pytest.mark.parametrize("value", [2**62, 1e300, math.nan, math.inf, "1e999", -(2**63)])
def test_plain_numbers_that_are_no_time_are_bad(value: object) -> None:
    """A number that 64 bits of µs cannot hold is not a time, whatever its unit."""
    assert "fits 64 bits" in one(value, TIMESTAMP, unit=UNITS["s"])


def test_encodings_of_arrow_do_not_matter() -> None:
    """Dictionaries, extension types and all-null columns are what they stand for."""
    texts = pa.array(["a", None, "b", "a"])
    for array in (texts, texts.dictionary_encode(), texts.cast(pa.large_string()), texts.cast(pa.binary())):
        assert cells(column(array, STRING, None), STRING) == ["b'a'", None, "b'b'", "b'a'"]
    assert cells(column(pa.nulls(2), FLOAT64, None), FLOAT64) == [None, None]
    as_json = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["[1]"]))
    assert cells(column(as_json, INT64_LIST[2], None), INT64_LIST) == [repr(np.array([1], "<i8").tobytes())]
