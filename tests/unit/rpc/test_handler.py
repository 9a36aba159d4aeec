"""How a call ends that its caller gives up: told apart in metrics, whoever was late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from recsvc.deadline import Deadline
from recsvc.pb import serving_pb2 as pb
from recsvc.rpc.handler import Calls, Handlers, Phase
from recsvc.telemetry import calls as seen
from recsvc.telemetry import metrics as m
from recsvc.telemetry.metrics import Metrics
from tests.parts.waiting import eventually


class Context:
    """What a handler asks of a call: how much time there is, and its metadata."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def time_remaining(self) -> float:
        """Return how many seconds are left."""
        return self._until - time.monotonic()

    def invocation_metadata(self) -> tuple[()]:
        """Return nothing."""
        return ()


async def never(_: object, __: Deadline) -> bytes:
    """Answer never."""
    await asyncio.Event().wait()
    raise AssertionError("it waits for ever")


@pytest.mark.parametrize(
    ("seconds", "phase", "code"),
    [
        (60.0, Phase.SERVING, "CANCELLED"),
        (60.0, Phase.HOLDING, "CANCELLED"),
        (0.02, Phase.SERVING, "DEADLINE_EXCEEDED"),
    ],
)
async def test_a_call_that_is_given_up_ends_by_its_deadline(seconds: float, phase: Phase, code: str) -> None:
    """Cancelled in its time it is its caller's doing, after its time it was too late; it is counted out either way."""
    metrics, calls = Metrics(), Calls()
    calls.phase = phase
    handlers = Handlers(calls, seen.Calls(metrics), default_deadline_s=1.0, margin_s=0.005)
    handler = handlers.unary("service/Method", pb.GetFeaturesRequest, never)
    handle: Callable[[Any, Any], Awaitable[bytes]] = cast("Any", handler).unary_unary
    context = Context(seconds)
    task = asyncio.ensure_future(handle(pb.GetFeaturesRequest(), context))
    await eventually(lambda: calls.under_way and (code == "CANCELLED" or context.time_remaining() < 0))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ((labels, _),) = metrics[m.CALL_DURATION].points()
    assert labels[1:3] == ("service/Method", code)
    assert calls.under_way == 0


class Aborting(Context):
    """Ends a call as gRPC does."""

    async def abort(self, *_: object) -> None:
        """See grpc.aio.ServicerContext."""
        raise Aborted


class Aborted(Exception):  # noqa: N818  # it is what gRPC calls so
    """The call has ended."""


async def broken(request: pb.GetFeaturesRequest, _: Deadline) -> bytes:
    """Fail in two places, and in two ways in one of them."""
    if not request.features:
        raise RuntimeError("no features")
    raise {"a": KeyError, "b": OSError}[request.features[0]](request.features[0])


async def test_a_bug_is_no_log_line_for_every_call(caplog: pytest.LogCaptureFixture) -> None:
    """Of each kind of error and place there is one line with its traceback, however many calls meet it."""
    handlers = Handlers(Calls(), seen.Calls(Metrics()), default_deadline_s=1.0, margin_s=0.005)
    handler: Any = handlers.unary("service/Method", pb.GetFeaturesRequest, broken)
    for features in [[], ["a"], ["b"]] * 100:
        with pytest.raises(Aborted):
            await handler.unary_unary(pb.GetFeaturesRequest(features=features), Aborting(60.0))
    assert set(caplog.messages) == {"a call failed for a reason nobody thought of (1 so far)"}
    told = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert told == [RuntimeError, KeyError, OSError]


async def test_a_call_that_is_held_is_refused_while_it_can_still_ask_elsewhere() -> None:
    """It gets UNAVAILABLE before its deadline, though nobody releases it."""
    calls = Calls()
    calls.phase = Phase.HOLDING
    context = Context(1.0)
    await calls.hold(context.time_remaining())
    assert context.time_remaining() > 0
    assert not calls.released.is_set()


async def test_quiet_is_when_nobody_calls_any_more() -> None:
    """As long as calls come it lasts; who calls for ever does not hold it up for ever."""
    calls = Calls()
    calls.released.set()
    quiet = asyncio.create_task(calls.quiet(0.2, at_most_s=60))
    for _ in range(50):  # more often than anything counts as quiet, on a busy machine, too: it sleeps on the same loop
        await calls.hold(None)
        await asyncio.sleep(0.01)
    assert not quiet.done()
    await quiet
    noise = asyncio.create_task(noisy(calls))
    await calls.quiet(3600, at_most_s=0.05)
    noise.cancel()


async def noisy(calls: Calls) -> None:
    """Call without an end."""
    while True:
        await calls.hold(None)
        await asyncio.sleep(0)
