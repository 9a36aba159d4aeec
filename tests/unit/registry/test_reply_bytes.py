"""The size that is computed from a plan before anything is read is never less than that of the real reply."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, VECTOR, Entity, Feature, FeatureView, Registry
from recsvc.online.answer import Answer, Column, Degraded, ServedView
from recsvc.online.columns import fill, repeated
from recsvc.registry.plan import ReadPlan
from recsvc.registry.types import FeatureType, Kind
from recsvc.rpc import convert_reply
from recsvc.rpc.quick_columns import ColumnsEncoder
from tests.unit.online.strategies import TYPES

USER, ITEM = Entity("user", "user_id", INT64), Entity("item", "item_id")
FINGERPRINT = "f" * 16
LONG = "n" * 64
WIDE = (*TYPES, STRING[200], STRING_LIST[3, 200], STRING[20_000], STRING_LIST[2, 20_000], VECTOR[300], INT64_LIST[40])


def largest(of: FeatureType) -> object:
    """Return a value that takes as many bytes as the type allows."""
    match of.kind:
        case Kind.STRING:
            return "x" * of.bound
        case Kind.INT64_LIST:
            return (-1,) * of.bound
        case Kind.STRING_LIST:
            return ("x" * of.item_bytes,) * of.bound
        case Kind.VECTOR:
            return (-1.5,) * of.bound
    return True if of.kind is Kind.BOOL else -1


def filled(of: FeatureType, n: int, *, mixed: bool) -> Column:
    """Return a column of the largest values, with a status and a source of its own for each."""
    column = repeated(of, None, n)
    fill(column, slice(None), of, largest(of))
    codes = np.arange(n) % 2 + 3 if mixed and n > 1 else np.full(n, 1)
    return Column(of, column, codes.astype(np.uint8), codes.astype(np.uint8))


def answer(plan: ReadPlan, rows: int, varying: frozenset[str], *, mixed: bool) -> Answer:
    """Return the largest answer to a plan: every value at its bound, everything degraded in every way."""
    columns = []
    for name, slot in plan.outputs:
        of = plan.slots[slot]
        column = filled(of.type, plan.column_rows(slot, rows, varying), mixed=mixed)
        columns.append((name, column, getattr(of, "read", None)))
    labels = [f"{name}@v{version}" for name, version in plan.served]
    degraded = [(reason, label) for label in labels for reason in Degraded]
    views = []
    for read in plan.reads:
        n = rows if {e.join_key for e in read.entities} & varying else min(rows, 1)
        views.append(ServedView(read.view.name, read.view.version, np.full(n, 2**60), np.full(n, 2**60)))
    return Answer(rows, columns, degraded, views)


def event_time_bytes(of: Answer) -> int:
    """Return what event times take, which are counted apart."""
    return sum(8 * len(v.event_micros) for v in of.views)


views = st.lists(
    st.tuples(
        st.sampled_from([(USER,), (ITEM,), (USER, ITEM)]), st.lists(st.sampled_from(WIDE), min_size=1, max_size=6)
    ),
    min_size=1,
    max_size=4,
)


def registry_of(drawn: list[tuple[Any, list[FeatureType]]]) -> Registry:
    """Return a registry of views with the longest names and version numbers."""
    made = []
    for i, (entities, types) in enumerate(drawn):
        features = [Feature(f"f{j}".ljust(64, "n"), t) for j, t in enumerate(types)]
        made.append(FeatureView(f"v{i}".ljust(64, "n"), entities, features, version=10**9 - 1))
    return Registry(views=made)


@given(
    views,
    st.sampled_from([0, 1, 2, 3, 130]),
    st.sets(st.sampled_from(["user_id", "item_id"])),
    st.booleans(),
    st.data(),
)
@settings(max_examples=60)
def test_a_reply_is_not_larger_than_its_plan_says(
    drawn: list[tuple[Any, list[FeatureType]]],
    rows: int,
    keys: set[str],
    mixed: bool,  # noqa: FBT001  # drawn
    data: st.DataObject,
) -> None:
    """For any features, rows and broadcast columns, with every value at its bound, the computed size is enough."""
    registry = registry_of(drawn)
    everything = [f"{v.name}:{f.name}" for v in registry.views.values() for f in v.features]
    asked = data.draw(st.lists(st.sampled_from([*everything, *(v.label for v in registry.views.values())]), max_size=8))
    plan, varying = registry.plan(tuple(asked)), frozenset(keys)
    whole = answer(plan, rows, varying, mixed=mixed)
    limit = plan.reply_bytes(rows, varying)
    encoder = ColumnsEncoder(plan, FINGERPRINT)
    assert len(encoder.encode(whole, event_times=False)) <= limit
    assert len(encoder.encode(whole, event_times=True)) <= limit + event_time_bytes(whole)


@given(views)
@settings(max_examples=40)
def test_a_single_reply_is_not_larger_than_its_plan_says(drawn: list[tuple[Any, list[FeatureType]]]) -> None:
    """GetFeatures' reply, with an event time beside every value, is within the size for one row."""
    registry = registry_of(drawn)
    plan = registry.plan(tuple(v.label for v in registry.views.values()))
    whole = answer(plan, 1, frozenset(), mixed=False)
    assert len(convert_reply.single(whole, FINGERPRINT, event_times=True)) <= plan.reply_bytes(1, frozenset())


def test_the_size_is_not_much_too_large() -> None:
    """A large answer is computed to within a tenth, so that the limit refuses nothing that would fit."""
    features = [Feature(f"f{i}", t) for i, t in enumerate((FLOAT64, INT64, VECTOR[32], STRING[64]))]
    plan = Registry(views=[FeatureView("v", [ITEM], features)]).plan(("v",))
    varying = frozenset({"item_id"})
    whole = answer(plan, 1_000, varying, mixed=True)
    real = len(ColumnsEncoder(plan, FINGERPRINT).encode(whole, event_times=False))
    assert real <= plan.reply_bytes(1_000, varying) <= 1.1 * real


def test_a_bool_is_the_smallest() -> None:
    """Three bytes for each value, itself, status and source; and eight for its row, should that be a stale copy."""
    plan = Registry(views=[FeatureView("v", [ITEM], [Feature("b", BOOL)])]).plan(("v",))
    step = plan.reply_bytes(101, frozenset({"item_id"})) - plan.reply_bytes(100, frozenset({"item_id"}))
    assert step == 3 + 8
