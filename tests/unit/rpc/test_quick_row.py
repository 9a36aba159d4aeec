"""The quick way of a single row says exactly what the long way says, and knows what it must leave to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT64, INT64, STRING, Entity, Feature, FeatureView, OnDemandFeature, OnDemandView, Registry
from recsvc.online.answer import UNREAD, Answer, Degraded, Row, ServedView, Source
from recsvc.online.columns import ViewColumns
from recsvc.online.reader import ViewRows
from recsvc.online.row import RowCodec, tombstone
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.plan import ReadPlan, StoredColumn
from recsvc.registry.schema import Schema
from recsvc.registry.types import FeatureType
from recsvc.rpc import convert_reply
from recsvc.rpc.quick_row import RowEncoder
from recsvc.telemetry.metrics import Metrics
from recsvc.telemetry.rows import ServedRows
from tests.unit.online.strategies import FEW, MANY, NOW, TYPES, Table, value_of
from tests.unit.online.test_columns import default_of

USER = Entity("user", "user_id")
HOUR = timedelta(hours=1)


def long_way(plan: ReadPlan, found: Sequence[ViewRows], fingerprint: str) -> bytes:
    """Return the reply by columns and messages."""
    decoded = [
        ViewColumns(read.view, RowCodec(read.schema)).decode(read, rows, NOW)
        for read, rows in zip(plan.reads, found, strict=True)
    ]
    columns = []
    for name, index in plan.outputs:
        slot = plan.slots[index]
        assert isinstance(slot, StoredColumn)
        columns.append((name, decoded[slot.read].columns[slot.column], slot.read))
    views = [
        ServedView(read.view.name, read.view.version, d.event_micros, rows.stale_micros)
        for read, d, rows in zip(plan.reads, decoded, found, strict=True)
    ]
    degraded = [reason for d in decoded for reason in d.degraded]
    return convert_reply.single(Answer(1, columns, degraded, views), fingerprint, event_times=False)


def encoder_of(plan: ReadPlan, fingerprint: str) -> RowEncoder:
    """Return an encoder whose counts nobody looks at."""
    views = [read.view for read in plan.reads]
    return RowEncoder(plan, fingerprint, [ServedRows(Metrics(), view.label, view.freshness) for view in views])


def message(data: bytes) -> str:
    """Return a reply as text; NaN is one text whatever its bits, which a message of Python's does not keep."""
    return str(pb.GetFeaturesResponse.FromString(data))


def row_of(draw: st.DrawFn, schema: Schema) -> Row:
    """Draw a row of any kind."""
    kinds = [
        "whole",
        "whole",
        "nulls",
        "none",
        "unread",
        "old",
        "short",
        "surplus",
        "cut",
        "tombstone",
        "bits",
        "bytes",
    ]
    kind = draw(st.sampled_from(kinds))
    fixed: dict[str, Row] = {"none": None, "unread": UNREAD, "tombstone": tombstone(NOW, NOW)}
    if kind in fixed:
        return fixed[kind]
    if kind == "bytes":
        return draw(st.binary(max_size=80))
    some = st.none() if kind == "nulls" else st.nothing()
    columns = [[draw(some | value_of(t))] for t in schema.types]
    event = NOW - (3 * 3_600_000_000 if kind == "old" else draw(st.integers(0, 3_600_000_000)))
    if kind == "surplus":
        schema = Schema((*schema.names, "more"), (*schema.types, INT64))
        columns.append([b"12345678"])
    known = draw(st.integers(0, len(schema))) if kind == "short" else None
    (row,) = Table(schema, [event], columns).encode(known)
    if kind == "cut":
        return row[: draw(st.integers(0, len(row)))] + draw(st.binary(max_size=2))
    if kind == "bits":
        place = draw(st.integers(0, len(row) - 1))
        return row[:place] + bytes([draw(st.integers(0, 255))]) + row[place + 1 :]
    return row


@st.composite
def calls(draw: st.DrawFn) -> tuple[Registry, ReadPlan, list[ViewRows]]:
    """Draw definitions of one to three views, references to their features, and rows of any kind and origin."""
    made = []
    for i in range(draw(st.integers(1, 3))):
        types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=10))
        features = [Feature(f"f{j}", t, draw(st.sampled_from([None, default_of(t)]))) for j, t in enumerate(types)]
        max_age = draw(st.sampled_from([HOUR, None]))
        made.append(FeatureView(f"v{i}", [USER], features, max_age=max_age, serve_default=draw(st.booleans())))
    registry = Registry(views=made)
    everything = [f"{v.name}:{f.name}" for v in made for f in v.features] + [v.name for v in made]
    plan = registry.plan(tuple(draw(st.lists(st.sampled_from(everything), min_size=1, max_size=8))))
    return registry, plan, [found(draw, row_of(draw, read.schema)) for read in plan.reads]


