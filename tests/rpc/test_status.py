"""Errors to gRPC status: whatever an error says, it fits the trailers, and only what is meant for callers gets out."""

from __future__ import annotations

import base64
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import (
    DeadlineError,
    DrainingError,
    Kind,
    LimitError,
    MalformedRequestError,
    RecsvcError,
    RequestError,
    UnknownNameError,
    Violation,
)
from recsvc.rpc.errors import CODES, DETAILS_KEY, status_of

TEXT = st.text(max_size=3_000) | st.text("\U0001f600é%\x00a", min_size=100, max_size=3_000)
VIOLATIONS = st.lists(st.builds(Violation, TEXT, TEXT, st.booleans()), max_size=20)


@given(violations=VIOLATIONS, times=st.integers(1, 40))
def test_any_violations_fit_the_trailers(violations: list[Violation], times: int) -> None:
    """Status, text and details stay under 8 KB as they are sent, and no violation is lost without being counted."""
    metadata = {"limit": "rows,features,cells,reply_bytes", "actual": "9" * 80, "allowed": "9" * 80}
    for error in (RequestError(violations * times, metadata), UnknownNameError(violations * times)):
        code, text, details = status_of(error)
        assert len(quote(text)) + len(base64.b64encode(details)) + len(DETAILS_KEY) + 32 * 3 + 30 < 8_192
        status = status_pb2.Status.FromString(details)
        assert (status.code, status.message) == (code.value[0], text)
        bad_request = error_details_pb2.BadRequest()
        assert status.details[0].Unpack(bad_request)
        listed = bad_request.field_violations
        if listed and listed[-1].field == "...":
            assert listed[-1].description == f"{len(violations) * times - len(listed) + 1} more"
        else:
            assert len(listed) == len(violations) * times


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (RequestError([Violation("a", "b")]), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (UnknownNameError([Violation("a", "b")]), grpc.StatusCode.NOT_FOUND, "UNKNOWN_NAME"),
        (LimitError([Violation("a", "b")]), grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED"),
        (MalformedRequestError([Violation("a", "b")]), grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST"),
        (DeadlineError("late"), grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT"),
        (DrainingError("gone"), grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING"),
        (RecsvcError("internal error"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_every_error_has_its_code_and_reason(error: RecsvcError, code: grpc.StatusCode, reason: str) -> None:
    """The codes and reasons are part of the contract: programs branch on them."""
    found, text, details = status_of(error)
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(details).details[-1].Unpack(info)
    assert (found, text, info.reason, info.domain) == (code, str(error), reason, "recsvc")


def test_every_kind_of_error_has_a_code() -> None:
    """The kinds are named as gRPC names its codes."""
    assert {kind.name: code.name for kind, code in CODES.items()} == {kind.name: kind.name for kind in Kind}
