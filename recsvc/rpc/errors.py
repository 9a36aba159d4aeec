"""The one mapper from errors to gRPC status, with google.rpc details; it decides what a caller may read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from recsvc.errors import Kind, RecsvcError, RequestError, UnknownNameError, Violation

DOMAIN: Final = "recsvc"
DETAILS_KEY: Final = "grpc-status-details-bin"
MAX_MESSAGE: Final = 400
"""Bytes of UTF-8. The text is sent twice: percent-encoded, which may be three times as long, and in the details."""
MAX_DETAILS: Final = 3_500
"""Bytes of all violations. gRPC implementations take 8 KB of trailers by default, and the details go out in base64."""
MAX_FIELD: Final = 120
MAX_DESCRIPTION: Final = 400
"""Bytes of one violation, so that a caller's long text leaves room for the others."""

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


def _violations(violations: Sequence[Violation]) -> Iterator[Any]:
    """Yield as many as fit the trailers, and in place of the others how many they are."""
    room = MAX_DETAILS
    for index, violation in enumerate(violations):
        sent = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, MAX_FIELD),
            description=_cut(violation.description, MAX_DESCRIPTION),
            reason=UnknownNameError.reason if violation.unknown else "",
        )
        room -= sent.ByteSize()
        if room < 0:
            more = f"{len(violations) - index} more"
            yield error_details_pb2.BadRequest.FieldViolation(field="...", description=more)
            return
        yield sent


def _cut(text: str, limit: int) -> str:
    """Return ``text``, or as much of it as fits ``limit`` bytes of UTF-8 with an ellipsis."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return text
    ellipsis = "…"
    return data[: limit - len(ellipsis.encode())].decode(errors="ignore") + ellipsis
