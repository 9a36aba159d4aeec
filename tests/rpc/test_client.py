"""Both clients over a real connection: what arrives at the server, what comes back, what a failed call raises."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.rpc import error_details_pb2, status_pb2

import recsvc
from recsvc.client import (
    AssignmentSource,
    AsyncClient,
    Client,
    ClientError,
    Degradation,
    DegradationReason,
    Explain,
    RankedBy,
    ReasonCode,
    SlateRule,
    Source,
    Status,
    Violation,
    any_of,
)
from recsvc.pb import packed, serving_pb2
from tests.parts.certificates import make_certificates
from tests.rpc.canned import CannedServer, running

WAIT: Final = 20.0
"""Deadline in seconds of calls that are to succeed, also on a busy machine."""
ROW: Final = serving_pb2.GetFeaturesResponse(
    features=[
        serving_pb2.FeatureValue(
            name="profile:age",
            value=serving_pb2.Value(int64_value=33),
            status=serving_pb2.FEATURE_STATUS_PRESENT,
            source=serving_pb2.VALUE_SOURCE_STORE,
            event_time_micros=1_000_000,
        ),
        serving_pb2.FeatureValue(
            name="profile:job",
            status=serving_pb2.FEATURE_STATUS_NULL_VALUE,
            source=serving_pb2.VALUE_SOURCE_CACHE,
        ),
    ],
    degraded=[serving_pb2.Degradation(reason=serving_pb2.DEGRADATION_REASON_CORRUPT_ROW, view="profile@v2")],
    registry_fingerprint="f00d",
    views=[serving_pb2.ServedView(view="profile", version=2)],
).SerializeToString()
BATCH: Final = packed.GetFeaturesBatchResponse(
    row_count=3,
    columns=[
        {
            "name": "film:mean",
            "values": {"float64s": {"values": np.array([1.5, np.nan, 4.0]).tobytes()}},
            "statuses": bytes([1, 3, 1]),
            "sources": bytes([1, 7, 2]),
        },
        {
            "name": "profile:age",
            "values": {"int64s": {"values": np.array([33]).tobytes()}},
            "statuses": bytes([1]),
            "sources": bytes([1]),
        },
    ],
    registry_fingerprint="f00d",
    views=[{"view": "film", "version": 1, "event_time_micros": np.array([5, -(2**63), 7]).tobytes()}],
).SerializeToString()


class Ask(Protocol):
    """Calls a method by its name, whichever client it is, and returns its answer."""

    def __call__(self, method: str, *args: Any, **options: Any) -> Awaitable[Any]:  # noqa: ANN401
        """Call it."""
        ...


@pytest.fixture
async def server() -> AsyncIterator[CannedServer]:
    """A server that answers with bytes given by the test."""
    async with running(CannedServer()) as canned:
        yield canned


def asking(client: Client | AsyncClient) -> Ask:
    """Return the way to call ``client``: the blocking one in a thread, because the server runs in this loop."""
    if isinstance(client, AsyncClient):
        return lambda method, *args, **options: getattr(client, method)(*args, **options)
    return lambda method, *args, **options: asyncio.to_thread(getattr(client, method), *args, **options)


@pytest.fixture(params=[Client, AsyncClient])
async def ask(request: pytest.FixtureRequest, server: CannedServer) -> AsyncIterator[Ask]:
    """Both clients in turn, connected to the server."""
    client = request.param(server.address, timeout=WAIT)
    yield asking(client)
    if isinstance(client, AsyncClient):
        await client.close()
    else:
        client.close()


def with_details(*details: Any) -> tuple[tuple[str, bytes], ...]:  # noqa: ANN401  # messages of google.rpc have no types
    """Return the trailers that carry google.rpc details."""
    status = status_pb2.Status(code=3, message="as told")
    for detail in details:
        status.details.append(any_pb2.Any())
        status.details[-1].Pack(detail)
    return (("grpc-status-details-bin", status.SerializeToString()),)


@pytest.fixture
def silent_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_both_clients_have_the_same_methods() -> None:
    """What one client can do the other can, with the same parameters."""
    for method in ("__init__", "get_features", "get_features_batch", "recommend", "close"):
        assert inspect.signature(getattr(Client, method)) == inspect.signature(getattr(AsyncClient, method))


ENUMS: Final[dict[type[IntEnum], Any]] = {
    Status: serving_pb2.FeatureStatus,
    Source: serving_pb2.ValueSource,
    DegradationReason: serving_pb2.DegradationReason,
    Explain: serving_pb2.ExplainLevel,
    ReasonCode: serving_pb2.ReasonCode,
    RankedBy: serving_pb2.RankedBy,
    SlateRule: serving_pb2.SlateRule,
    AssignmentSource: serving_pb2.AssignmentSource,
}


def test_every_enum_of_the_contract_has_short_names() -> None:
    """An enum that the contract gets is one that callers of the client can name."""
    assert {contract.DESCRIPTOR.name for contract in ENUMS.values()} == set(serving_pb2.DESCRIPTOR.enum_types_by_name)


@pytest.mark.parametrize(("ours", "contract"), ENUMS.items())
def test_short_names_are_those_of_the_contract(ours: type[IntEnum], contract: EnumTypeWrapper) -> None:
    """Each enum has the contract's names (less the prefix) and numbers; a newer number is UNSPECIFIED."""
    names = [name.split("_", 2)[2] for name in contract.keys()]  # noqa: SIM118  # a wrapper, no mapping
    assert {one.name: one.value for one in ours} == dict(zip(names, contract.values(), strict=True))
    assert ours(99) is ours(0)