def found(draw: st.DrawFn, row: Row) -> ViewRows:
    """Draw where a row comes from."""
    if row is UNREAD:
        return ViewRows([row], Source.STORE, (Degraded.STORE_UNAVAILABLE,))
    source = draw(st.sampled_from([Source.STORE, Source.CACHE, Source.STALE_CACHE]))
    if source is Source.STALE_CACHE:
        codes = np.array([source], np.uint8)
        return ViewRows([row], codes, (Degraded.CIRCUIT_OPEN,), np.array([draw(st.integers(1, 2**40))]))
    return ViewRows([row], source)


@given(calls())
@MANY
def test_both_ways_say_the_same(call: tuple[Registry, ReadPlan, list[ViewRows]]) -> None:
    """For every kind of row, and every type, order and repetition of features, both replies are the same message."""
    registry, plan, rows = call
    quick = encoder_of(plan, registry.fingerprint).encode(rows, NOW)
    if quick is not None:
        assert message(quick) == message(long_way(plan, rows, registry.fingerprint))


@pytest.mark.parametrize("of", TYPES, ids=str)
@given(data=st.data())
@FEW
def test_ordinary_rows_take_the_quick_way(of: FeatureType, data: st.DataObject) -> None:
    """Rows of the reader's own schema, whole or with nulls, and missing ones are answered without columns."""
    view = FeatureView("v", [USER], [Feature("a", of, default_of(of)), Feature("b", of)], max_age=HOUR)
    registry = Registry(views=[view])
    plan = registry.plan(("v:b", "v:a"))
    drawn = [[data.draw(value_of(of))], [data.draw(st.none() | value_of(of))]]
    row: Row = data.draw(st.sampled_from([Table(Schema.of(view.features), [NOW], drawn).encode()[0], None]))
    rows = [ViewRows([row], data.draw(st.sampled_from([Source.STORE, Source.CACHE])))]
    quick = encoder_of(plan, registry.fingerprint).encode(rows, NOW)
    assert quick is not None
    assert message(quick) == message(long_way(plan, rows, registry.fingerprint))


def test_numbers_keep_their_bits() -> None:
    """A NaN goes out with the payload that it was written with."""
    registry = Registry(views=[FeatureView("v", [USER], [Feature("a", FLOAT64)])])
    bits = (0x7FF0000000000001).to_bytes(8, "little")
    (row,) = Table(registry.schemas["v", 1], [NOW], [[bits]]).encode()
    quick = encoder_of(registry.plan(("v",)), "f").encode([ViewRows([row], Source.STORE)], NOW)
    assert quick is not None
    assert bits in quick


def test_a_bool_of_another_byte_is_true() -> None:
    """A byte that is neither 0 nor 1 does not get into a reply."""
    registry = Registry(views=[FeatureView("v", [USER], [Feature("a", BOOL)])])
    (row,) = Table(registry.schemas["v", 1], [NOW], [[b"\1"]]).encode()
    for rows in ([row[:-1] + b"\x80"], [row]):
        quick = encoder_of(registry.plan(("v",)), "f").encode([ViewRows(list(rows), Source.STORE)], NOW)
        assert quick is not None
        assert b"\x20\x01" in quick


def test_a_string_over_its_bound_is_left_to_the_long_way() -> None:
    """What is longer than its definition allows makes a row corrupt, which the long way says and counts."""
    wide, narrow = (FeatureView("v", [USER], [Feature("a", STRING[bound])]) for bound in (8, 4))
    (row,) = Table(Schema.of(wide.features), [NOW], [["12345"]]).encode()
    registry = Registry(views=[narrow])
    rows = [ViewRows([row], Source.STORE)]
    assert encoder_of(registry.plan(("v",)), "f").encode(rows, NOW) is None
    reply = pb.GetFeaturesResponse.FromString(long_way(registry.plan(("v",)), rows, "f"))
    assert [d.reason for d in reply.degraded] == [pb.DEGRADATION_REASON_CORRUPT_ROW]


def _twice(a: Any) -> Any:  # noqa: ANN401  # numpy's
    return a * 2


def test_computed_features_take_the_long_way() -> None:
    """A plan with an on-demand feature has no quick way."""
    view = FeatureView("v", [USER], [Feature("a", FLOAT64)])
    live = OnDemandView("live", [OnDemandFeature("b", FLOAT64, {"a": "v:a"}, _twice)])
    plan = Registry(views=[view], on_demand=[live]).plan(("v", "live"))
    encoder = encoder_of(plan, "f")
    assert not encoder.fits
    assert encoder.encode([ViewRows([None], Source.STORE)], NOW) is None
