"""Of every value it is said what is known of it and where it is from: the table of DESIGN, row by row."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import Entity, Feature, FeatureView
from recsvc.online.answer import UNREAD, Column, Degraded, Row, Source, Status, Unread
from recsvc.online.columns import Decoded, ViewColumns, fill, repeated
from recsvc.online.reader import ViewRows
from recsvc.online.row import NO_TIME, RowCodec, tombstone
from recsvc.registry.plan import ViewRead
from recsvc.registry.schema import Schema
from recsvc.registry.types import INT64_MAX, INT64_MIN, FeatureData, FeatureType, Kind
from tests.unit.online.strategies import FEW, NOW, TYPES, Table, as_written, tables, value_of

USER = Entity("user", "user_id")
HOUR = timedelta(hours=1)
HOUR_MICROS = 3_600_000_000
DEFAULTS: dict[Kind, object] = {
    Kind.INT64: -1,
    Kind.FLOAT64: 0.5,
    Kind.FLOAT32: 0.25,
    Kind.BOOL: True,
    Kind.STRING: "none",
    Kind.TIMESTAMP: 1_000_000,
    Kind.INT64_LIST: [1, 2],
    Kind.STRING_LIST: ["a", ""],
}


def default_of(of: FeatureType) -> FeatureData:
    """Return a default of the type, as it is kept."""
    return of.normalize([0.5] * of.bound if of.kind is Kind.VECTOR else DEFAULTS[of.kind])


def view_of(*features: Feature, max_age: timedelta | None = HOUR) -> FeatureView:
    """Return a view of these features."""
    return FeatureView("profile", [USER], features, max_age=max_age)


def decode(view: FeatureView, rows: list[Row], now: int = NOW) -> Decoded:
    """Decode all features of a view from rows of the store."""
    return decode_found(view, ViewRows(rows, Source.STORE), now)


def decode_found(view: FeatureView, found: ViewRows, now: int = NOW) -> Decoded:
    """Decode all features of a view."""
    schema = Schema.of(view.features)
    read = ViewRead(view, schema, tuple(range(len(schema))))
    return ViewColumns(view, RowCodec(schema)).decode(read, found, now)


def codes(column: Column) -> list[tuple[Status, Source]]:
    """Return status and source of each value."""
    n = len(column)
    statuses, sources = np.broadcast_to(column.statuses, n), np.broadcast_to(column.sources, n)
    return [(Status(a), Source(b)) for a, b in zip(statuses.tolist(), sources.tolist(), strict=True)]


def value(column: Column, place: int) -> object:
    """Return one value as Python has it."""
    item = column.values[place]
    plain = item.tolist() if isinstance(item, np.ndarray | np.generic) else item
    return tuple(plain) if isinstance(plain, list) else plain


def rows_of(schema: Schema, values: list[list[Any]], event: int = NOW) -> list[bytes]:
    """Return one row per value of the columns; None is null."""
    return Table(schema, [event] * len(values[0]), values).encode()


@pytest.mark.parametrize("with_default", [True, False], ids=["default", "no default"])
@pytest.mark.parametrize("of", TYPES, ids=str)
@given(data=st.data())
@FEW
def test_each_state_of_a_row_has_its_status(of: FeatureType, with_default: bool, data: st.DataObject) -> None:  # noqa: FBT001  # a parameter of the test
    """In the row, null, no row, too old, not read, corrupt, deleted, written before the feature: each is told apart."""
    given_value = data.draw(value_of(of))
    schema = Schema(("a", "b"), (of, of))
    plain, null = rows_of(schema, [[given_value] * 2, [given_value, None]])
    old = rows_of(schema, [[given_value], [given_value]], NOW - HOUR_MICROS - 1)[0]
    older_writer = rows_of(schema.prefix(1), [[given_value]])[0]
    lacking = Source.DEFAULT if with_default else Source.NONE
    expected = {
        plain: (Status.PRESENT, Source.STORE),
        null: (Status.NULL_VALUE, Source.STORE),
        None: (Status.NOT_FOUND, lacking),
        older_writer: (Status.NOT_FOUND, lacking),
        tombstone(NOW, NOW): (Status.NOT_FOUND, lacking),
        old: (Status.OUTSIDE_MAX_AGE, lacking),
        UNREAD: (Status.UNAVAILABLE, lacking),
        b"garbage": (Status.UNAVAILABLE, lacking),
    }
    rows: list[Row] = data.draw(st.lists(st.sampled_from(list(expected)), max_size=10))
    default = default_of(of)
    view = view_of(*(Feature(n, of, default if with_default else None) for n in "ab"))
    column = decode(view, rows).columns[1]
    assert codes(column) == [expected[row] for row in rows]
    written, _ = as_written(of, [given_value])
    stored = decode(view, [plain]).columns[1]
    blank = repeated(of, None, 1)
    stand_in = repeated(of, default, 1)
    for place, (status, source) in enumerate(codes(column)):
        same = {Source.DEFAULT: stand_in, Source.NONE: blank}.get(source, stored.values)
        same = blank if status is Status.NULL_VALUE else same
        assert repr(column.values[place]) == repr(same[0])
    if of.kind in (Kind.INT64, Kind.FLOAT64, Kind.FLOAT32, Kind.BOOL, Kind.TIMESTAMP):
        assert stored.values.tobytes() == np.asarray(written).tobytes()


@given(tables(max_rows=5))
@FEW
def test_columns_alone_are_columns_together(table: Table) -> None:
    """What is said of a row does not depend on the rows beside it."""
    view = view_of(*(Feature(f"f{i}", t, default_of(t)) for i, t in enumerate(table.schema.types)))
    rows: list[Row] = [*table.encode(), None, UNREAD, tombstone(1, 1), b"", *table.encode(1)]
    together = decode(view, rows)
    for place, row in enumerate(rows):
        alone = decode(view, [row])
        assert alone.event_micros.tolist() == [together.event_micros[place]]
        for index, column in alone.columns.items():
            assert codes(column)[0] == codes(together.columns[index])[place]
            assert repr(column.values[0]) == repr(together.columns[index].values[place])


def test_one_status_stands_for_all() -> None:
    """Where every value is in its row, statuses and sources are one byte each."""
    view = view_of(Feature("a", TYPES[0]), Feature("b", TYPES[1]))
    rows: list[Row] = list(rows_of(Schema.of(view.features), [[b"\1" * 8] * 3, [b"\2" * 8] * 3]))
    for column in decode(view, rows).columns.values():
        assert (column.statuses.tolist(), column.sources.tolist()) == ([Status.PRESENT], [Source.STORE])


def test_no_rows_make_empty_columns() -> None:
    """A request for no rows has columns of no values, of the right types."""
    view = view_of(*(Feature(f"f{i}", t, default_of(t)) for i, t in enumerate(TYPES)))
    decoded = decode(view, [])
    assert [len(c) for c in decoded.columns.values()] == [0] * len(TYPES)
    assert decoded.event_micros.shape == (0,)
    assert decoded.degraded == []


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (0, Status.PRESENT),
        (HOUR_MICROS, Status.PRESENT),
        (HOUR_MICROS + 1, Status.OUTSIDE_MAX_AGE),
        (-HOUR_MICROS, Status.PRESENT),
        (NOW - INT64_MAX, Status.PRESENT),
        (NOW - INT64_MIN - 1, Status.OUTSIDE_MAX_AGE),
    ],
)
def test_a_row_is_too_old_when_it_is_older_than_its_max_age(age: int, status: Status) -> None:
    """The limit itself is young enough; times at the ends of the range do not wrap around."""
    view = view_of(Feature("a", TYPES[0], 0))
    (row,) = rows_of(Schema.of(view.features), [[b"\1" * 8]], NOW - age)
    assert codes(decode(view, [row]).columns[0])[0][0] is status


def test_without_a_max_age_no_row_is_too_old() -> None:
    """A view without a limit serves rows of any age."""
    view = view_of(Feature("a", TYPES[0], 0), max_age=None)
    (row,) = rows_of(Schema.of(view.features), [[b"\1" * 8]], INT64_MIN + 1)
    assert codes(decode(view, [row]).columns[0]) == [(Status.PRESENT, Source.STORE)]


def test_max_age_is_judged_when_answering() -> None:
    """The same row is present now and too old later."""
    view = view_of(Feature("a", TYPES[0], 0))
    (row,) = rows_of(Schema.of(view.features), [[b"\1" * 8]])
    assert codes(decode(view, [row]).columns[0])[0][0] is Status.PRESENT
    assert codes(decode(view, [row], NOW + 2 * HOUR_MICROS).columns[0])[0][0] is Status.OUTSIDE_MAX_AGE


def test_event_times_are_of_rows_that_there_are() -> None:
    """A row has its event time, also when it is too old; what is no row, deleted, corrupt or not read has none."""
    view = view_of(Feature("a", TYPES[0], 0))
    schema = Schema.of(view.features)
    (row,), (old,) = rows_of(schema, [[b"\1" * 8]], NOW - 1), rows_of(schema, [[b"\1" * 8]], 5)
    decoded = decode(view, [row, None, old, UNREAD, b"garbage", tombstone(3, 4)])
    assert decoded.event_micros.tolist() == [NOW - 1, NO_TIME, 5, NO_TIME, NO_TIME, NO_TIME]


def test_a_row_found_corrupt_behind_its_fixed_part_has_no_event_time() -> None:
    """A row is believed as a whole or not at all."""
    view = view_of(Feature("a", TYPES[0], 0), Feature("s", TYPES[4], ""))
    (row,) = rows_of(Schema.of(view.features), [[b"\1" * 8], ["text"]])
    decoded = decode(view, [row[:-1] + b"\xff", row])
    assert decoded.event_micros.tolist() == [NO_TIME, NOW]
    assert [codes(c)[0][0] for c in decoded.columns.values()] == [Status.UNAVAILABLE] * 2


def test_what_did_not_work_is_said_once() -> None:
    """What reading met and corrupt rows degrade the answer, with the view's label; missing ones do not."""
    view = view_of(Feature("a", TYPES[0], 0))
    assert decode(view, [None, tombstone(1, 1)]).degraded == []
    rows: list[Row] = [UNREAD, b"x", None, b"y", Unread.REFUSED]
    met = (Degraded.STORE_UNAVAILABLE, Degraded.CIRCUIT_OPEN)
    decoded = decode_found(view, ViewRows(rows, Source.STORE, met))
    assert decoded.degraded == [(reason, "profile@v1") for reason in (*met, Degraded.CORRUPT_ROW)]
    assert decoded.corrupt == [1, 3]
    assert decoded.reasons


