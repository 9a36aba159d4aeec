"""A request to a plan that was met before is read as it is the first time, and refused for the same reasons."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from recsvc import FLOAT64, INT64, Entity, Feature, FeatureService, FeatureView, Registry, RequestField
from recsvc.errors import RequestError
from recsvc.online.answer import Request
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.plan import ReadPlan
from recsvc.rpc import convert_request
from recsvc.rpc.limits import Limits
from recsvc.rpc.quick_request import RequestReader
from recsvc.telemetry.metrics import Metrics
from recsvc.telemetry.rows import ServedRows
from tests.unit.online.strategies import MANY

USER, ITEM = Entity("user", "user_id", INT64), Entity("item", "item_id", spread=4)
REGISTRY = Registry(
    views=[
        FeatureView("profile", [USER], [Feature("age", INT64)]),
        FeatureView("film", [ITEM], [Feature("year", INT64)]),
        FeatureView("rated", [USER, ITEM], [Feature("rating", FLOAT64)]),
    ],
    services=[FeatureService("ranking", ["profile", "film", "rated"])],
    request=[RequestField("now", INT64)],
)
SERVED = {key: ServedRows(Metrics(), view.label, view.freshness) for key, view in REGISTRY.views.items()}
LIMITS = Limits(rows=4, features=3, cells=9, reply_bytes=10_000, id_bytes=16)
SELECTIONS = [
    ("profile",),
    ("film:year",),
    ("rated",),
    ("profile", "film", "rated"),
    ("request:now",),
    ("no:such",),
    (),
]
IDS = ["1", "2", "-7", "07", "", "0", "i1", "x" * 20, "é", "9" * 19]
STALENESS = st.sampled_from([None, Duration(), Duration(seconds=2, nanos=500_000_000), Duration(seconds=-1)])

Read = tuple[ReadPlan, Request]


def told(read: Read | RequestError) -> object:
    """Return what a request was read as, or all that is wrong with it."""
    if isinstance(read, RequestError):
        return type(read), read.violations, read.metadata
    plan, request = read
    ids = {key: list(values) for key, values in request.ids.items()}
    return id(plan), request.rows, ids, list(request.context), request.max_staleness_s


def long_row(message: pb.GetFeaturesRequest) -> Read | RequestError:
    """Read a request as convert_request does."""
    try:
        return convert_request.single(message, REGISTRY, LIMITS)
    except RequestError as error:
        return error


def long_batch(message: pb.GetFeaturesBatchRequest) -> Read | RequestError:
    """Read a request as convert_request does."""
    try:
        return convert_request.batch(message, REGISTRY, LIMITS)
    except RequestError as error:
        return error


@st.composite
def rows(draw: st.DrawFn) -> pb.GetFeaturesRequest:
    """Draw a request for one row, right or wrong."""
    keys = draw(st.sets(st.sampled_from(["user_id", "user_id", "item_id", "other_id"])))
    message = pb.GetFeaturesRequest(
        entities={key: draw(st.sampled_from(IDS)) for key in sorted(keys)},
        features=draw(st.sampled_from(SELECTIONS)),
        feature_service=draw(st.sampled_from(["", "", "ranking", "none"])),
        max_staleness=draw(STALENESS),
        include_event_times=draw(st.booleans()),
    )
    if draw(st.booleans()):
        message.context["now"].int64_value = 1
    return message


@st.composite
def batches(draw: st.DrawFn) -> pb.GetFeaturesBatchRequest:
    """Draw a request for many rows, right or wrong."""
    message = pb.GetFeaturesBatchRequest(
        features=draw(st.sampled_from(SELECTIONS)),
        feature_service=draw(st.sampled_from(["", "", "ranking"])),
        max_staleness=draw(STALENESS),
        include_event_times=draw(st.booleans()),
    )
    for key in draw(st.sets(st.sampled_from(["user_id", "item_id", "other_id"]))):
        n = draw(st.integers(0, 5))
        if draw(st.booleans()):
            message.entities[key].strings.values.extend(draw(st.lists(st.sampled_from(IDS), min_size=n, max_size=n)))
        elif draw(st.booleans()):
            message.entities[key].int64s.values.extend(range(n))
        else:
            message.entities[key].SetInParent()
    return message


@given(st.lists(rows(), min_size=1, max_size=12))
@MANY
def test_rows_are_read_alike(messages: list[pb.GetFeaturesRequest]) -> None:
    """Whatever was asked before, and asked again, a request means the same, or is wrong for the same reasons."""
    reader = RequestReader(REGISTRY, LIMITS, SERVED)
    for message in [*messages, *messages]:
        found: Read | RequestError
        try:
            prepared, request = reader.row(message)
            found = prepared.plan, request
        except RequestError as error:
            found = error
        assert told(found) == told(long_row(message))


@given(st.lists(batches(), min_size=1, max_size=12))
@MANY
def test_batches_are_read_alike(messages: list[pb.GetFeaturesBatchRequest]) -> None:
    """Whatever was asked before, and asked again, a request means the same, or is wrong for the same reasons."""
    reader = RequestReader(REGISTRY, LIMITS, SERVED)
    for message in [*messages, *messages]:
        found: Read | RequestError
        try:
            prepared, request = reader.batch(message)
            found = prepared.plan, request
        except RequestError as error:
            found = error
        assert told(found) == told(long_batch(message))


def test_a_plan_is_prepared_once() -> None:
    """Calls for the same features share what was worked out for them, in one row and in many."""
    reader = RequestReader(REGISTRY, LIMITS, SERVED)
    one, _ = reader.row(pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile"]))
    many = pb.GetFeaturesBatchRequest(features=["profile"])
    many.entities["user_id"].strings.values.extend(["1", "2"])
    assert reader.batch(many)[0] is one
    assert reader.row(pb.GetFeaturesRequest(entities={"user_id": "2"}, features=["profile"]))[0] is one


@pytest.mark.parametrize(("given", "seconds"), [(None, None), (Duration(), 0.0), (Duration(nanos=250_000_000), 0.25)])
def test_staleness_is_in_seconds(given: Duration | None, seconds: float | None) -> None:
    """What a call does not say is None, which is not 0: that reads the store."""
    reader = RequestReader(REGISTRY, LIMITS, SERVED)
    message = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile"], max_staleness=given)
    assert [reader.row(message)[1].max_staleness_s for _ in range(2)] == [seconds, seconds]


def test_as_many_plans_are_kept_as_the_registry_keeps() -> None:
    """Lists of references are the callers' to choose, so what is kept for them is bounded."""
    reader = RequestReader(REGISTRY, Limits(rows=4, features=2_000, cells=2_000, reply_bytes=1_000_000), SERVED)
    for n in range(1, 300):
        reader.row(pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile:age"] * n))
    assert "256 plans" in repr(reader)
