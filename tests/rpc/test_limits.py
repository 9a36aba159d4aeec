"""The limits of one call, each by itself: at the limit there is an answer, past it both numbers are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import grpc
import pytest
from google.protobuf.message import Message

from recsvc.app import running
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.registry import Registry
from recsvc.rpc.limits import Limits
from tests.rpc.calling import Caller, Refusal, int64s, strings
from tests.rpc.definitions import MANY, bulky, registry, wide
from tests.rpc.serving import SPEC, Served, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

GENEROUS: Final = {"max_rows": 10**6, "max_features": 10**6, "max_cells": 10**9, "max_reply_bytes": 10**9}
PROFILE: Final = "profile:age"


def users(n: int, *references: str) -> pb.GetFeaturesBatchRequest:
    """Ask for the same features of n users."""
    return pb.GetFeaturesBatchRequest(entities={"user_id": int64s(*range(n))}, features=references or [PROFILE])


def wide_views(n: int) -> list[str]:
    """Name n views of many features each."""
    return [view.name for view in wide[:n]]


def told(refusal: Refusal) -> tuple[str, int, int]:
    """Return which limit a refusal names, the actual value, and what is allowed."""
    metadata = refusal.metadata
    return metadata["limit"], int(metadata["actual"]), int(metadata["allowed"])


async def answers(served: Served, limits: Mapping[str, int], request: Message) -> None:
    """Ask a server that has these limits."""
    async with running(settings(served.app._settings.redis, **limits), SPEC) as app, Caller(app.address) as caller:
        if isinstance(request, pb.GetFeaturesBatchRequest):
            await caller.many(request)
        elif isinstance(request, pb.GetFeaturesRequest):
            await caller.one(request)


async def refusal_of(served: Served, limits: Mapping[str, int], request: Message) -> Refusal:
    """Ask a server that has these limits, and return how it refuses."""
    async with running(settings(served.app._settings.redis, **limits), SPEC) as app, Caller(app.address) as caller:
        refusal = await caller.refused(request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED")
    assert refusal.trailer_bytes < 8_192
    return refusal


async def refuses(served: Served, limits: Mapping[str, int], request: Message) -> Refusal:
    """Return how a call that is over one limit is refused: its text has both numbers."""
    refusal = await refusal_of(served, limits, request)
    assert str(told(refusal)[1]) in refusal.text
    assert str(told(refusal)[2]) in refusal.text
    return refusal


@pytest.mark.parametrize(
    ("limit", "at", "past"),
    [
        ("rows", users(7), users(8)),
        ("features", users(1, *["profile:age"] * 7), users(1, *["profile:age"] * 8)),
        ("cells", users(7), users(4, "profile:age", "profile:score")),
        ("store_keys", users(7), users(4, "profile:age", "clicks:today")),
    ],
    ids=["rows", "features", "cells", "store_keys"],
)
async def test_each_limit_holds_by_itself(served: Served, limit: str, at: Message, past: Message) -> None:
    """With one limit at 7 and the others far away, 7 are answered and 8 refused under that limit's name."""
    limits = {**GENEROUS, f"max_{limit}": 7}
    await answers(served, limits, at)
    assert told(await refuses(served, limits, past)) == (limit, 8, 7)


async def test_the_reply_limit_is_worked_out_beforehand(served: Served) -> None:
    """An answer that could be too large is refused from its types, although no row is there."""
    request = pb.GetFeaturesBatchRequest(entities={"item_id": strings(*map(str, range(10)))}, features=["bulky"])
    limit, actual, allowed = told(await refuses(served, {**GENEROUS, "max_reply_bytes": 500_000}, request))
    assert (limit, allowed) == ("reply_bytes", 500_000)
    assert 600_000 < actual < 601_000
    await answers(served, {**GENEROUS, "max_reply_bytes": actual}, request)


async def test_event_times_count_as_reply(served: Served) -> None:
    """Event times, 8 bytes per row and view, are part of the answer that is worked out."""
    request = users(1_000, *(f"{name}:f0" for name in wide_views(12)))
    plain = told(await refuses(served, {**GENEROUS, "max_reply_bytes": 1}, request))[1]
    request.include_event_times = True
    assert told(await refuses(served, {**GENEROUS, "max_reply_bytes": 1}, request))[1] == plain + 12 * 1_000 * 8


async def test_the_largest_answer_fits_what_was_worked_out(served: Served) -> None:
    """Rows as full as their types allow, with all that can be asked for, take no more than the limit says."""
    served.rows.put(bulky, ["full"], {"text": "x" * 60_000})
    request = pb.GetFeaturesBatchRequest(
        entities={"item_id": strings(*["full"] * 20)}, features=["bulky:text"], include_event_times=True
    )
    actual = told(await refuses(served, {**GENEROUS, "max_reply_bytes": 1}, request))[1]
    data = (await served.caller.many(request)).SerializeToString()
    assert 0.99 * actual < len(data) <= actual