def test_each_row_has_the_source_it_came_from() -> None:
    """Store, cache and stale copy stand beside each other; what is not there is a default, whoever said so."""
    view = view_of(Feature("a", TYPES[0], 0), Feature("b", TYPES[0], 0))
    (row,) = rows_of(Schema.of(view.features), [[b"\1" * 8], [None]])
    sources = np.array([Source.STORE, Source.CACHE, Source.STALE_CACHE, Source.STALE_CACHE, Source.STORE], np.uint8)
    ages = np.array([0, 0, 7_000_000, 1, 0])
    rows: list[Row] = [row, row, row, None, Unread.SATURATED]
    a, b = decode_found(view, ViewRows(rows, sources, (Degraded.SATURATED,), ages)).columns.values()
    lacking = [(Status.NOT_FOUND, Source.DEFAULT), (Status.UNAVAILABLE, Source.DEFAULT)]
    held = [Source.STORE, Source.CACHE, Source.STALE_CACHE]
    assert codes(a) == [(Status.PRESENT, source) for source in held] + lacking
    assert codes(b) == [(Status.NULL_VALUE, source) for source in held] + lacking


@pytest.mark.parametrize("source", [Source.STORE, Source.CACHE, Source.STALE_CACHE])
def test_one_source_holds_for_all_rows(source: Source) -> None:
    """Rows of one origin say so, with nulls among them or without."""
    view = view_of(Feature("a", TYPES[0], 0), Feature("b", TYPES[0], 0))
    rows: list[Row] = list(rows_of(Schema.of(view.features), [[b"\1" * 8] * 2, [b"\1" * 8, None]]))
    a, b = decode_found(view, ViewRows(rows, source)).columns.values()
    assert codes(a) == [(Status.PRESENT, source)] * 2
    assert codes(b) == [(Status.PRESENT, source), (Status.NULL_VALUE, source)]


