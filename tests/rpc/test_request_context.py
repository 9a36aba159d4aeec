"""Request context: what only the caller knows, for the request or for each row, of every type."""

from __future__ import annotations

import math
from typing import Any, Final

import grpc
import numpy as np
import pytest

from recsvc.pb import serving_pb2 as pb
from tests.rpc.calling import column_facts, column_values, facts, int64s
from tests.rpc.serving import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

VALUES: Final[dict[str, pb.Value]] = {
    "offset": pb.Value(int64_value=-(2**63)),
    "weight": pb.Value(float64_value=-0.1),
    "small": pb.Value(float32_value=0.5),
    "flag": pb.Value(bool_value=True),
    "query": pb.Value(string_value="ñandú"),
    "at": pb.Value(timestamp_micros_value=1_700_000_000_000_001),
    "embedding": pb.Value(vector_value=pb.FloatVector(values=[0.5, -2.0])),
    "seen": pb.Value(int64_list_value=pb.Int64List(values=[3, 1, 2])),
    "words": pb.Value(string_list_value=pb.StringList(values=["", "ö"])),
}
PLAIN: Final[dict[str, Any]] = {
    "offset": -(2**63),
    "weight": -0.1,
    "small": 0.5,
    "flag": True,
    "query": "ñandú",
    "at": 1_700_000_000_000_001,
    "embedding": [0.5, -2.0],
    "seen": [3, 1, 2],
    "words": ["", "ö"],
}
COLUMNS: Final[dict[str, pb.ColumnValues]] = {
    "offset": pb.ColumnValues(int64s=pb.Int64Column(values=[1, 2])),
    "weight": pb.ColumnValues(float64s=pb.Float64Column(values=[0.1, 0.2])),
    "small": pb.ColumnValues(float32s=pb.Float32Column(values=[0.5, 0.25])),
    "flag": pb.ColumnValues(bools=pb.BoolColumn(values=[True, False])),
    "query": pb.ColumnValues(strings=pb.StringColumn(values=["a", "ö"])),
    "at": pb.ColumnValues(timestamps=pb.TimestampColumn(micros=[5, -5])),
    "embedding": pb.ColumnValues(vectors=pb.VectorColumn(dimension=2, values=[1, 2, 3, 4])),
    "seen": pb.ColumnValues(int64_lists=pb.Int64ListColumn(values=[7, 8, 9], lengths=[0, 3])),
    "words": pb.ColumnValues(string_lists=pb.StringListColumn(values=["x", "y"], lengths=[2, 0])),
}
PLAIN_COLUMNS: Final[dict[str, list[Any]]] = {
    "offset": [1, 2],
    "weight": [0.1, 0.2],
    "small": [0.5, 0.25],
    "flag": [True, False],
    "query": ["a", "ö"],
    "at": [5, -5],
    "embedding": [[1, 2], [3, 4]],
    "seen": [[], [7, 8, 9]],
    "words": [["x", "y"], []],
}


def references(*names: str) -> list[str]:
    """Name context fields as features."""
    return [f"request:{name}" for name in names]


async def test_every_type_comes_through_for_one_row(served: Served) -> None:
    """A value of each type arrives as it was sent."""
    row = await served.caller.one(pb.GetFeaturesRequest(features=references(*VALUES), context=VALUES))
    assert facts(row) == {f"request:{n}": (v, "PRESENT", "REQUEST") for n, v in PLAIN.items()}


async def test_every_type_comes_through_in_columns(served: Served) -> None:
    """A column of each type arrives as it was sent."""
    batch = await served.caller.many(pb.GetFeaturesBatchRequest(features=references(*COLUMNS), context=COLUMNS))
    assert {n: [f[0] for f in rows] for n, rows in column_facts(batch).items()} == {
        f"request:{n}": v for n, v in PLAIN_COLUMNS.items()
    }


@pytest.mark.parametrize("sent", VALUES)
async def test_a_value_of_another_type_is_invalid(served: Served, sent: str) -> None:
    """Each field takes its own type; FLOAT64 and FLOAT32 also take each other and whole numbers; no more."""
    floats = {"weight", "small"}
    for field in VALUES:
        taken = field == sent or (field in floats and sent in floats | {"offset"})
        single = pb.GetFeaturesRequest(features=references(field), context={field: VALUES[sent]})
        batch = pb.GetFeaturesBatchRequest(features=references(field), context={field: COLUMNS[sent]})
        if taken:
            await served.caller.one(single)
            await served.caller.many(batch)
            continue
        for request in (single, batch):
            refusal = await served.caller.refused(request)
            assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
            assert list(refusal.wrong) == [f"context[{field!r}]"]
            assert ", must be " in refusal.wrong[f"context[{field!r}]"]


async def test_a_value_without_a_kind_is_invalid(served: Served) -> None:
    """A field that is there without a value is as good as a wrong one."""
    for request in (
        pb.GetFeaturesRequest(features=references("offset"), context={"offset": pb.Value()}),
        pb.GetFeaturesBatchRequest(features=references("offset"), context={"offset": pb.ColumnValues()}),
    ):
        refusal = await served.caller.refused(request)
        assert "INT64" in refusal.wrong["context['offset']"]


