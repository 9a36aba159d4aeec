"""The queue of impressions: bounded, never in the way of a reply, and every impression is counted once."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import ConfigError
from recsvc.recommend.impression_queue import LOG_INTERVAL_S, ImpressionQueue, QueueSettings
from tests.unit.online.held_reader import in_virtual_time, now, settle
from tests.unit.recommend.shown import HeldSink, impression

GRACE_S = 2.0


def queue_of(sink: HeldSink, *, most: int = 10, batch: int = 3, max_bytes: int = 10**9) -> ImpressionQueue:
    """Make a queue that runs."""
    queue = ImpressionQueue(
        sink, monotonic=now, settings=QueueSettings(max_impressions=most, max_bytes=max_bytes, batch=batch)
    )
    queue.start()
    return queue


def counts(queue: ImpressionQueue) -> tuple[int, int, int]:
    """Return how many were written, dropped, failed."""
    return queue.written, queue.dropped, queue.failed


@in_virtual_time
async def test_impressions_arrive_in_order_and_in_batches() -> None:
    """What was offered first is written first, never more at once than a batch has."""
    sink = HeldSink(held=True)
    queue = queue_of(sink)
    shown = [impression(i) for i in range(8)]
    assert all(queue.offer(i) for i in shown)
    await settle()
    assert len(queue) == 8
    sink.release()
    await settle()
    assert sink.kept == shown
    assert [len(b) for b in sink.batches] == [3, 3, 2]
    assert counts(queue) == (8, 0, 0)
    await queue.close(grace_s=GRACE_S)


@in_virtual_time
async def test_what_is_too_much_is_dropped_and_counted() -> None:
    """With a sink that hangs the queue takes so many, those being written included, and no more."""
    sink = HeldSink(held=True)
    queue = queue_of(sink, most=5)
    taken = []
    for number in range(9):
        taken.append(queue.offer(impression(number)))
        await settle()
    assert taken == [True] * 5 + [False] * 4
    assert counts(queue) == (0, 4, 0)
    sink.release()
    await settle()
    assert queue.offer(impression(9))
    await queue.close(grace_s=GRACE_S)
    assert counts(queue) == (6, 4, 0)


@in_virtual_time
async def test_memory_is_bounded_too() -> None:
    """A few impressions with many values fill the queue as many with few do."""
    sink = HeldSink(held=True)
    large = impression(0, items=500)
    queue = queue_of(sink, most=1_000, max_bytes=3 * large.memory_bytes)
    assert [queue.offer(large) for _ in range(4)] == [True, True, True, False]
    sink.release()
    await settle()
    assert queue.offer(large)
    await queue.close(grace_s=GRACE_S)
    assert counts(queue) == (4, 1, 0)


@in_virtual_time
async def test_a_sink_that_fails_costs_its_batch_only() -> None:
    """The next batches are written when it works again."""
    sink = HeldSink()
    queue = queue_of(sink)
    sink.fails = OSError("disk full")
    queue.offer(impression(0))
    await settle()
    sink.fails = None
    queue.offer(impression(1))
    await queue.close(grace_s=GRACE_S)
    assert counts(queue) == (1, 0, 1)


@in_virtual_time
async def test_closing_writes_what_waits_and_closes_the_sink_once() -> None:
    """Nothing that was taken is lost on an orderly stop, nothing is taken after it, and a second close is none."""
    sink = HeldSink()
    queue = queue_of(sink)
    for number in range(7):
        queue.offer(impression(number))
    await queue.close(grace_s=GRACE_S)
    await queue.close(grace_s=GRACE_S)
    assert not queue.offer(impression(7))
    assert counts(queue) == (7, 1, 0)
    assert sink.closes == 1


@in_virtual_time
async def test_closing_gives_up_after_its_grace() -> None:
    """A sink that hangs holds up the stop for so long, and what it did not take is counted."""
    sink = HeldSink(held=True)
    queue = queue_of(sink)
    for number in range(5):
        queue.offer(impression(number))
    began = now()
    await queue.close(grace_s=GRACE_S)
    assert now() - began == pytest.approx(GRACE_S)
    assert (counts(queue), sink.cancelled, sink.closes, len(queue)) == ((0, 2, 3), 1, 1, 0)


@in_virtual_time
async def test_a_cancelled_close_leaves_no_task() -> None:
    """Where the stop itself is cut short, everything is still counted and nothing runs on."""
    sink = HeldSink(held=True)
    queue = queue_of(sink)
    for number in range(5):
        queue.offer(impression(number))
    closing = asyncio.create_task(queue.close(grace_s=GRACE_S))
    await settle()
    closing.cancel()
    await settle()
    assert closing.cancelled()
    assert counts(queue) == (0, 2, 3)


@in_virtual_time
async def test_a_sink_that_does_not_close_does_not_hold_up_the_stop() -> None:
    """It has the grace once more, then the server goes on."""

    class Hangs(HeldSink):
        async def close(self) -> None:
            await asyncio.Event().wait()

    queue = queue_of(Hangs())
    began = now()
    await queue.close(grace_s=GRACE_S)
    assert now() - began == pytest.approx(GRACE_S)


@in_virtual_time
async def test_a_queue_that_never_started_drops() -> None:
    """Closing works without a start."""
    sink = HeldSink()
    queue = ImpressionQueue(sink, monotonic=now)
    queue.offer(impression())
    assert "not started, 1 wait" in repr(queue)
    await queue.close(grace_s=GRACE_S)
    assert (counts(queue), sink.closes) == ((0, 1, 0), 1)


def test_trouble_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Drops by the thousand make one line, with their number so far."""

    @in_virtual_time
    async def fill() -> None:
        queue = queue_of(HeldSink(held=True), most=1)
        for number in range(100):
            queue.offer(impression(number))
        assert len(caplog.records) == 1
        await asyncio.sleep(LOG_INTERVAL_S)  # no time passes but the loop's own
        queue.offer(impression())
        await queue.close(grace_s=GRACE_S)

    with caplog.at_level(logging.WARNING):
        fill()
    assert [r.getMessage() for r in caplog.records] == [
        "impressions: queue full or closed (1 dropped, 0 failed so far)",
        "impressions: queue full or closed (100 dropped, 0 failed so far)",
    ]


