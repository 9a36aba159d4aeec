"""One open connection to Redis that sends commands and waits for their replies, one question at a time.

It is asyncio's protocol with hiredis' parser, without streams and without redis-py: what a read of rows costs beside
packing and parsing is one write, one future and one timer. A question that is cut short, or anything that is not the
answer to one, closes the connection: a late reply is never somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import hiredis
from redis.exceptions import ResponseError

from recsvc.online.loop_turns import LOOK_TURNS, after_turns

_MORE: Final = object()
"""What the parser gives while a reply is not whole."""
_BUFFER_BYTES: Final = 256 * 1024
"""What the parser keeps allocated. By default it is 16 KB, and reading 500 rows (60 KB) then takes twice the time."""


class Channel(asyncio.Protocol):
    """A connection of ours; ``on_lost`` is called once, when it is closed by whichever side.

    ``answered_at``: when it last was seen to work.
    """

    def __init__(self, on_lost: Callable[[Channel], None]) -> None:
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._parser = hiredis.Reader(replyError=ResponseError, notEnoughData=_MORE)
        self._parser.setmaxbuf(_BUFFER_BYTES)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[list[Any]] | None = None
        self._replies: list[Any] = []
        self._wanted = 0
        self.usable = False
        self.answered_at = self._loop.time()

    def __repr__(self) -> str:
        state = "closed" if not self.usable else "idle" if self._answer is None else "busy"
        return f"Channel({state})"

    async def ask(self, commands: bytes, count: int, until: float) -> list[Any]:
        """Send ``count`` packed commands, and return their replies; those that are errors are ResponseError objects.

        Nobody else may ask meanwhile. Raises TimeoutError at ``until``, ConnectionError; then, and where the caller is
        cancelled, the connection is closed.
        """
        transport = self._transport
        if transport is None or not self.usable:
            raise ConnectionError("the connection is closed")
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        self._answer = answer
        self._wanted = count
        timer = self._loop.call_at(until, after_turns, self._loop, LOOK_TURNS, partial(_expire, answer))
        try:
            transport.write(commands)
            return await answer
        except BaseException:  # also a cancelled caller's: the reply is still to come
            self.abort()
            raise
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Close at once, without a farewell; what waits for an answer gets a ConnectionError."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own classes are not asyncio's
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        parser, replies = self._parser, self._replies
        parser.feed(data)
        try:
            while (reply := parser.gets()) is not _MORE:
                replies.append(reply)
        except hiredis.ProtocolError:
            self._fail(ConnectionError("what came is no reply of Redis"))
            return
        answer = self._answer
        if answer is None or len(replies) > self._wanted or (len(replies) == self._wanted and parser.has_data()):
            self._fail(ConnectionError("more came than was asked for"))
        elif len(replies) == self._wanted:
            self._answer, self._replies = None, []
            self.answered_at = self._loop.time()
            if not answer.done():  # else it was cut short in this very moment, and ``ask`` closes
                answer.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        error = ConnectionError("the connection was closed")
        error.__cause__ = exc
        self._fail(error)
        self._transport = None
        self._on_lost(self)

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        self.abort()
        if answer is not None and not answer.done():
            answer.set_exception(error)


def _expire(answer: asyncio.Future[list[Any]]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError("no answer in time"))