BOUNDS: Final = {
    "query": (pb.Value(string_value="é" * 9), pb.ColumnValues(strings=pb.StringColumn(values=["", "é" * 9]))),
    "embedding": (
        pb.Value(vector_value=pb.FloatVector(values=[1.0])),
        pb.ColumnValues(vectors=pb.VectorColumn(dimension=3, values=[1, 2, 3])),
    ),
    "seen": (
        pb.Value(int64_list_value=pb.Int64List(values=[1, 2, 3, 4])),
        pb.ColumnValues(int64_lists=pb.Int64ListColumn(values=[1, 2, 3, 4], lengths=[4])),
    ),
    "words": (
        pb.Value(string_list_value=pb.StringList(values=["", "123456789"])),
        pb.ColumnValues(string_lists=pb.StringListColumn(values=["123456789"], lengths=[1])),
    ),
}


@pytest.mark.parametrize("field", BOUNDS)
async def test_bounds_hold_for_context_too(served: Served, field: str) -> None:
    """A string, list or vector that does not fit the bound of its type is INVALID_ARGUMENT."""
    value, column = BOUNDS[field]
    for request in (
        pb.GetFeaturesRequest(features=references(field), context={field: value}),
        pb.GetFeaturesBatchRequest(features=references(field), context={field: column}),
    ):
        refusal = await served.caller.refused(request)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert list(refusal.wrong) == [f"context[{field!r}]"]


BROKEN: Final = {
    "flat vectors that do not divide": (
        "embedding",
        pb.ColumnValues(vectors=pb.VectorColumn(dimension=2, values=[1, 2, 3])),
    ),
    "vectors without a dimension": ("embedding", pb.ColumnValues(vectors=pb.VectorColumn(values=[1]))),
    "lengths beyond the values": (
        "seen",
        pb.ColumnValues(int64_lists=pb.Int64ListColumn(values=[1], lengths=[2])),
    ),
    "values beyond the lengths": (
        "words",
        pb.ColumnValues(string_lists=pb.StringListColumn(values=["a", "b"], lengths=[1])),
    ),
    "lengths that are enormous": (
        "seen",
        pb.ColumnValues(int64_lists=pb.Int64ListColumn(values=[1], lengths=[2**32 - 1])),
    ),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_flat_columns_must_add_up(served: Served, case: str) -> None:
    """A flat column whose dimension or lengths do not fit its values is INVALID_ARGUMENT."""
    field, column = BROKEN[case]
    request = pb.GetFeaturesBatchRequest(features=references(field), context={field: column})
    refusal = await served.caller.refused(request)
    assert (refusal.code, list(refusal.wrong)) == (grpc.StatusCode.INVALID_ARGUMENT, [f"context[{field!r}]"])


async def test_every_wrong_field_is_told(served: Served) -> None:
    """Wrong, missing and unknown context fields are all told in one refusal, and those not needed are ignored."""
    context = {"offset": VALUES["query"], "weight": VALUES["flag"], "sead": VALUES["seen"], "at": pb.Value()}
    refusal = await served.caller.refused(
        pb.GetFeaturesRequest(features=references("offset", "weight", "small"), context=context)
    )
    assert sorted(refusal.wrong) == ["context['offset']", "context['sead']", "context['small']", "context['weight']"]


async def test_one_value_holds_for_all_rows(served: Served) -> None:
    """A context column of length 1 is for the request, one of the rows' length for each row, in the same call."""
    context = {"offset": COLUMNS["offset"], "weight": pb.ColumnValues(float64s=pb.Float64Column(values=[0.5]))}
    batch = await served.caller.many(
        pb.GetFeaturesBatchRequest(
            entities={"user_id": int64s(404, 405)},
            features=["live:plus_plus", *references("offset", "weight")],
            context=context,
        )
    )
    assert {c.name: column_values(c.values) for c in batch.columns} == {
        "live:plus_plus": [0.5, 1.5],
        "request:offset": [1, 2],
        "request:weight": [0.5],
    }


async def test_numbers_become_the_declared_type(served: Served) -> None:
    """A whole number for a FLOAT64 is that number, a FLOAT64 for a FLOAT32 the nearest one, or infinity."""
    for sent, expected in ((pb.Value(int64_value=3), 3.0), (pb.Value(float64_value=0.1), float(np.float32(0.1)))):
        row = await served.caller.one(pb.GetFeaturesRequest(features=references("small"), context={"small": sent}))
        assert (row.features[0].value.float32_value, row.features[0].value.WhichOneof("kind")) == (
            expected,
            "float32_value",
        )
    huge = {"small": pb.Value(float64_value=1e300)}
    row = await served.caller.one(pb.GetFeaturesRequest(features=references("small"), context=huge))
    assert row.features[0].value.float32_value == math.inf


async def test_not_a_number_is_a_value(served: Served) -> None:
    """NaN is passed on, not mistaken for a missing value."""
    context = {"weight": pb.Value(float64_value=math.nan)}
    row = await served.caller.one(pb.GetFeaturesRequest(features=references("weight"), context=context))
    (value, status, source) = facts(row)["request:weight"]
    assert isinstance(value, float)
    assert (math.isnan(value), status, source) == (True, "PRESENT", "REQUEST")