def test_a_strict_view_has_no_defaults() -> None:
    """Where defaults may not stand in, a feature without a value has source NONE and a blank, its status as ever."""
    features = [Feature("a", TYPES[0], -1), Feature("s", TYPES[4], "none")]
    view = FeatureView("profile", [USER], features, max_age=HOUR, serve_default=False)
    (row,) = rows_of(Schema.of(view.features), [[b"\1" * 8], [None]])
    a, s = decode(view, [row, None, UNREAD, b"x"]).columns.values()
    lacking = [(status, Source.NONE) for status in (Status.NOT_FOUND, Status.UNAVAILABLE, Status.UNAVAILABLE)]
    assert codes(a) == [(Status.PRESENT, Source.STORE), *lacking]
    assert codes(s) == [(Status.NULL_VALUE, Source.STORE), *lacking]
    assert a.values.tolist()[1:] == [0, 0, 0]
    assert s.values.tolist() == [""] * 4


@pytest.mark.parametrize(
    "row", [b"", b"1234567", tombstone(1, 1) + b"x", b"\x02" + bytes(30), b"\x01\0\x01\0" + bytes(40)]
)
def test_every_corrupt_row_has_a_reason(row: bytes) -> None:
    """Whoever logs corrupt rows has something to say."""
    decoded = decode(view_of(Feature("a", TYPES[0], 0)), [row])
    assert decoded.corrupt == [0]
    assert decoded.reasons


def test_fill_puts_one_value_into_many_slots() -> None:
    """A list stands in each slot as a whole, also an empty one and one as long as there are slots."""
    for of, given_default in ((TYPES[8], (1, 2)), (TYPES[9], ("a", "b")), (TYPES[8], ()), (TYPES[9], ())):
        column = repeated(of, None, 3)
        fill(column, np.array([True, False, True]), of, given_default)
        assert [tuple(v) for v in column] == [given_default, (), given_default]
    assert [value(Column(TYPES[6], repeated(TYPES[7], (1.0, 2.0, 3.0), 2), *[np.zeros(1, np.uint8)] * 2), 1)] == [
        (1.0, 2.0, 3.0)
    ]