STEPS = st.lists(
    st.sampled_from(["offer", "offer", "offer", "settle", "hold", "release", "break", "mend"]), max_size=60
)


@given(STEPS, st.integers(1, 6), st.integers(1, 4))
def test_every_impression_is_counted_once(steps: list[str], most: int, batch: int) -> None:
    """Whatever happens, what was offered was written, dropped or failed, and the bound was kept throughout."""

    @in_virtual_time
    async def run() -> None:
        sink = HeldSink()
        queue = queue_of(sink, most=most, batch=batch)
        offered = 0
        for step in steps:
            if step == "offer":
                full = len(queue) >= most
                assert queue.offer(impression(offered)) != full
                offered += 1
            elif step == "settle":
                await settle()
            elif step == "hold":
                sink.hold()
            elif step == "release":
                sink.release()
            else:
                sink.fails = OSError("broken") if step == "break" else None
            assert len(queue) <= most
            assert sum(counts(queue)) + len(queue) == offered
        await queue.close(grace_s=GRACE_S)
        assert sum(counts(queue)) == offered
        assert len(sink.kept) == len({i.recommendation_id for i in sink.kept}) == queue.written + queue.failed
        assert repr(queue).startswith("ImpressionQueue(closed, 0 wait, 0 are written, 0 bytes;")

    run()


@pytest.mark.parametrize("name", ["max_impressions", "max_bytes", "batch"])
def test_bounds_must_be_positive(name: str) -> None:
    """A queue without room is a mistake in the configuration."""
    with pytest.raises(ConfigError, match=name):
        QueueSettings(**{name: 0})
