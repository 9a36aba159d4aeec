"""What a caller wants of a slate becomes a request, or is refused by name; a reply becomes a Slate."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty

from recsvc.client import (
    Assignment,
    AssignmentSource,
    ClientError,
    Degradation,
    DegradationReason,
    Explain,
    Filter,
    RankedBy,
    Reason,
    ReasonCode,
    Slate,
    SlateRule,
    Source,
    Status,
    all_of,
    any_of,
    between,
    is_present,
    is_true,
    none_of,
)
from recsvc.client.slates import Wish, read_slate, slate_request
from recsvc.pb import packed, serving_pb2

TIME = datetime(2026, 1, 1, tzinfo=UTC)
MICROS = round(TIME.timestamp() * 1e6)


def message(given: Filter) -> serving_pb2.Filter:
    """Return a filter as a server reads it."""
    request = slate_request("home", Wish(filters=[given]))
    return serving_pb2.RecommendRequest.FromString(request.SerializeToString()).filters[0]


def refused(placement: Any = "home", **wish: Any) -> list[tuple[str, str]]:  # noqa: ANN401  # whatever a caller may give
    """Return what a wish is refused for: the field and the reason of each."""
    with pytest.raises(ClientError) as caught:
        slate_request(placement, Wish(**wish))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_ARGUMENT")
    return [(v.field, v.description) for v in caught.value.violations]


def test_a_wish_for_nothing_special_asks_for_no_more() -> None:
    """Only the placement goes out, and that no reasons are wanted."""
    right = serving_pb2.RecommendRequest(placement="home", explain=serving_pb2.EXPLAIN_LEVEL_NONE)
    assert slate_request("home", Wish()) == right


def test_every_field_of_a_wish_goes_out() -> None:
    """Ids become text, times microseconds, and each field has its place in the request."""
    wish = Wish(
        user=np.int64(196),
        limit=20,
        context={"hour": 7, "now": TIME},
        filters=[is_true("film:open"), is_present("film:year")],
        exclude=[1, "i2"],
        seeds=np.array([3, 4]).tolist(),
        service="cards",
        features=["film:title", "film:year"],
        explain=Explain.DIAGNOSTICS,
        unit="cookie",
        overrides={"ranker": "trees"},
        page_token="token",
        max_staleness=timedelta(milliseconds=1500),
    )
    right = serving_pb2.RecommendRequest(
        placement="home",
        user_id="196",
        limit=20,
        context={
            "hour": serving_pb2.Value(int64_value=7),
            "now": serving_pb2.Value(timestamp_micros_value=MICROS),
        },
        filters=[
            serving_pb2.Filter(feature="film:open", is_true=Empty()),
            serving_pb2.Filter(feature="film:year", is_present=Empty()),
        ],
        exclude_item_ids=["1", "i2"],
        seed_item_ids=["3", "4"],
        feature_service="cards",
        features=["film:title", "film:year"],
        explain=serving_pb2.EXPLAIN_LEVEL_DIAGNOSTICS,
        randomization_unit="cookie",
        experiment_overrides={"ranker": "trees"},
        page_token="token",
        max_staleness=Duration(seconds=1, nanos=500_000_000),
    )
    assert slate_request("home", wish) == right


def test_a_wish_has_every_field_of_the_request() -> None:
    """A field that the contract gets is one that callers of the client can set."""
    renamed = {"user": "user_id", "exclude": "exclude_item_ids", "seeds": "seed_item_ids", "service": "feature_service"}
    renamed |= {"unit": "randomization_unit", "overrides": "experiment_overrides"}
    ours = {renamed.get(name, name) for name in Wish.__dataclass_fields__}
    assert ours | {"placement"} == set(serving_pb2.RecommendRequest.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("make", [any_of, all_of, none_of])
@pytest.mark.parametrize("values", [["Comedy", "War"], ("Comedy", "War"), np.array(["Comedy", "War"])])
def test_filters_of_values_have_them_all(make: Any, values: Any) -> None:  # noqa: ANN401  # whatever a caller may give
    """Each value goes out by its own type, whatever the list is; a predicate knows its name."""
    sent = message(make("film:genres", values))
    assert (sent.feature, sent.WhichOneof("predicate")) == ("film:genres", make.__name__)
    assert [v.string_value for v in getattr(sent, make.__name__).values] == ["Comedy", "War"]


def test_values_keep_their_types() -> None:
    """An integer, a float, a bool, a text and a time are each what they are; numpy's as Python's."""
    sent = message(any_of("a:b", [1, 1.5, True, "x", TIME, np.int32(2), np.float32(0.5)]))
    kinds = [v.WhichOneof("kind") for v in sent.any_of.values]
    assert [k.removesuffix("_value") for k in kinds if k] == [
        "int64",
        "float64",
        "bool",
        "string",
        "timestamp_micros",
        "int64",
        "float32",
    ]


def test_a_filter_of_no_values_is_sent_as_such() -> None:
    """Whether it makes sense is for the server to say: it must not become a filter without a predicate."""
    assert message(any_of("a:b", [])).WhichOneof("predicate") == "any_of"
    assert message(between("a:b")).WhichOneof("predicate") == "range"


def test_a_range_has_the_ends_that_were_given() -> None:
    """An end that is not given is absent, 0 is an end, and each end says whether it is itself outside."""
    sent = message(between("film:year", 0, 2000, high_out=True)).range
    assert (sent.min.value.int64_value, sent.max.value.int64_value) == (0, 2000)
    assert (sent.min.exclusive, sent.max.exclusive) == (False, True)
    low = message(between("film:out", low=TIME, low_out=True)).range
    assert (low.min.value.timestamp_micros_value, low.min.exclusive, low.HasField("max")) == (MICROS, True, False)
    high = message(between("film:pop", high=0.0)).range
    assert (high.HasField("min"), high.max.value.float64_value) == (False, 0.0)
    assert high.max.value.WhichOneof("kind") == "float64_value"


@pytest.mark.parametrize(
    ("wish", "field", "reason"),
    [
        ({"user": 1.5}, "user", "float is no id; give a str or an int"),
        ({"user": True}, "user", "bool is no id"),
        ({"user": "\ud800"}, "user", "has a lone surrogate"),
        ({"limit": -1}, "limit", "-1 is no number of items"),
        ({"limit": 2**32}, "limit", "4294967296 is no number of items"),
        ({"limit": 2.0}, "limit", "2.0 is no number of items"),
        ({"limit": True}, "limit", "True is no number of items"),
        ({"context": {"hour": None}}, "context['hour']", "NoneType is not one of"),
        ({"filters": [any_of("a:b", [None])]}, "filters[0]", "NoneType is not one of"),  # type: ignore[list-item]  # a user's
        ({"filters": [is_true("a:b"), any_of("a:b", "Comedy")]}, "filters[1]", "any_of has the string 'Comedy'; give"),
        ({"filters": [between("a:b", 2**63)]}, "filters[0]", "9223372036854775808 does not fit"),
        ({"filters": [is_true("\ud800")]}, "filters[0]", "has a lone surrogate"),
        ({"filters": ["film:open"]}, "filters[0]", "str is no filter; make one with any_of"),
        ({"filters": "film:open"}, "filters", "is the string 'film:open'; give a list"),
        ({"exclude": ["a", 0.5]}, "exclude[1]", "float is no id"),
        ({"exclude": "196"}, "exclude", "is the string '196'; give a list"),
        ({"seeds": [None]}, "seeds[0]", "NoneType is no id"),
        ({"seeds": "196"}, "seeds", "is the string '196'; give a list"),
        ({"features": "film:title"}, "features", "is the string 'film:title'; give a list"),
        ({"features": ["film:title", 3]}, "features[1]", "int is no text; give a str"),
        ({"service": "\ud800"}, "service", "has a lone surrogate"),
        ({"unit": 7}, "unit", "int is no text; give a str"),
        ({"overrides": {"ranker": None}}, "overrides['ranker']", "NoneType is no text"),
        ({"page_token": "\udfff"}, "page_token", "has a lone surrogate"),
        ({"placement": None}, "placement", "NoneType is no text"),
    ],
)
def test_what_cannot_be_sent_is_named(wish: dict[str, Any], field: str, reason: str) -> None:
    """The error tells the field, in the words of the caller, and what would be right."""
    ((found, description),) = refused(**wish)
    assert found == field
    assert description.startswith(reason)


def test_all_that_cannot_be_sent_is_named_at_once() -> None:
    """A caller mends everything after one error."""
    found = refused(user=1.5, limit=-1, exclude=[None, 1, None], features=[1], filters=[all_of("a:b", "x")])
    assert [field for field, _ in found] == ["user", "limit", "filters[0]", "exclude[0]", "exclude[2]", "features[0]"]


REPLY = packed.RecommendResponse(
    recommendation_id="id-2",
    session_recommendation_id="id-1",
    items=[
        {
            "item_id": "50",
            "rank": 11,
            "score": 0.5,
            "sources": [{"source": "near", "rank": 3}, {"source": "pop", "rank": 1}],
            "reasons": [{"code": 3, "item_id": "7"}, {"code": 4, "category": "War"}, {"code": 99}],
        },
        {"item_id": "51", "rank": 12, "score": math.nan, "reasons": [{"code": 7}]},
    ],
    columns=[
        {
            "name": "film:year",
            "values": {"int64s": {"values": np.array([1977, 0]).tobytes()}},
            "statuses": bytes([1, 3]),
            "sources": bytes([1, 7]),
        },
        {
            "name": "taste:age",
            "values": {"float64s": {"values": np.array([33.0]).tobytes()}},
            "statuses": bytes([1]),
            "sources": bytes([2]),
        },
    ],
    assignments=[
        {"experiment": "ranker", "variant": "trees", "source": 2},
        {"experiment": "new", "variant": "control", "source": 77},
    ],
    model_version="linear@3",
    ranked_by=2,
    registry_fingerprint="f00d",
    index_versions={"films": "v7"},
    degraded=[{"reason": 8, "source": "near"}, {"reason": 1, "view": "film@v1"}, {"reason": 120}],
    relaxed=bytes([2, 4, 100]),
    next_page_token="token",
    diagnostics={"passed": 3},
)


def test_a_reply_is_read_whole() -> None:
    """Items, sources, reasons, assignments, versions and flags have Python's types and the contract's short names."""
    slate = read_slate(REPLY)
    assert [(item.id, item.rank) for item in slate] == [("50", 11), ("51", 12)]
    assert (slate[0].score, math.isnan(slate[1].score)) == (0.5, True)
    assert (dict(slate[0].sources), dict(slate[1].sources)) == ({"near": 3, "pop": 1}, {})
    assert slate[0].reasons[:2] == (
        Reason(ReasonCode.SIMILAR_TO_RECENT, "7", ""),
        Reason(ReasonCode.POPULAR, "", "War"),
    )
    assert slate[1].reasons == (Reason(ReasonCode.FILLED, "", ""),)
    assert (slate.recommendation_id, slate.session_recommendation_id) == ("id-2", "id-1")
    assert slate.assignments[0] == Assignment("ranker", "trees", AssignmentSource.OVERRIDE)
    assert (slate.model_version, slate.ranked_by) == ("linear@3", RankedBy.RETRIEVAL_ORDER)
    assert (slate.registry_fingerprint, slate.index_versions) == ("f00d", {"films": "v7"})
    assert slate.degraded[:2] == (
        Degradation(DegradationReason.SOURCE_TIMED_OUT, "", "near"),
        Degradation(DegradationReason.STORE_UNAVAILABLE, "film@v1", ""),
    )
    assert slate.relaxed[:2] == (SlateRule.CAPS, SlateRule.DIVERSITY)
    assert slate.next_page_token == "token"
    assert slate.message.diagnostics.passed == 3


def test_what_a_newer_server_says_is_unspecified() -> None:
    """Codes that this client does not know are read, not refused."""
    slate = read_slate(REPLY)
    assert slate[0].reasons[2].code is ReasonCode.UNSPECIFIED
    assert slate.assignments[1].source is AssignmentSource.UNSPECIFIED
    assert slate.degraded[2].reason is DegradationReason.UNSPECIFIED
    assert slate.relaxed[2] is SlateRule.UNSPECIFIED


def test_columns_are_those_of_a_batch() -> None:
    """Features of the items are arrays, one slot per item or one for all."""
    columns = read_slate(REPLY).columns
    assert list(columns) == ["film:year", "taste:age"]
    assert columns["film:year"].values.dtype == np.int64
    assert columns["film:year"].to_list() == [1977, None]
    assert (columns["film:year"].statuses[1], columns["film:year"].sources[1]) == (Status.NOT_FOUND, Source.NONE)
    assert columns["taste:age"].expanded(2).to_list() == [33.0, 33.0]


def test_a_slate_is_a_sequence_that_shows_its_state() -> None:
    """Items by position and slice, their number, and a line for logs; a slate without items is false."""
    slate = read_slate(REPLY)
    assert (len(slate), slate[-1].id, [item.id for item in slate[:1]]) == (2, "51", ["50"])
    assert repr(slate) == "Slate(2 items by RETRIEVAL_ORDER, 3 degraded)"
    empty = read_slate(packed.RecommendResponse())
    assert (len(empty), bool(empty), repr(empty)) == (0, False, "Slate(0 items by UNSPECIFIED, 0 degraded)")
    assert isinstance(empty, Slate)


def test_a_reply_of_the_public_contract_reads_the_same() -> None:
    """What any server writes with the public classes is what the client reads."""
    public = serving_pb2.RecommendResponse.FromString(REPLY.SerializeToString())
    again = read_slate(packed.RecommendResponse.FromString(public.SerializeToString()))
    slate = read_slate(REPLY)
    assert (again.items[0], again.relaxed, again.assignments) == (slate.items[0], slate.relaxed, slate.assignments)
    assert again.columns["film:year"].to_list() == slate.columns["film:year"].to_list()


def test_a_column_that_cannot_be_read_is_told() -> None:
    """Bytes that do not fit their type are the server's mistake, named by the feature."""
    broken = packed.RecommendResponse(columns=[{"name": "film:year", "values": {"int64s": {"values": b"123"}}}])
    with pytest.raises(ClientError, match=r"the reply cannot be read: film:year: ") as caught:
        read_slate(broken)
    assert caught.value.reason == "BAD_REPLY"