async def test_a_slate_as_it_was_asked(ask: Ask, server: CannedServer) -> None:
    """Recommend sends the placement and each wish, and reads the slate."""
    reply = packed.RecommendResponse(items=[{"item_id": "50", "rank": 1}], ranked_by=3, next_page_token="more")
    server.replies = [reply.SerializeToString()]
    slate = await ask(
        "recommend", "home", 196, limit=1, filters=[any_of("film:genres", ["War"])], exclude=[7], page_token="page"
    )
    assert server.requests == [
        serving_pb2.RecommendRequest(
            placement="home",
            user_id="196",
            limit=1,
            filters=[any_of("film:genres", ["War"]).message()],
            exclude_item_ids=["7"],
            explain=serving_pb2.EXPLAIN_LEVEL_NONE,
            page_token="page",
        )
    ]
    assert ([item.id for item in slate], slate.ranked_by) == (["50"], RankedBy.POPULARITY)
    assert slate.next_page_token == "more"


async def test_a_row_as_it_was_asked(ask: Ask, server: CannedServer) -> None:
    """get_features sends ids as strings and every option, and reads all that an answer holds."""
    server.replies = [ROW]
    row = await ask(
        "get_features",
        {"user_id": 196, "item_id": "i9"},
        features=["profile:age", "profile:job"],
        context={"hour": 7},
        max_staleness=timedelta(milliseconds=1500),
        event_times=True,
    )
    sent = server.requests[0]
    assert dict(sent.entities) == {"user_id": "196", "item_id": "i9"}
    assert (list(sent.features), sent.feature_service) == (["profile:age", "profile:job"], "")
    assert (sent.max_staleness.ToMilliseconds(), sent.include_event_times) == (1500, True)
    assert sent.context["hour"].int64_value == 7
    assert row.names == tuple(row) == ("profile:age", "profile:job")
    age, job = row.values()
    assert (age.value, age.status, age.source) == (33, Status.PRESENT, Source.STORE)
    assert age.event_time == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert (job.value, job.status, job.source, job.event_time) == (None, Status.NULL_VALUE, Source.CACHE, None)
    assert row.degraded == (Degradation(DegradationReason.CORRUPT_ROW, "profile@v2"),)
    assert (row.registry_fingerprint, row.views[0].view, row.views[0].version) == ("f00d", "profile", 2)
    assert repr(row) == "FeatureRow(2 features, 1 degraded, registry f00d)"


async def test_a_batch_as_it_was_asked(ask: Ask, server: CannedServer) -> None:
    """get_features_batch sends ids and context in columns, and reads columns and event times into numpy."""
    server.replies = [BATCH]
    batch = await ask(
        "get_features_batch",
        {"user_id": "u1", "item_id": np.array([3, 1, 2])},
        service="ranking",
        context={"position": [0.5, 1.5, 2.5]},
        event_times=True,
    )
    sent = server.requests[0]
    assert list(sent.entities["user_id"].strings.values) == ["u1"]
    assert list(sent.entities["item_id"].int64s.values) == [3, 1, 2]
    assert (sent.feature_service, list(sent.features), sent.HasField("max_staleness")) == ("ranking", [], False)
    assert list(sent.context["position"].float64s.values) == [0.5, 1.5, 2.5]
    mean, age = batch["film:mean"], batch["profile:age"]
    np.testing.assert_array_equal(mean.values, [1.5, np.nan, 4.0])
    assert mean.statuses.tolist() == [Status.PRESENT, Status.NOT_FOUND, Status.PRESENT]
    assert mean.sources.tolist() == [Source.STORE, Source.NONE, Source.CACHE]
    assert age.expanded(batch.rows).values.tolist() == [33, 33, 33]
    np.testing.assert_array_equal(batch.views[0].event_times, np.array([5, "NaT", 7], dtype="M8[us]"))
    assert (len(batch), list(batch)) == (2, ["film:mean", "profile:age"])
    assert (batch.names, batch.degraded) == (("film:mean", "profile:age"), ())
    assert repr(batch) == "FeatureBatch(3 rows × 2 features, 0 degraded, registry f00d)"


