"""Requests for slates that cannot be answered: everything that is wrong is named, and nothing is ignored."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from recsvc.pb import serving_pb2 as pb
from tests.rpc.calling import Refusal
from tests.rpc.shop import (
    Shop,
    any_of,
    between,
    end,
    is_present,
    is_true,
    none_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND: Final = grpc.StatusCode.NOT_FOUND
CATEGORY: Final = "goods:category"
PRICE: Final = "goods:price"
STOCK: Final = "goods:stock"
TIMES: Final = "goods:created_at"
VECTOR: Final = pb.Value(vector_value=pb.FloatVector(values=[1.0]))
EMPTY_LIST: Final = pb.Filter(feature=CATEGORY, any_of=pb.ValueList())
WRONG: Final[dict[str, tuple[pb.Filter, str]]] = {
    "no predicate": (pb.Filter(feature=CATEGORY), "filters[0]"),
    "predicate of a newer client": (pb.Filter.FromString(b"\x0a\x0egoods:category\xa2\x06\x00"), "filters[0]"),
    "empty list": (EMPTY_LIST, "filters[0].any_of"),
    "NaN": (any_of(PRICE, math.nan), "filters[0].any_of[0]"),
    "NaN at an end": (between(PRICE, end(math.nan), end(1.0)), "filters[0].range.min"),
    "min above max": (between(PRICE, end(2.0), end(1.0)), "filters[0].range"),
    "no ends": (between(PRICE), "filters[0].range"),
    "end without a value": (between(PRICE, pb.RangeEnd(), end(1.0)), "filters[0].range.min"),
    "end that is a vector": (between(PRICE, end(1.0), pb.RangeEnd(value=VECTOR)), "filters[0].range.max"),
    "range of texts": (between(CATEGORY, end(1.0)), "filters[0].range"),
    "text for a number": (none_of(STOCK, 1, "2"), "filters[0].none_of[1]"),
    "number for a text": (any_of(CATEGORY, 1), "filters[0].any_of[0]"),
    "fraction for a whole number": (any_of(STOCK, 1.5), "filters[0].any_of[0]"),
    "whole number for a time": (between(TIMES, end(1)), "filters[0].range.min"),
    "time for a whole number": (between(STOCK, end(1, time=True)), "filters[0].range.min"),
    "time for a number": (between(PRICE, end(1, time=True)), "filters[0].range.min"),
    "bool for a number": (any_of(STOCK, *[True]), "filters[0].any_of[0]"),
    "vector in a list": (pb.Filter(feature=CATEGORY, any_of=pb.ValueList(values=[VECTOR])), "filters[0].any_of[0]"),
    "value without a kind": (
        pb.Filter(feature=STOCK, any_of=pb.ValueList(values=[pb.Value()])),
        "filters[0].any_of[0]",
    ),
    "is_true of a number": (is_true(PRICE), "filters[0].is_true"),
    "feature that is not filterable": (is_present("goods:margin"), "filters[0].feature"),
    "feature of the user": (is_present("taste:age"), "filters[0].feature"),
    "unknown feature": (is_present("nope"), "filters[0].feature"),
}


async def refused(shop: Shop, code: grpc.StatusCode = INVALID, placement: str = "home", **fields: Any) -> Refusal:  # noqa: ANN401  # of the request
    """Return how a request is refused."""
    refusal = await shop.refused(placement, **fields)
    assert refusal.code is code, refusal.text
    return refusal


@pytest.mark.parametrize(("wanted", "path"), WRONG.values(), ids=list(WRONG))
async def test_a_wrong_filter_is_refused_by_its_path(shop: Shop, wanted: pb.Filter, path: str) -> None:
    """A filter that is not right is INVALID_ARGUMENT with the path of what is wrong, never ignored."""
    refusal = await refused(shop, filters=[wanted])
    assert list(refusal.wrong) == [path]
    assert refusal.reason == "INVALID_REQUEST"


async def test_all_wrong_filters_are_named(shop: Shop) -> None:
    """One refusal names what is wrong with each filter, and what else is wrong with the request."""
    filters = [
        pb.Filter(feature=CATEGORY),
        is_present("goods:margin"),
        any_of(PRICE, math.nan, 1.0, "x"),
        is_present(PRICE),
        between(PRICE, pb.RangeEnd(), end("x")),  # type: ignore[arg-type]  # wrong on purpose
        pb.Filter(feature="nope"),
    ]
    refusal = await refused(
        shop,
        filters=filters,
        user_id="x",
        features=["goods:price", "goods:nope"],
        context={"nope": pb.Value(int64_value=1)},
        exclude_item_ids=["ok", ""],
        seed_item_ids=["", "ok"],
        explain=9,
        randomization_unit="u" * 513,
        max_staleness=Duration(seconds=-1),
    )
    assert set(refusal.wrong) == {
        "filters[0]",
        "filters[1].feature",
        "filters[2].any_of[0]",
        "filters[2].any_of[2]",
        "filters[4].range.min",
        "filters[4].range.max",
        "filters[5]",
        "filters[5].feature",
        "user_id",
        "features[1]",
        "context['nope']",
        "exclude_item_ids[1]",
        "seed_item_ids[0]",
        "explain",
        "randomization_unit",
        "max_staleness",
    }


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"filters": [is_present(PRICE)] * 33}, "filters"),
        ({"filters": [any_of(STOCK, *range(1_001))]}, "filters[0].any_of"),
        ({"exclude_item_ids": ["x"] * 10_001}, "exclude_item_ids"),
        ({"seed_item_ids": ["x"] * 101}, "seed_item_ids"),
        ({"limit": 501}, "limit"),
        ({"limit": 501, "features": [PRICE]}, "limit"),
        ({"limit": 2**32 - 1, "features": [PRICE]}, "limit"),
        ({"features": [PRICE] * 501}, "features"),
    ],
)
async def test_bounds_are_refused_as_limits(shop: Shop, fields: dict[str, Any], path: str) -> None:
    """What is over a bound is refused with the bound and what was asked, under the field concerned."""
    refusal = await refused(shop, **fields)
    assert list(refusal.wrong) == [path]
    assert refusal.reason == "LIMIT_EXCEEDED"
    assert int(refusal.metadata["actual"]) > int(refusal.metadata["allowed"])


async def test_a_bound_that_is_passed_does_not_hide_other_mistakes(shop: Shop) -> None:
    """Where bounds are passed and other things are wrong, all is named."""
    fields: dict[str, Any] = {"limit": 501, "exclude_item_ids": ["x"] * 10_001, "seed_item_ids": ["x"] * 101}
    over = await refused(shop, **fields, filters=[is_present(PRICE)] * 33)
    assert set(over.wrong) == {"limit", "exclude_item_ids", "seed_item_ids", "filters"}
    assert over.reason == "LIMIT_EXCEEDED"
    mixed = await refused(shop, **fields, filters=[is_present("nope")] * 33, user_id="x")
    assert {"limit", "exclude_item_ids", "seed_item_ids", "filters", "filters[0].feature", "user_id"} <= set(
        mixed.wrong
    )
    assert mixed.reason == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("placement", "fields", "path"),
    [
        ("nope", {}, "placement"),
        ("", {}, "placement"),
        ("home", {"features": ["nope:x"]}, "features[0]"),
        ("home", {"feature_service": "nope"}, "feature_service"),
    ],
)
async def test_unknown_names_are_not_found(shop: Shop, placement: str, fields: dict[str, Any], path: str) -> None:
    """An unknown placement, feature or service is NOT_FOUND under its field."""
    refusal = await refused(shop, NOT_FOUND, placement, **fields)
    assert list(refusal.wrong) == [path]
    assert refusal.unknown == {path}


@pytest.mark.parametrize(
    ("placement", "fields", "path"),
    [
        ("plain", {"user_id": "1"}, "user_id"),
        ("home", {"features": [PRICE], "feature_service": "page"}, "feature_service"),
        ("home", {"features": ["taste:age"]}, "features"),
        ("home", {"features": ["met:count"]}, "features"),
        ("hourly", {}, "context['hour']"),
        ("hourly", {"context": {"hour": pb.Value(string_value="x")}}, "context['hour']"),
        ("home", {"features": ["request:hour"]}, "context['hour']"),
        ("home", {"context": {"minute": pb.Value(int64_value=1)}}, "context['minute']"),
        ("unsure", {"user_id": "1"}, "context['hour']"),
        ("tested", {"experiment_overrides": {"nope": "cheap"}}, "experiment_overrides['nope']"),
        ("tested", {"experiment_overrides": {"ranking_test": "nope"}}, "experiment_overrides['ranking_test']"),
        ("home", {"page_token": "nope"}, "page_token"),
    ],
)
async def test_what_does_not_go_together_is_refused(
    shop: Shop, placement: str, fields: dict[str, Any], path: str
) -> None:
    """Users where there are none, features of nobody, missing context, unknown variants: refused under the field."""
    refusal = await refused(shop, INVALID, placement, **fields)
    assert list(refusal.wrong) == [path]


async def test_a_variant_that_needs_context_is_served_with_it(shop: Shop) -> None:
    """A placement asks for the context that its variants need, for nobody can know which one answers."""
    reply = await shop.slate("unsure", user_id="1", context={"hour": pb.Value(int64_value=9)})
    assert [(a.experiment, a.variant) for a in reply.assignments] == [("hour_test", "hourly")]
    assert len(reply.items) == 10


async def test_negative_staleness_of_any_part_is_refused(shop: Shop) -> None:
    """No part of max_staleness may be negative; zero may be asked for."""
    for wrong in (Duration(nanos=-1), Duration(seconds=-1)):
        assert list((await refused(shop, max_staleness=wrong)).wrong) == ["max_staleness"]
    assert len((await shop.slate(max_staleness=timedelta(0))).items) == 10
