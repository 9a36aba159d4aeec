"""The one wrapper around every method: refusal while stopping, deadline, errors to status, the calls under way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import traceback
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from recsvc.deadline import Deadline
from recsvc.errors import DrainingError, Kind, MalformedRequestError, RecsvcError, Violation
from recsvc.rpc.errors import DETAILS_KEY, status_of
from recsvc.telemetry import calls as seen
from recsvc.telemetry import metrics as m
from recsvc.telemetry import names
from recsvc.telemetry.repeats import Repeats
from recsvc.telemetry.series import Histogram

log = logging.getLogger(__name__)

_BUG_LINES_S: Final = 10.0
"""Every call may meet the same bug, and a traceback for each would slow down those that do not."""
_CANCELLED: Final = grpc.StatusCode.CANCELLED.name
_QUIET_TURNS: Final = 10
"""A quiet time is that many short ones in a row: on a busy machine the loop may sleep through one long one."""
_TOO_LATE: Final = grpc.StatusCode.DEADLINE_EXCEEDED.name
_M = TypeVar("_M", bound=Message)
Method = Callable[[Any, Deadline], Awaitable[bytes]]
_Context = grpc.aio.ServicerContext[Any, Any]


class _Malformed:
    """Stands for a request whose bytes are not a message; the handler answers it."""

    def __repr__(self) -> str:
        return "MALFORMED"


MALFORMED: Final = _Malformed()


class Phase(Enum):
    """What happens to a new call."""

    SERVING = "serving"
    REFUSING = "refusing"
    HOLDING = "holding"


class Calls:
    """The calls under way, and what happens to new ones.

    HOLDING keeps those that are to be refused waiting until ``released``, or for half of the time they have left, so
    that clients which try again at once have nothing new on its way while the connections are told to close.
    """

    def __init__(self) -> None:
        self.phase = Phase.SERVING
        self.released = asyncio.Event()
        self.under_way = 0
        self._held = 0
        self._idle: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"Calls({self.under_way} under way, {self.phase.value})"

    def leave(self) -> None:
        """Count a call out; a handler counts it in by ``under_way``."""
        self.under_way -= 1
        if self._idle is not None and not self.under_way:
            self._idle.set()

    async def hold(self, time_left: float | None) -> None:
        """Keep a call that is to be refused, but leave it time enough to ask another server."""
        self._held += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if time_left is None else time_left / 2):
                await self.released.wait()

    async def quiet(self, for_s: float, *, at_most_s: float) -> None:
        """Wait until no call has come to be held for a while: whoever tries again at once is held by then."""
        end = time.monotonic() + at_most_s
        turns = 0
        while turns < _QUIET_TURNS and (time_left := end - time.monotonic()) > 0:
            before = self._held
            await asyncio.sleep(min(for_s / _QUIET_TURNS, time_left))
            turns = turns + 1 if self._held == before else 0

    async def idle(self) -> None:
        """Wait until no call is under way."""
        while self.under_way:
            self._idle = self._idle or asyncio.Event()
            self._idle.clear()
            await self._idle.wait()


class _Arrival:
    """When the bytes of the request that is handled next came: nothing comes between parsing and handling it."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = 0.0


class Handlers:
    """Makes gRPC handlers. ``default_deadline_s`` is for calls without one, ``margin_s`` is kept back for answering."""

    def __init__(self, calls: Calls, measured: seen.Calls, *, default_deadline_s: float, margin_s: float) -> None:
        self._calls = calls
        self._measured = measured
        self._default_s = default_deadline_s
        self._margin_s = margin_s
        self._bugs = Repeats(time.monotonic, _BUG_LINES_S)

    def __repr__(self) -> str:
        return f"Handlers({self._calls!r})"

    def unary(self, name: str, request_class: type[_M], method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of the method ``name``: it takes a ``request_class`` and returns a serialized reply."""
        calls, default_s, margin_s = self._calls, self._default_s, self._margin_s
        measured, arrival = self._measured, _Arrival()
        begin, end, is_measured = measured.begin, measured.end, measured.measures
        replies = measured.metrics[m.RESPONSE_SIZE].histogram(name)

        async def handle(request: Any, context: _Context) -> bytes:  # noqa: ANN401  # as its deserializer gives it
            call = begin(name, arrival.at, context.invocation_metadata) if is_measured else None
            if call is not None:
                call.lap(names.PARSE)
            calls.under_way += 1
            outcome, until = seen.OK, math.inf
            try:
                if calls.phase is not Phase.SERVING:
                    await self._refuse(context.time_remaining())
                now = time.monotonic()
                deadline = Deadline.after(context.time_remaining(), now, default_s=default_s, margin_s=margin_s)
                until = deadline.at
                if request is MALFORMED:
                    _refuse_malformed()
                reply = await method(request, deadline)
                replies.record(len(reply))
                return reply  # noqa: TRY300  # nothing after it can fail
            except Exception as error:  # noqa: BLE001  # whatever it is, gRPC would send its text (cancellation is none)
                code, text, details = status_of(self._for_callers(error))
                outcome = code.name
                await context.abort(code, text, ((DETAILS_KEY, details),))
            except asyncio.CancelledError:
                outcome = _CANCELLED if time.monotonic() < until else _TOO_LATE
                raise
            finally:
                calls.leave()
                if call is not None:
                    end(call, outcome)
            raise AssertionError("abort always raises")

        requests = measured.metrics[m.REQUEST_SIZE].histogram(name)
        return grpc.unary_unary_rpc_method_handler(handle, _deserializer(request_class, arrival, requests), None)

    def unknown(self) -> grpc.GenericRpcHandler:
        """Return what refuses every method; it is to be asked last."""
        return _Unknown(self._measured)

    async def _refuse(self, time_left: float | None) -> NoReturn:
        if self._calls.phase is Phase.HOLDING:
            await self._calls.hold(time_left)
        raise DrainingError("this server is stopping, ask another one")

    def _for_callers(self, error: Exception) -> RecsvcError:
        """Return what a caller is told: an error meant for callers as it is, of any other only that there was one."""
        if isinstance(error, RecsvcError) and error.kind is not Kind.INTERNAL:
            return error
        if count := self._bugs.due(type(error).__qualname__, _place_of(error)):
            log.error("a call failed for a reason nobody thought of (%d so far)", count, exc_info=error)
        return RecsvcError("internal error")


def _refuse_malformed() -> NoReturn:
    raise MalformedRequestError([Violation("request", "the bytes are not a message of this method")])


class _Unknown(grpc.GenericRpcHandler):
    """Refuses calls of methods that there are not, as gRPC would, and counts them under one name."""

    def __init__(self, measured: seen.Calls) -> None:
        self._measured = measured

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """See grpc.GenericRpcHandler. A stream takes calls of every kind."""
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, _: object, context: _Context) -> None:
        call = self._measured.begin(names.OTHER_METHOD, time.monotonic(), context.invocation_metadata)
        try:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        finally:
            if call is not None:
                self._measured.end(call, grpc.StatusCode.UNIMPLEMENTED.name)


def _deserializer(request_class: type[_M], arrival: _Arrival, sizes: Histogram) -> Callable[[bytes], _M | _Malformed]:
    parse, now = request_class.FromString, time.monotonic

    def deserialize(data: bytes) -> _M | _Malformed:
        arrival.at = now()
        sizes.record(len(data))
        try:
            return parse(data)
        except DecodeError:
            return MALFORMED

    return deserialize


def _place_of(error: Exception) -> str:
    """Return the file and line that an error, which was caught, was raised in."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{frame.f_code.co_filename}:{line}"