async def test_a_name_that_was_not_asked_for_says_what_was(ask: Ask, server: CannedServer) -> None:
    """Reading another feature than those answered is a KeyError that lists them; `in` and get work as in a dict."""
    server.replies = [ROW]
    row = await ask("get_features", {"user_id": "1"}, features="profile")
    assert list(server.requests[0].features) == ["profile"]
    with pytest.raises(KeyError, match="agee is not in the answer, which has profile:age, profile:job"):
        row["profile:agee"]
    assert row.get("profile:agee") is None
    assert "profile:age" in row


async def test_the_deadline_reaches_the_server(server: CannedServer) -> None:
    """A call's own timeout comes before the client's, and the client's default is half a second."""
    server.replies = [ROW]
    async with AsyncClient(server.address, timeout=40) as client:
        await client.get_features({"user_id": "1"}, service="ranking")
        await client.get_features({"user_id": "1"}, service="ranking", timeout=WAIT)
    assert 30 < server.remaining[0] < 50  # gRPC rounds deadlines up on their way
    assert 0 < server.remaining[1] < 30
    assert repr(AsyncClient("features:6566")) == "AsyncClient('features:6566', timeout=0.5)"


async def test_the_client_says_who_it_is(ask: Ask, server: CannedServer) -> None:
    """The user agent names recsvc and its version."""
    server.replies = [ROW]
    await ask("get_features", {"user_id": "1"}, service="ranking")
    assert str(server.metadata[0]["user-agent"]).startswith(f"recsvc-python/{recsvc.__version__} ")


async def test_a_reply_larger_than_grpc_takes_by_default(ask: Ask, server: CannedServer) -> None:
    """A reply of more than 4 MiB is read."""
    values = np.arange(700_000, dtype="<f8")
    column = {"name": "x", "values": {"float64s": {"values": values.tobytes()}}, "statuses": b"\1", "sources": b"\1"}
    server.replies = [packed.GetFeaturesBatchResponse(row_count=len(values), columns=[column]).SerializeToString()]
    batch = await ask("get_features_batch", {"user_id": "1"}, service="ranking")
    np.testing.assert_array_equal(batch["x"].values, values)


async def test_what_is_wrong_comes_from_the_details(ask: Ask, server: CannedServer) -> None:
    """BadRequest and ErrorInfo of the status become violations, reason and metadata."""
    violations = [
        error_details_pb2.BadRequest.FieldViolation(
            field="features[0]", description="no view 'x'", reason="UNKNOWN_NAME"
        ),
        error_details_pb2.BadRequest.FieldViolation(field="entities", description="user_id is missing"),
    ]
    info = error_details_pb2.ErrorInfo(reason="UNKNOWN_NAME", domain="recsvc", metadata={"limit": "1000"})
    server.replies = [grpc.StatusCode.NOT_FOUND]
    server.trailers = with_details(error_details_pb2.BadRequest(field_violations=violations), info)
    with pytest.raises(ClientError, match=r"^as told$") as raised:
        await ask("get_features", {"user_id": "1"}, features=["x:y"])
    error = raised.value
    assert (error.code, error.reason, error.metadata) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_NAME", {"limit": "1000"})
    assert error.violations == (
        Violation("features[0]", "no view 'x'", unknown=True),
        Violation("entities", "user_id is missing"),
    )
    assert repr(error) == "ClientError(NOT_FOUND, 'as told', reason='UNKNOWN_NAME')"


