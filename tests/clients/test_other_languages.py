"""Clients of other makes read what recsvc.client reads: every value, status and source of a ranking call.

The request is the one that recsvc.client sends, as JSON; Node reads the .proto files, grpcurl only reflection.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from numpy.testing import assert_equal

from recsvc.client import Client, Column, ContextValue, FeatureBatch, FeatureRow, FeatureValue, Ids, Status
from recsvc.client.requests import Selection, batch_request, row_request
from recsvc.pb import serving_pb2
from tests.clients.grpcurl import Grpcurl
from tests.clients.node import NodeClient

pytestmark = pytest.mark.timeout(600)  # building grpcurl takes half a minute of an idle machine

NOW: Final = datetime.now(UTC)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
RANKING: Final = Selection(service="ranking", features=(), max_staleness=timedelta(0), event_times=True)
"""The demo's service that reads user, film and pair; from the store, so that every client is told the same."""
LISTS: Final = frozenset({"vector_value", "int64_list_value", "string_list_value"})
ASKED: Final[dict[str, Any]] = {"service": "ranking", "max_staleness": timedelta(0), "event_times": True}
"""The same, as the client's methods take it."""
FILMS: Final = 500
WAIT: Final = 20.0
"""Deadline in seconds of the Python client's calls."""
Reply: TypeAlias = serving_pb2.GetFeaturesResponse | serving_pb2.GetFeaturesBatchResponse


class DemoServer(Protocol):
    """A running recsvc with the demo's definitions and data."""

    address: str
    user_ids: Sequence[int]
    item_ids: Sequence[int]


class ForeignClient(Protocol):
    """A client of another make."""

    def call(self, address: str, method: str, request: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
        """Return the reply as JSON."""
        ...


@pytest.fixture(scope="module", params=[NodeClient, Grpcurl])
def foreign(request: pytest.FixtureRequest) -> ForeignClient:
    """Each client of another make."""
    client: ForeignClient = request.param.prepared()
    return client


def as_json(request: Message) -> dict[str, Any]:
    """A request as JSON, by the names of the contract."""
    json: dict[str, Any] = MessageToDict(request, preserving_proto_field_name=True)
    return json


def test_one_row(demo_server: DemoServer, foreign: ForeignClient) -> None:
    """A row of user, film and pair has the same values, statuses, sources and times for every client."""
    entities = {"user_id": demo_server.user_ids[0], "item_id": demo_server.item_ids[0]}
    context: dict[str, ContextValue] = {"request_time": NOW, "list_position": 1}
    sent = as_json(row_request(entities, context, RANKING))
    theirs = ParseDict(foreign.call(demo_server.address, "GetFeatures", sent), serving_pb2.GetFeaturesResponse())
    with Client(demo_server.address, timeout=WAIT) as client:
        ours = client.get_features(entities, context=context, **ASKED)
    assert [feature.name for feature in theirs.features] == list(ours.names)
    for feature in theirs.features:
        assert_equal(row_facts(feature), our_row_facts(ours[feature.name]), feature.name)
    assert Status.PRESENT in {feature.status for feature in ours.values()}
    assert_same_origin(theirs, ours)


def test_one_user_and_many_films(demo_server: DemoServer, foreign: ForeignClient) -> None:
    """One call for a user and up to 500 films has the same columns, slot by slot, for every client."""
    films = demo_server.item_ids[:FILMS]
    entities: dict[str, Ids] = {"user_id": demo_server.user_ids[0], "item_id": films}
    context: dict[str, ContextValue] = {"request_time": NOW, "list_position": np.arange(1, len(films) + 1)}
    sent = as_json(public(batch_request(entities, context, RANKING)))
    reply = foreign.call(demo_server.address, "GetFeaturesBatch", sent)
    theirs = ParseDict(reply, serving_pb2.GetFeaturesBatchResponse())
    with Client(demo_server.address, timeout=WAIT) as client:
        ours = client.get_features_batch(entities, context=context, **ASKED)
    assert (theirs.row_count, ours.rows) == (len(films), len(films))
    assert [column.name for column in theirs.columns] == list(ours.names)
    for column in theirs.columns:
        assert_equal(column_facts(column), our_column_facts(ours[column.name]), column.name)
    assert {1, len(films)} == {len(column) for column in ours.values()}, "broadcast and full columns both"
    assert_same_origin(theirs, ours)


def test_reflection_shows_what_is_served(demo_server: DemoServer) -> None:
    """Reflection lists the contract's service and the standard ones, and the health service says SERVING."""
    grpcurl = Grpcurl.prepared()
    listed = set(grpcurl.services(demo_server.address))
    assert {"recsvc.v1.ServingService", "grpc.health.v1.Health"} <= listed
    assert any(name.startswith("grpc.reflection.") for name in listed)
    health = grpcurl.call(demo_server.address, "Check", {}, "grpc.health.v1.Health")
    assert health == {"status": "SERVING"}


def public(request: Message) -> serving_pb2.GetFeaturesBatchRequest:
    """The request that a twin stands for."""
    return serving_pb2.GetFeaturesBatchRequest.FromString(request.SerializeToString())


def row_facts(feature: serving_pb2.FeatureValue) -> list[object]:
    """Value, status, source and event time, as the contract has them."""
    kind = feature.value.WhichOneof("kind")
    value: Any = getattr(feature.value, kind) if kind else None
    time = feature.event_time_micros if feature.HasField("event_time_micros") else None
    return [list(value.values) if kind in LISTS else value, feature.status, feature.source, time]


def our_row_facts(feature: FeatureValue) -> list[object]:
    """The same of what recsvc.client read."""
    value: object = feature.value
    if isinstance(value, datetime):
        value = (value - EPOCH) // timedelta(microseconds=1)
    plain = list(value) if isinstance(value, tuple) else value
    return [plain, int(feature.status), int(feature.source), feature.event_time_micros]


def column_facts(column: serving_pb2.FeatureColumn) -> list[object]:
    """Slots (fillers too), statuses and sources, as the contract has them."""
    kind = column.values.WhichOneof("kind")
    assert kind is not None
    part = getattr(column.values, kind)
    if kind == "vectors":
        step = part.dimension
        slots = [list(part.values[start : start + step]) for start in range(0, len(part.values), step)]
    elif kind.endswith("lists"):
        slots = [list(part.values[start:end]) for start, end in pairwise(accumulate(part.lengths, initial=0))]
    else:
        slots = list(part.micros if kind == "timestamps" else part.values)
    return [slots, list(column.statuses), list(column.sources)]


def our_column_facts(column: Column) -> list[object]:
    """The same of what recsvc.client read."""
    values = column.values
    slots = values.view(np.int64) if values.dtype.kind == "M" else values
    return [slots.tolist(), column.statuses.tolist(), column.sources.tolist()]


def assert_same_origin(theirs: Reply, ours: FeatureRow | FeatureBatch) -> None:
    """Both name the same definitions, views and event times."""
    assert theirs.registry_fingerprint == ours.registry_fingerprint
    assert [(int(one.reason), one.view) for one in theirs.degraded] == [(one.reason, one.view) for one in ours.degraded]
    served = [(view.view, view.version, view.event_times.view(np.int64).tolist()) for view in ours.views]
    assert [(view.view, view.version, list(view.event_time_micros)) for view in theirs.views] == served
