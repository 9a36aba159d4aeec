"""Requests that cannot be answered: the code, and every wrong name and limit as google.rpc details."""

from __future__ import annotations

from typing import Final

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from recsvc.pb import serving_pb2 as pb
from tests.rpc.calling import Refusal, int64s, strings
from tests.rpc.serving import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND: Final = grpc.StatusCode.NOT_FOUND
MAX_TRAILERS: Final = 8_192


async def refused(served: Served, request: Message, code: grpc.StatusCode = INVALID) -> Refusal:
    """Return how a request is refused, having seen that its trailers fit and its text says the first mistake."""
    refusal = await served.caller.refused(request)
    assert refusal.code is code, refusal.text
    assert refusal.trailer_bytes < MAX_TRAILERS
    assert refusal.text
    return refusal


def both(references: list[str], entities: dict[str, str], service: str = "") -> list[Message]:
    """Return a request for one row, and one for a batch of one row, that ask the same."""
    columns = {key: strings(text) for key, text in entities.items()}
    return [
        pb.GetFeaturesRequest(entities=entities, features=references, feature_service=service),
        pb.GetFeaturesBatchRequest(entities=columns, features=references, feature_service=service),
    ]


async def test_unknown_names_are_not_found_and_all_listed(served: Served) -> None:
    """Unknown views and features are NOT_FOUND, each in a violation of its own, with its place in the request."""
    wrong = ["nope:x", "profile:nope", "nope", "film@v3:year", "film@v3", "request:nope", "live:nope", "film@v2:title"]
    for request in both(["profile:age", *wrong], {"user_id": "1", "item_id": "x"}):
        refusal = await refused(served, request, NOT_FOUND)
        assert refusal.reason == "UNKNOWN_NAME"
        assert list(refusal.wrong) == [f"features[{i + 1}]" for i in range(len(wrong))]
        assert all(repr(name) in text for name, text in zip(wrong, refusal.wrong.values(), strict=True))
        assert refusal.unknown == set(refusal.wrong)


async def test_an_unknown_service_is_not_found(served: Served) -> None:
    """An unknown feature service is NOT_FOUND under its field."""
    for request in both([], {"user_id": "1"}, "nope"):
        refusal = await refused(served, request, NOT_FOUND)
        assert refusal.reason == "UNKNOWN_NAME"
        assert refusal.wrong == {"feature_service": "'nope' is not a feature service"}


@pytest.mark.parametrize(
    "text", ["", " ", "Profile:age", "profile:", ":age", "profile@2:age", "profile@v0", "a:b:c", "ä"]
)
async def test_what_is_no_reference_is_invalid(served: Served, text: str) -> None:
    """A reference of another form is INVALID_ARGUMENT and told the form, beside names that are only unknown."""
    for request in both([text, "nope"], {"user_id": "1"}):
        refusal = await refused(served, request)
        assert refusal.reason == "INVALID_REQUEST"
        assert list(refusal.wrong) == ["features[0]", "features[1]"]
        assert "view:feature" in refusal.wrong["features[0]"]
        assert refusal.unknown == {"features[1]"}


async def test_exactly_one_selection_is_needed(served: Served) -> None:
    """Both a service and references, or neither, is INVALID_ARGUMENT."""
    for references, service in ((["profile:age"], "ranking"), ([], "")):
        for request in both(references, {"user_id": "1"}, service):
            refusal = await refused(served, request)
            assert list(refusal.wrong) == ["feature_service"]


async def test_unknown_and_missing_keys_are_told_together(served: Served) -> None:
    """Unknown join keys and context fields, and those that are needed and missing, are all told at once."""
    single = pb.GetFeaturesRequest(
        entities={"user": "1", "film_id": "x"},
        features=["profile:age", "live:pair", "live:age_plus"],
        context={"ofset": pb.Value(int64_value=1)},
    )
    batch = pb.GetFeaturesBatchRequest(
        entities={"user": strings("1"), "film_id": strings("x")},
        features=["profile:age", "live:pair", "live:age_plus"],
        context={"ofset": pb.ColumnValues(int64s=pb.Int64Column(values=[1]))},
    )
    for request in (single, batch):
        refusal = await refused(served, request)
        places = ["entities['film_id']", "entities['user']", "entities['item_id']", "entities['user_id']"]
        assert list(refusal.wrong) == [*places, "context['ofset']", "context['offset']"]
        assert "there is item_id, user_id" in refusal.wrong["entities['user']"]
        assert "missing" in refusal.wrong["entities['user_id']"]
        assert "there is at, embedding, fault" in refusal.wrong["context['ofset']"]


async def test_wrong_names_of_all_kinds_are_told_together(served: Served) -> None:
    """A wrong reference does not hide a wrong join key, a wrong context field or a wrong staleness."""
    request = pb.GetFeaturesRequest(
        entities={"user": "1"},
        features=["profile:agex"],
        context={"ofset": pb.Value()},
        max_staleness=Duration(seconds=-1),
    )
    refusal = await refused(served, request)
    assert list(refusal.wrong) == ["features[0]", "max_staleness", "entities['user']", "context['ofset']"]


@pytest.mark.parametrize(
    "wrong", ["", "x", "01", "+1", "1.0", "-0", " 1", "1 ", "\u0661", str(2**63), "-" + "9" * 19, "1e3"]
)
async def test_what_is_no_integer_id_is_invalid(served: Served, wrong: str) -> None:
    """An INT64 id is canonical decimal of 64 bits; nothing else is."""
    for request in both(["profile:age"], {"user_id": wrong}):
        refusal = await refused(served, request)
        assert refusal.reason == "INVALID_REQUEST"
        assert "canonical decimal" in refusal.wrong["entities['user_id']"]