@pytest.mark.parametrize("trailers", [(), (("grpc-status-details-bin", b"\xff"),)])
async def test_an_error_without_details_names_the_target(
    ask: Ask, server: CannedServer, trailers: tuple[tuple[str, bytes], ...]
) -> None:
    """A status without (readable) details keeps its code and text, with the target before it."""
    server.replies, server.trailers = [grpc.StatusCode.PERMISSION_DENIED], trailers
    with pytest.raises(ClientError, match=f"^{server.address} answered PERMISSION_DENIED: as told$") as raised:
        await ask("get_features", {"user_id": "1"}, service="ranking")
    assert (raised.value.reason, raised.value.violations) == ("", ())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_nobody_there(kind: type[Client | AsyncClient], silent_port: int) -> None:
    """A target that cannot be reached is one line that names it, long before the deadline."""
    client = kind(f"127.0.0.1:{silent_port}", timeout=WAIT)
    with pytest.raises(ClientError, match=rf"^cannot reach 127.0.0.1:{silent_port}: .*refused") as raised:
        await asking(client)("get_features", {"user_id": "1"}, service="ranking")
    assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.UNAVAILABLE, "UNREACHABLE")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_no_answer_in_time(kind: type[Client | AsyncClient]) -> None:
    """A target that accepts and keeps silent is one line that names it and the time given."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClientError, match=f"^{address} did not answer within 0.05 s$") as raised:
            await asking(kind(address, timeout=0.05))("get_features", {"user_id": "1"}, service="ranking")
    assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "TIMEOUT")


async def test_a_server_that_stops_is_asked_again(ask: Ask, server: CannedServer) -> None:
    """UNAVAILABLE is tried again, and the caller sees only the answer."""
    server.replies = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, ROW]
    assert len(await ask("get_features", {"user_id": "1"}, service="ranking")) == 2
    assert len(server.requests) == 3


async def test_attempts_are_bounded(ask: Ask, server: CannedServer) -> None:
    """A call makes three attempts at most; while most calls fail, one."""
    server.replies = [grpc.StatusCode.UNAVAILABLE]
    for _ in range(8):
        with pytest.raises(ClientError):
            await ask("get_features_batch", {"user_id": "1"}, service="ranking")
    assert len(server.requests) <= 3 * 3 + 5


async def test_other_errors_are_not_asked_again(ask: Ask, server: CannedServer) -> None:
    """A mistake of the caller is answered once."""
    server.replies = [grpc.StatusCode.INVALID_ARGUMENT]
    with pytest.raises(ClientError):
        await ask("get_features", {"user_id": "1"}, service="ranking")
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_tls(kind: type[Client | AsyncClient], tmp_path: Path) -> None:
    """With credentials the connection is TLS, to a server that the given authority vouches for."""
    files = make_certificates(tmp_path)
    pair = [(files.key.read_bytes(), files.cert.read_bytes())]
    async with running(CannedServer(replies=[ROW]), credentials=grpc.ssl_server_credentials(pair)) as canned:
        trusting = kind(canned.address, timeout=WAIT, credentials=grpc.ssl_channel_credentials(files.ca.read_bytes()))
        assert len(await asking(trusting)("get_features", {"user_id": "1"}, service="ranking")) == 2


async def test_waiting_for_a_server(silent_port: int) -> None:
    """With wait_for_ready a call that comes before the server is answered when the server is there."""
    async with AsyncClient(f"127.0.0.1:{silent_port}", timeout=WAIT, wait_for_ready=True) as client:
        early = asyncio.create_task(client.get_features({"user_id": "1"}, service="ranking"))
        async with running(CannedServer(replies=[ROW]), port=silent_port):
            assert len(await early) == 2


async def test_a_reply_that_cannot_be_read(ask: Ask, server: CannedServer) -> None:
    """Bytes that are no column of their type are an error of ours, not of numpy."""
    column = {"name": "x", "values": {"float64s": {"values": b"123"}}, "statuses": b"\1", "sources": b"\1"}
    server.replies = [packed.GetFeaturesBatchResponse(row_count=1, columns=[column]).SerializeToString()]
    with pytest.raises(ClientError, match="the reply cannot be read: x: buffer size") as raised:
        await ask("get_features_batch", {"user_id": "1"}, service="ranking")
    assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.INTERNAL, "BAD_REPLY")


async def test_what_cannot_be_sent_is_said_at_once(ask: Ask, server: CannedServer) -> None:
    """Every id and context value that has no wire form is listed, and nothing is sent."""
    with pytest.raises(ClientError) as raised:
        await ask("get_features_batch", {"user_id": [1.5], "item_id": 3}, context={"a": [None], "b": [1, "x"], "c": 1})
    assert [v.field for v in raised.value.violations] == ["entities['user_id']", "context['a']", "context['b']"]
    assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_ARGUMENT")
    assert server.requests == []


def test_context_managers_close() -> None:
    """A client is closed when its block ends, says so, and may be closed again."""
    with Client("127.0.0.1:1") as client:
        assert repr(client) == "Client('127.0.0.1:1', timeout=0.5)"
    assert repr(client) == "Client('127.0.0.1:1', timeout=0.5, closed)"
    client.close()


async def test_async_context_managers_close() -> None:
    """The same for asyncio."""
    async with AsyncClient("127.0.0.1:1") as client:
        pass
    assert repr(client) == "AsyncClient('127.0.0.1:1', timeout=0.5, closed)"
    await client.close()
