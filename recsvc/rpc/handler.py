"""The one wrapper around every method: refusal while stopping, deadline, errors to status, the calls under way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from recsvc.deadline import Deadline
from recsvc.errors import DrainingError, Kind, MalformedRequestError, RecsvcError, Violation
from recsvc.rpc.errors import DETAILS_KEY, status_of

log = logging.getLogger(__name__)

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

    HOLDING keeps those that are to be refused waiting until ``released``, so that clients which try again at once have
    nothing new on its way while the connections are told to close.
    """

    def __init__(self) -> None:
        self.phase = Phase.SERVING
        self.released = asyncio.Event()
        self.under_way = 0
        self._idle: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"Calls({self.under_way} under way, {self.phase.value})"

    def leave(self) -> None:
        """Count a call out; a handler counts it in by ``under_way``."""
        self.under_way -= 1
        if self._idle is not None and not self.under_way:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is under way."""
        while self.under_way:
            self._idle = self._idle or asyncio.Event()
            self._idle.clear()
            await self._idle.wait()


class Handlers:
    """Makes gRPC handlers. ``default_deadline_s`` is for calls without one, ``margin_s`` is kept back for answering."""

    def __init__(self, calls: Calls, *, default_deadline_s: float, margin_s: float) -> None:
        self._calls = calls
        self._default_s = default_deadline_s
        self._margin_s = margin_s

    def __repr__(self) -> str:
        return f"Handlers({self._calls!r})"

    def unary(self, request_class: type[_M], method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a unary method that takes ``request_class`` and returns a serialized reply."""
        calls, default_s, margin_s = self._calls, self._default_s, self._margin_s

        async def handle(request: Any, context: _Context) -> bytes:  # noqa: ANN401  # as its deserializer gives it
            calls.under_way += 1
            try:
                if calls.phase is not Phase.SERVING:
                    await self._refuse()
                now = time.monotonic()
                deadline = Deadline.after(context.time_remaining(), now, default_s=default_s, margin_s=margin_s)
                if request is MALFORMED:
                    _refuse_malformed()
                return await method(request, deadline)
            except Exception as error:  # noqa: BLE001  # whatever it is, gRPC would send its text (cancellation is none)
                code, text, details = status_of(_for_callers(error))
                await context.abort(code, text, ((DETAILS_KEY, details),))
            finally:
                calls.leave()
            raise AssertionError("abort always raises")

        return grpc.unary_unary_rpc_method_handler(handle, _deserializer(request_class), None)

    async def _refuse(self) -> NoReturn:
        if self._calls.phase is Phase.HOLDING:
            await self._calls.released.wait()
        raise DrainingError("this server is stopping, ask another one")


def _refuse_malformed() -> NoReturn:
    raise MalformedRequestError([Violation("request", "the bytes are not a message of this method")])


def _deserializer(request_class: type[_M]) -> Callable[[bytes], _M | _Malformed]:
    parse = request_class.FromString

    def deserialize(data: bytes) -> _M | _Malformed:
        try:
            return parse(data)
        except DecodeError:
            return MALFORMED

    return deserialize


def _for_callers(error: Exception) -> RecsvcError:
    """Return what a caller is told: an error meant for callers as it is, of any other only that there was one."""
    if isinstance(error, RecsvcError) and error.kind is not Kind.INTERNAL:
        return error
    log.error("a call failed for a reason nobody thought of", exc_info=error)
    return RecsvcError("internal error")
