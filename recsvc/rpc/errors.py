"""The one mapper from errors to gRPC status, with google.rpc details; it decides what a caller may read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from recsvc.errors import Kind, RecsvcError, RequestError, Violation

DOMAIN: Final = "recsvc"
DETAILS_KEY: Final = "grpc-status-details-bin"
MAX_MESSAGE: Final = 512
MAX_DETAILS: Final = 4_096
"""Bytes. Status travels in trailers, of which gRPC implementations take 8 KB by default, text and details (in base64) together."""

CODES: Final = {kind: getattr(grpc.StatusCode, kind.value) for kind in Kind}


def status_of(error: RecsvcError) -> tuple[grpc.StatusCode, str, bytes]:
    """Return code, text and serialized google.rpc.Status for an error."""
    code = CODES[error.kind]
    text = _cut(str(error), MAX_MESSAGE)
    details = [*_bad_request(error), _error_info(error)]
    status = status_pb2.Status(code=code.value[0], message=text, details=list(map(_packed, details)))
    return code, text, status.SerializeToString()


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _error_info(error: RecsvcError) -> error_details_pb2.ErrorInfo:
    metadata = error.metadata if isinstance(error, RequestError) else {}
    return error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)


def _bad_request(error: RecsvcError) -> Iterator[error_details_pb2.BadRequest]:
    if isinstance(error, RequestError):
        yield error_details_pb2.BadRequest(field_violations=list(_violations(error.violations)))


def _violations(violations: Sequence[Violation]) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    """Yield as many as fit the trailers, and in their stead how many more there are."""
    room = MAX_DETAILS
    for index, violation in enumerate(violations):
        room -= len(violation.field.encode()) + len(violation.description.encode()) + 8
        if room < 0:
            more = f"{len(violations) - index} more"
            yield error_details_pb2.BadRequest.FieldViolation(field="...", description=more)
            return
        yield error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