@pytest.mark.parametrize(("wrong", "words"), [("", "empty"), ("x" * 513, "513 bytes"), ("é" * 257, "514 bytes")])
async def test_what_is_no_text_id_is_invalid(served: Served, wrong: str, words: str) -> None:
    """A STRING id has 1 to 512 bytes of UTF-8, and what is said of a longer one has both numbers."""
    for request in both(["film:year"], {"item_id": wrong}):
        refusal = await refused(served, request)
        assert words in refusal.wrong["entities['item_id']"]


async def test_every_wrong_id_is_told_with_its_row(served: Served) -> None:
    """In a column each id that is not one is told by its index."""
    request = pb.GetFeaturesBatchRequest(entities={"user_id": strings("1", "x", "2", "01")}, features=["profile:age"])
    refusal = await refused(served, request)
    assert list(refusal.wrong) == ["entities['user_id'][1]", "entities['user_id'][3]"]


async def test_a_key_column_needs_ids(served: Served) -> None:
    """A column with neither strings nor int64s is INVALID_ARGUMENT, and nothing else is said of it."""
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": pb.KeyColumn(), "item_id": strings("a", "b")}, features=["profile:age", "film:year"]
    )
    refusal = await refused(served, request)
    assert refusal.wrong == {"entities['user_id']": "has neither strings nor int64s set"}


async def test_column_lengths_must_fit(served: Served) -> None:
    """Columns of ids and of context have one length, or 1; all that differ are told, each with its own."""
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": int64s(1, 2), "item_id": strings("a", "b", "c")},
        features=["profile:age", "film:year", "live:age_plus"],
        context={"offset": pb.ColumnValues(int64s=pb.Int64Column(values=[1, 2, 3, 4]))},
    )
    refusal = await refused(served, request)
    assert sorted(refusal.wrong) == ["context['offset']", "entities['item_id']", "entities['user_id']"]
    told = set(refusal.wrong.values())
    expected = "entities['item_id'] has 3, entities['user_id'] has 2, context['offset'] has 4"
    assert sorted(told.pop().removeprefix("column lengths must be equal, or 1: ").split(", ")) == sorted(
        expected.split(", ")
    )
    assert not told


async def test_an_empty_column_fits_no_longer_one(served: Served) -> None:
    """0 rows beside 2 rows is a mistake, not 0 rows."""
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": pb.KeyColumn(int64s=pb.Int64Ids()), "item_id": strings("a", "b")},
        features=["profile:age", "film:year"],
    )
    assert len((await refused(served, request)).wrong) == 2


@pytest.mark.parametrize("staleness", [Duration(seconds=-1), Duration(nanos=-1)])
async def test_max_staleness_must_not_be_negative(served: Served, staleness: Duration) -> None:
    """A negative max_staleness is INVALID_ARGUMENT."""
    for request in (
        pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile:age"], max_staleness=staleness),
        pb.GetFeaturesBatchRequest(
            entities={"user_id": strings("1")}, features=["profile:age"], max_staleness=staleness
        ),
    ):
        assert (await refused(served, request)).wrong == {"max_staleness": "must not be negative"}


async def test_hundreds_of_wrong_names_fit_the_trailers(served: Served) -> None:
    """Of too many wrong names the first are listed, and the last violation says how many more there are."""
    for references in ([f"profile:nope_{i}" for i in range(500)], [f"profile:{'é' * 200}{i}" for i in range(500)]):
        for request in both(references, {"user_id": "1"}):
            refusal = await served.caller.refused(request)
            assert refusal.trailer_bytes < MAX_TRAILERS
            *listed, last = refusal.wrong
            assert listed == [f"features[{i}]" for i in range(len(listed))]
            assert len(listed) >= 10
            assert (last, refusal.wrong[last]) == ("...", f"{500 - len(listed)} more")


async def test_thousands_of_unknown_keys_are_counted(served: Served) -> None:
    """A map with a hundred thousand unknown names is refused with their number, in little time and few bytes."""
    request = pb.GetFeaturesRequest(features=["profile:age"], entities={f"k{i}": "" for i in range(60_000)})
    refusal = await refused(served, request)
    assert refusal.wrong["entities"] == "has 60000 unknown names; there is item_id, user_id"


@pytest.mark.parametrize("sign", ["a", "é", "\U0001f600", "\u0000", "%"])
async def test_long_names_of_any_text_fit_the_trailers(served: Served, sign: str) -> None:
    """However long and strange a wrong name is, its refusal fits, and each is told."""
    long = sign * 10_000
    single = pb.GetFeaturesRequest(
        entities={long: "1", "user_id": long, "item_id": long},
        features=[long, f"profile:{long}", "film:year", "profile:age"],
        context={long: pb.Value()},
    )
    refusal = await refused(served, single)
    assert {"features[0]", "features[1]"} <= set(refusal.wrong)
    right = pb.GetFeaturesRequest(entities={"user_id": long, "item_id": long}, features=["film:year", "profile:age"])
    assert set((await refused(served, right)).wrong) == {"entities['user_id']", "entities['item_id']"}
    service = pb.GetFeaturesRequest(feature_service=long)
    assert "feature_service" in (await refused(served, service, NOT_FOUND)).wrong


async def test_an_unknown_method_is_unimplemented(served: Served) -> None:
    """A method that the service does not have is UNIMPLEMENTED."""
    refusal = await served.caller.refused_raw("/recsvc.v1.ServingService/Nope", b"")
    assert refusal.code is grpc.StatusCode.UNIMPLEMENTED
