"""Columns joined from pieces are the very message that is built field by field."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import STRING, STRING_LIST, Entity, Feature, FeatureView, Registry
from recsvc.online.answer import Answer, Bytes, Column, Degraded, ServedView, Source, Status
from recsvc.online.row_decode import RowDecoder
from recsvc.online.row_values import Tails, pack
from recsvc.online.stand_in import StandIn
from recsvc.online.tail_column import TailColumn
from recsvc.pb import packed
from recsvc.registry.schema import Schema
from recsvc.registry.types import FeatureType
from recsvc.rpc.quick_columns import ColumnsEncoder
from tests.unit.online.strategies import FEW, MANY, NOW, TYPES, Table, value_of
from tests.unit.rpc.columns_reply import columns_reply

USER = Entity("user", "user_id")


def codes(draw: st.DrawFn, n: int, largest: int) -> Bytes:
    """Draw a code for each of n rows, or one for all."""
    length = draw(st.sampled_from([1, n]))
    return np.array(draw(st.lists(st.integers(1, largest), min_size=length, max_size=length)), np.uint8)


def column(draw: st.DrawFn, of: FeatureType, n: int) -> Column:
    """Draw a column as it comes out of rows, or for strings and lists also as it comes out of a function."""
    rows = Table(Schema(("a",), (of,)), [NOW] * n, [draw(st.lists(value_of(of), min_size=n, max_size=n))]).encode()
    values = RowDecoder(Schema(("a",), (of,))).decode(rows, [0]).values[0]
    statuses, sources = codes(draw, n, max(Status)), codes(draw, n, max(Source))
    if not isinstance(values, Tails):
        return Column(of, values, statuses, sources)
    whole = TailColumn(values, statuses, sources)
    return whole if draw(st.booleans()) else Column(of, whole.values, statuses, sources)


@st.composite
def answers(draw: st.DrawFn) -> tuple[ColumnsEncoder, str, Answer]:
    """Draw features of any types and an answer for them, degraded or not, with ages and times or without."""
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=6))
    names = [f"{draw(st.sampled_from(['f', 'n' * 60, 'm' * 40]))}{i}" for i in range(len(types))]
    registry = Registry(views=[FeatureView("v", [USER], [Feature(n, t) for n, t in zip(names, types, strict=True)])])
    plan = registry.plan(("v",))
    n = draw(st.sampled_from([0, 1, 2, 3, 40]))
    columns = [
        (name, column(draw, plan.slots[i].type, draw(st.sampled_from([n, min(n, 1)]))), 0) for name, i in plan.outputs
    ]
    reasons = draw(st.lists(st.sampled_from(list(Degraded)), unique=True))
    ages = draw(st.none() | st.just(np.arange(n, dtype=np.int64)))
    views = [ServedView("v", 1, np.arange(n) - 1, ages)]
    return (
        ColumnsEncoder(plan, registry.fingerprint),
        registry.fingerprint,
        Answer(n, columns, [(r, "v@v1") for r in reasons], views),
    )


@given(answers(), st.booleans())
@MANY
def test_the_pieces_are_the_message(drawn: tuple[ColumnsEncoder, str, Answer], times: bool) -> None:  # noqa: FBT001  # drawn
    """For columns of any types, lengths, codes and ages, both are equal, bit for bit."""
    encoder, fingerprint, answer = drawn
    joined = packed.GetFeaturesBatchResponse.FromString(encoder.encode(answer, event_times=times))
    built = packed.GetFeaturesBatchResponse.FromString(columns_reply(answer, fingerprint, event_times=times))
    assert joined == built


@pytest.mark.parametrize("of", [STRING[20_000], STRING_LIST[2, 20_000]], ids=str)
@given(lengths=st.lists(st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 20_000]), max_size=4))
@FEW
def test_strings_of_any_length_have_the_right_length_before_them(of: FeatureType, lengths: list[int]) -> None:
    """Lengths of one, two and three bytes are written as they must be."""
    values = ["x" * n if of.kind is STRING.kind else ("x" * n, "") for n in lengths]
    one = np.ones(1, np.uint8)
    tails = Tails(of, [pack(of, v) for v in values])
    registry = Registry(views=[FeatureView("v", [USER], [Feature("a", of)])])
    answer = Answer(
        len(values), [("v:a", TailColumn(tails, one, one), 0)], [], [ServedView("v", 1, np.zeros(0, np.int64))]
    )
    encoder = ColumnsEncoder(registry.plan(("v",)), registry.fingerprint)
    joined = packed.GetFeaturesBatchResponse.FromString(encoder.encode(answer, event_times=False))
    assert joined == packed.GetFeaturesBatchResponse.FromString(
        columns_reply(answer, registry.fingerprint, event_times=False)
    )


def test_what_stands_in_for_a_string_is_bytes_too() -> None:
    """A default among strings of rows is kept as their bytes are."""
    stand_in = StandIn.of(STRING[8], "none")
    values = stand_in.column(2)
    assert isinstance(values, Tails)
    assert values.array().tolist() == ["none", "none"]