async def test_broadcast_values_count_once(served: Served) -> None:
    """A feature of broadcast keys is one cell, however many rows there are."""
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": int64s(1), "item_id": strings(*map(str, range(100)))},
        features=["profile:age", "profile:score", "rated:rating"],
    )
    assert told(await refuses(served, {**GENEROUS, "max_cells": 101}, request)) == ("cells", 102, 101)
    await answers(served, {**GENEROUS, "max_cells": 102}, request)


async def test_the_same_row_is_one_key(served: Served) -> None:
    """Rows of the store count once per call, however often their id stands there."""
    request = pb.GetFeaturesBatchRequest(entities={"user_id": int64s(*[1] * 100)}, features=["profile:age"])
    await answers(served, {**GENEROUS, "max_store_keys": 1}, request)


async def test_several_limits_are_told_together(served: Served) -> None:
    """A call that is over several limits is told all of them, in the same order in each list."""
    limits = {"max_rows": 2, "max_features": 100, "max_cells": 3, "max_reply_bytes": 4}
    refusal = await refusal_of(served, limits, users(5))
    assert refusal.metadata["limit"] == "rows,cells,reply_bytes"
    assert refusal.metadata["allowed"] == "2,3,4"
    assert refusal.metadata["actual"].startswith("5,5,")
    assert list(refusal.wrong) == ["entities", "features"]


async def test_the_defaults_are_those_promised(served: Served) -> None:
    """1,000 rows, 500 features, 100,000 cells, 5,000 keys and 4,000,000 bytes: one more is refused."""
    found = {
        told(await served.caller.refused(request))
        for request in (
            users(1_001),
            users(1, *["profile:age"] * 501),
            users(1_000, *[f"wide_0:f{i}" for i in range(60)], *[f"wide_1:f{i}" for i in range(41)]),
            users(1_000, *(f"{name}:f0" for name in wide_views(5)), PROFILE),
        )
    }
    assert found == {
        ("rows", 1_001, 1_000),
        ("features", 501, 500),
        ("cells", 101_000, 100_000),
        ("store_keys", 6_000, 5_000),
    }
    request = pb.GetFeaturesBatchRequest(entities={"item_id": strings(*map(str, range(67)))}, features=["bulky"])
    limit, actual, allowed = told(await served.caller.refused(request))
    assert (limit, allowed, actual > 4_000_000) == ("reply_bytes", 4_000_000, True)


async def test_the_longest_id_can_be_set(served: Served) -> None:
    """With ids of at most 4 bytes, one of 4 is answered and one of 5 is refused as no id."""
    limits = {**GENEROUS, "max_id_bytes": 4}
    await answers(served, limits, pb.GetFeaturesRequest(entities={"item_id": "abcd"}, features=["bulky"]))
    async with running(settings(served.app._settings.redis, **limits), SPEC) as app, Caller(app.address) as caller:
        one = await caller.refused(pb.GetFeaturesRequest(entities={"item_id": "abcde"}, features=["bulky"]))
        many = pb.GetFeaturesBatchRequest(entities={"item_id": strings("ab", "abcde")}, features=["bulky"])
        assert "has 5 bytes, an id has at most 4" in one.text
        assert "has 5 bytes, an id has at most 4" in (await caller.refused(many)).text


async def test_whole_views_are_counted_before_they_are_planned(served: Served) -> None:
    """Hundreds of whole views are refused from their number of features, without a plan of all of them."""
    references = ["wide_0"] * 400
    refusal = await served.caller.refused(pb.GetFeaturesRequest(entities={"user_id": "1"}, features=references))
    assert told(refusal) == ("features", 400 * MANY, 500)
    assert tuple(references) not in plans(served.app.registry)


def plans(registry: Registry) -> Any:  # noqa: ANN401  # a cache of cachetools
    """Return the plans that a registry keeps."""
    return registry._plans


async def test_columns_over_the_limit_are_not_looked_at(served: Served) -> None:
    """Of a column that is too long the length alone is told, not each of its ids."""
    request = pb.GetFeaturesBatchRequest(entities={"user_id": strings(*["x"] * 100_000)}, features=["profile:age"])
    assert told(await served.caller.refused(request)) == ("rows", 100_000, 1_000)
    context = {"words": pb.ColumnValues(string_lists=pb.StringListColumn(lengths=[0] * 100_000))}
    request = pb.GetFeaturesBatchRequest(context=context, features=["request:words"])
    assert told(await served.caller.refused(request)) == ("rows", 100_000, 1_000)


async def test_a_request_may_have_only_so_many_bytes(served: Served) -> None:
    """A request over its size limit is RESOURCE_EXHAUSTED, and the server goes on."""
    refusal = await served.caller.refused(users(140_000))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await served.caller.many(users(1))


async def test_limits_are_checked_without_a_call() -> None:
    """A plan within all limits passes, whatever varies by row."""
    plan = registry.service_plan("ranking")
    Limits(rows=5, features=5, cells=25, reply_bytes=10_000).check(
        plan, 5, frozenset({"user_id", "item_id"}), event_times=True
    )
