"""What a call raises: the server's google.rpc details, or one line about the connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from recsvc.errors import RecsvcError, Violation

DETAILS_KEY: Final = "grpc-status-details-bin"
"""Trailing metadata that holds a serialized google.rpc.Status."""
UNKNOWN_NAME: Final = "UNKNOWN_NAME"
"""Reason of a BadRequest violation that names something which does not exist."""


class ClientError(RecsvcError):
    """A call that got no answer.

    * ``code``: the gRPC status; INVALID_ARGUMENT also where the client itself could not send what it was given.
    * ``message``: one line, also ``str(error)``; where nothing answered it names the target.
    * ``reason``: the server's ErrorInfo reason; UNREACHABLE, TIMEOUT, BAD_ARGUMENT or BAD_REPLY where the client found
      out by itself; empty where something else answered (a proxy, another program on that port).
    * ``violations``: everything that is wrong with the request. ``metadata``: limits and actual values.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.reason = reason  # type: ignore[misc]  # fixed by the class elsewhere in the tree; here the server's
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        super().__init__(message)

    def __repr__(self) -> str:
        return f"ClientError({self.code.name}, {self.message!r}, reason={self.reason!r})"


def bad_argument(violations: Sequence[Violation]) -> ClientError:
    """Return the error for a request that cannot be written down as it was given."""
    message = "; ".join(f"{v.field}: {v.description}" for v in violations)
    return ClientError(grpc.StatusCode.INVALID_ARGUMENT, message, reason="BAD_ARGUMENT", violations=violations)


def bad_reply(problem: str) -> ClientError:
    """Return the error for a reply that this client cannot read."""
    return ClientError(grpc.StatusCode.INTERNAL, f"the reply cannot be read: {problem}", reason="BAD_REPLY")


def from_rpc(error: Any, target: str, timeout: float) -> ClientError:  # noqa: ANN401  # grpc's two errors share no class
    """Return what a failed call means. ``error`` is grpc.RpcError (with grpc.Call) or grpc.aio.AioRpcError."""
    code: grpc.StatusCode = error.code()
    text = " ".join((error.details() or "").split())
    info, violations = _details(error.trailing_metadata())
    if info is not None:
        metadata = dict(info.metadata)
        return ClientError(code, text, reason=info.reason, violations=violations, metadata=metadata)
    if code is grpc.StatusCode.UNAVAILABLE:
        cause = text.rpartition("last error: ")[2].removeprefix("UNKNOWN: ")
        return ClientError(code, f"cannot reach {target}: {cause}", reason="UNREACHABLE")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ClientError(code, f"{target} did not answer within {timeout:g} s", reason="TIMEOUT")
    return ClientError(code, f"{target} answered {code.name}: {text}", violations=violations)


def _details(trailers: Iterable[tuple[str, Any]] | None) -> tuple[Any, tuple[Violation, ...]]:
    """Return ErrorInfo (or None) and the violations of BadRequest."""
    packed = next((value for key, value in trailers or () if key == DETAILS_KEY), b"")
    try:
        details = status_pb2.Status.FromString(packed).details
    except DecodeError:  # not from recsvc: the code and the text are all there is
        details = ()
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in details:
        if not detail.Unpack(info):
            detail.Unpack(bad_request)
    return (info if info.reason else None), tuple(map(_violation, bad_request.field_violations))


def _violation(sent: Any) -> Violation:  # noqa: ANN401  # google.rpc has no types
    return Violation(sent.field, sent.description, unknown=sent.reason == UNKNOWN_NAME)
