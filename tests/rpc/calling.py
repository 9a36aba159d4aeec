"""Calls a server as any client would, with the plain messages of the contract, and takes refusals apart."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from recsvc.pb import serving_pb2 as pb
from recsvc.rpc.errors import DETAILS_KEY

SINGLE = "/recsvc.v1.ServingService/GetFeatures"
BATCH = "/recsvc.v1.ServingService/GetFeaturesBatch"
PATIENCE = 20.0
"""Deadline in seconds of calls that are to get an answer, also on a busy machine."""
Call = grpc.aio.UnaryUnaryCall[bytes, bytes]
Fact = tuple[object, str, str]
"""Value (None: none), status and source of a feature."""


@dataclass(frozen=True)
class Refusal:
    """A call that failed: everything that its caller can read."""

    code: grpc.StatusCode
    text: str
    reason: str
    metadata: Mapping[str, str]
    wrong: Mapping[str, str]
    """Description by field, of all violations."""
    unknown: frozenset[str]
    """Fields of the violations that name what does not exist."""
    trailer_bytes: int
    everything: bytes
    """All of it as bytes, for looking for what must not be there."""


class Caller:
    """Calls both methods on one channel."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    def raw(self, method: str, data: bytes, deadline_s: float | None = PATIENCE) -> Call:
        """Start a call that sends bytes as they are and returns those of the answer."""
        multicallable: Any = self.channel.unary_unary(method)  # typed for messages
        call: Call = multicallable(data, timeout=deadline_s)
        return call

    async def one(self, request: pb.GetFeaturesRequest) -> pb.GetFeaturesResponse:
        """Return the answer to GetFeatures."""
        return pb.GetFeaturesResponse.FromString(await self.raw(SINGLE, request.SerializeToString()))

    async def many(self, request: pb.GetFeaturesBatchRequest) -> pb.GetFeaturesBatchResponse:
        """Return the answer to GetFeaturesBatch."""
        return pb.GetFeaturesBatchResponse.FromString(await self.raw(BATCH, request.SerializeToString()))

    async def refused(self, request: Message, deadline_s: float | None = PATIENCE) -> Refusal:
        """Return how a request is refused; that it is answered is a failure."""
        method = BATCH if isinstance(request, pb.GetFeaturesBatchRequest) else SINGLE
        return await self.refused_raw(method, request.SerializeToString(), deadline_s)

    async def refused_raw(self, method: str, data: bytes, deadline_s: float | None = PATIENCE) -> Refusal:
        """Return how bytes are refused."""
        try:
            await self.raw(method, data, deadline_s)
        except grpc.aio.AioRpcError as error:
            return refusal(error)
        raise AssertionError("the call was answered")


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Take a failed call apart."""
    text = error.details() or ""
    trailers = [(key, value) for key, value in error.trailing_metadata() or ()]
    packed = next((value for key, value in trailers if key == DETAILS_KEY), b"")
    assert isinstance(packed, bytes)
    status = status_pb2.Status.FromString(packed)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(bad_request), detail
    if packed:
        assert (status.code, status.message) == (error.code().value[0], text)
        assert info.domain == "recsvc"
    sent = [*trailers, ("grpc-message", quote(text)), ("grpc-status", str(error.code().value[0]))]
    return Refusal(
        code=error.code(),
        text=text,
        reason=info.reason,
        metadata=dict(info.metadata),
        wrong={v.field: v.description for v in bad_request.field_violations},
        unknown=frozenset(v.field for v in bad_request.field_violations if v.reason == "UNKNOWN_NAME"),
        trailer_bytes=sum(len(key) + len(_on_the_wire(value)) + 32 for key, value in sent),
        everything=b"\n".join([text.encode(), *(v.encode() if isinstance(v, str) else v for _, v in trailers)]),
    )


def _on_the_wire(value: str | bytes) -> bytes:
    """Return a trailer's value as it is sent; RFC 9113 counts its name, its value and 32 bytes."""
    return base64.b64encode(value) if isinstance(value, bytes) else value.encode()


def facts(reply: pb.GetFeaturesResponse) -> dict[str, Fact]:
    """Return what an answer for one row says, by feature."""
    return {f.name: (value(f.value), _status(f.status), _source(f.source)) for f in reply.features}


def column_facts(reply: pb.GetFeaturesBatchResponse) -> dict[str, list[Fact]]:
    """Return what an answer says, by feature, a fact for each row; what holds for all rows is repeated."""
    return {column.name: _facts(column, reply.row_count) for column in reply.columns}


def _facts(column: pb.FeatureColumn, rows: int) -> list[Fact]:
    values = column_values(column.values)
    assert len(values) in {rows, min(rows, 1)}, column
    n = len(values)
    statuses, sources = _each(column.statuses, n), _each(column.sources, n)
    found = [
        (None if status == pb.FEATURE_STATUS_NULL_VALUE or source == pb.VALUE_SOURCE_NONE else v, status, source)
        for v, status, source in zip(values, statuses, sources, strict=True)
    ]
    named = [(v, _status(status), _source(source)) for v, status, source in found]
    return named if n == rows else named * rows


def _each(codes: Sequence[int], n: int) -> Sequence[int]:
    assert len(codes) in {n, min(n, 1)}
    return codes if len(codes) == n else list(codes) * n


def _status(number: int) -> str:
    return pb.FeatureStatus.Name(number).removeprefix("FEATURE_STATUS_")  # type: ignore[arg-type]  # any of its numbers


def _source(number: int) -> str:
    return pb.ValueSource.Name(number).removeprefix("VALUE_SOURCE_")  # type: ignore[arg-type]  # any of its numbers


def value(message: pb.Value) -> object:
    """Return a value as Python has it: lists as lists, timestamps as microseconds."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    found = getattr(message, kind)
    return list(found.values) if kind in {"vector_value", "int64_list_value", "string_list_value"} else found


def column_values(message: pb.ColumnValues) -> list[object]:
    """Return the values of a column as Python has them, one per row, also in slots without a value."""
    kind = message.WhichOneof("kind")
    assert kind is not None
    column = getattr(message, kind)
    if kind == "vectors":
        d = column.dimension
        return [list(column.values[i : i + d]) for i in range(0, len(column.values), d)]
    if kind in {"int64_lists", "string_lists"}:
        ends = [sum(column.lengths[: i + 1]) for i in range(len(column.lengths))]
        return [list(column.values[end - n : end]) for end, n in zip(ends, column.lengths, strict=True)]
    return list(column.micros if kind == "timestamps" else column.values)


def degraded(reply: pb.GetFeaturesResponse | pb.GetFeaturesBatchResponse) -> set[tuple[str, str]]:
    """Return what a reply says did not work: (reason, view)."""
    names = pb.DegradationReason
    return {(names.Name(d.reason).removeprefix("DEGRADATION_REASON_"), d.view) for d in reply.degraded}


def strings(*ids: str) -> pb.KeyColumn:
    """Return a column of ids as strings."""
    return pb.KeyColumn(strings=pb.StringIds(values=ids))


def int64s(*ids: int) -> pb.KeyColumn:
    """Return a column of ids as integers."""
    return pb.KeyColumn(int64s=pb.Int64Ids(values=ids))
