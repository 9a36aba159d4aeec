"""All sources are asked at once; what one of them does wrong costs its own candidates only."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from recsvc.recommend.asked import Degradation, Flaw
from recsvc.recommend.asking import Executors, Vectors, ask_all, ask_vectors
from recsvc.recommend.candidates import Query
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.protocol import Hits
from recsvc.recommend.snapshot import Indexed
from recsvc.registry.placement import CandidateSource, Nearest, Newest, Popular, SimilarToSeeds
from recsvc.telemetry.counters import Counters
from tests.unit.recommend.queries import TASTE, builder_of, on_a_line, query, user

LONG = timedelta(seconds=60)
NEAR = Nearest("near", "line", TASTE, timeout=LONG)
POPULAR = Popular("popular", timeout=LONG)
NEW = Newest("new", timeout=LONG)


class BadIndex(ExactIndex):
    """An index that raises what it is told, or waits."""

    def __init__(self, raises: BaseException | None = None) -> None:
        super().__init__(on_a_line(["i0"]).table, version="bad")
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._raises = raises

    def search(
        self,
        query: NDArray[np.float32],  # noqa: ARG002  # as in VectorIndex
        k: int,  # noqa: ARG002
        allowed: NDArray[np.bool_] | None = None,  # noqa: ARG002
    ) -> Hits:
        """Fail, or wait until the test is done."""
        self.begun.set()
        if self._raises is not None:
            raise self._raises
        self.go_on.wait(60)
        raise OSError("too late for anybody")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for searches."""
    with ThreadPoolExecutor(4) as executor:
        yield executor


def asked(index: ExactIndex | None = None) -> Query:
    """Return a query; the index ``bad`` is the one given."""
    built = query(builder_of(5).snapshot(), facts=user([1.0, 1.0]))
    if index is not None:
        built.snapshot.indexes["bad"] = Indexed.of(index, built.snapshot.catalogue)  # type: ignore[index]  # a dict here
    return built


async def ask(
    threads: ThreadPoolExecutor, of: Query, *sources: CandidateSource, left_s: float = 60.0
) -> tuple[list[str], list[Degradation]]:
    """Return the names of the sources that found something, and what failed."""
    found, failed = await ask_all(
        sources, of, Executors(threads, threads, threads), left_s, Counters(monotonic=time.monotonic)
    )
    return [f.candidates.source for f in found], failed


async def test_sources_that_find_something_are_in_their_order(threads: ThreadPoolExecutor) -> None:
    """Answers stand in the order of the sources; one with nothing to go by is neither found nor failed."""
    seeds = SimilarToSeeds("seeds", "line")
    assert await ask(threads, asked(), NEW, seeds, NEAR, POPULAR) == (["new", "near", "popular"], [])
    assert await ask(threads, asked()) == ([], [])


@pytest.mark.parametrize("error", [ValueError("wrong"), OSError("gone"), MemoryError(), ZeroDivisionError()])
async def test_a_source_that_raises_fails_alone(
    threads: ThreadPoolExecutor, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a source raises is logged and told with its name; the others are there."""
    of = asked(BadIndex(error))
    found, failed = await ask(threads, of, POPULAR, Nearest("broken", "bad", TASTE, timeout=LONG), NEAR)
    assert found == ["popular", "near"]
    assert failed == [Degradation(Flaw.SOURCE_FAILED, source="broken")]
    assert [r.message for r in caplog.records] == ["candidate source broken failed (1 so far)"]


async def test_a_source_whose_vectors_do_not_fit_fails_alone(threads: ThreadPoolExecutor) -> None:
    """A user's vector of another length than the index has is that source's failure."""
    of = query(builder_of(5).snapshot(), facts=user([1.0, 2.0, 3.0]))
    assert await ask(threads, of, NEAR, POPULAR) == (["popular"], [Degradation(Flaw.SOURCE_FAILED, source="near")])


async def test_a_source_that_is_late_fails_alone(threads: ThreadPoolExecutor) -> None:
    """After its own time a source is given up; the others are there, and its end disturbs nobody."""
    index = BadIndex()
    late = Nearest("late", "bad", TASTE, timeout=timedelta(milliseconds=20))
    try:
        found, failed = await ask(threads, asked(index), late, POPULAR)
    finally:
        index.go_on.set()
    assert found == ["popular"]
    assert failed == [Degradation(Flaw.SOURCE_TIMED_OUT, source="late")]


async def test_no_source_has_more_time_than_is_left(threads: ThreadPoolExecutor) -> None:
    """What is left of the request's time bounds all sources, whatever their own; with none left nothing is found."""
    index = BadIndex()
    try:
        _, failed = await ask(threads, asked(index), Nearest("late", "bad", TASTE, timeout=LONG), left_s=0.02)
    finally:
        index.go_on.set()
    assert failed == [Degradation(Flaw.SOURCE_TIMED_OUT, source="late")]
    found, failed = await ask(threads, asked(), POPULAR, NEAR, left_s=-1.0)
    assert found == []
    assert failed == [Degradation(Flaw.SOURCE_TIMED_OUT, source=name) for name in ("popular", "near")]


async def test_an_index_that_is_not_there_costs_its_sources(threads: ThreadPoolExecutor) -> None:
    """The reply names the index that is missing; the other sources are there."""
    found, failed = await ask(threads, asked(), Nearest("near", "gone", TASTE, timeout=LONG), POPULAR)
    assert found == ["popular"]
    assert failed == [Degradation(Flaw.INDEX_MISSING, source="gone")]


async def test_threads_that_are_gone_are_a_failure_of_each_source() -> None:
    """Sources that cannot even be asked, while the server closes, are told as failed; nothing is raised."""
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    found, failed = await ask(executor, asked(), POPULAR, NEAR)
    assert found == []
    assert [f.reason for f in failed] == [Flaw.SOURCE_FAILED] * 2


async def test_a_caller_that_goes_away_is_cancelled(threads: ThreadPoolExecutor) -> None:
    """Cancelling a request ends it at once, though a search still runs; it is no source's failure."""
    index = BadIndex()
    task = asyncio.create_task(ask(threads, asked(index), Nearest("late", "bad", TASTE, timeout=LONG)))
    try:
        await asyncio.to_thread(index.begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        index.go_on.set()


async def test_a_search_that_hangs_keeps_nobody_else_from_the_sources_in_memory() -> None:
    """With every thread for searches stuck, what needs no index is still found."""
    stuck = BadIndex()
    of = asked(stuck)
    with ThreadPoolExecutor(1) as searches, ThreadPoolExecutor(1) as own:
        executors, counters = Executors(searches, own, own), Counters(monotonic=time.monotonic)
        hung = Nearest("hung", "bad", TASTE, timeout=timedelta(milliseconds=20))
        try:
            for _ in range(3):
                found, failed = await ask_all([hung, POPULAR], of, executors, 60.0, counters)
                assert [f.candidates.source for f in found] == ["popular"]
                assert failed == [Degradation(Flaw.SOURCE_TIMED_OUT, source="hung")]
        finally:
            stuck.go_on.set()


class VectorlessIndex(BadIndex):
    """An index that does with vectors what a BadIndex does with searches."""

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:  # noqa: ARG002  # as in VectorIndex
        """Fail, or wait until the test is done."""
        self.search(np.zeros(2, np.float32), 1)
        raise AssertionError("a search that fails")


async def ask_of(threads: ThreadPoolExecutor, index: ExactIndex, left_s: float = 60.0) -> Vectors | Flaw:
    """Ask for the vectors of two items."""
    indexed = Indexed.of(index, builder_of(2).snapshot())
    counters = Counters(monotonic=time.monotonic)
    return await ask_vectors(indexed, np.array([1, 0]), Executors(threads, threads, threads), left_s, counters)


async def test_vectors_come_in_the_order_asked_or_the_reason_why_not(threads: ThreadPoolExecutor) -> None:
    """Vectors of items that have one, NaN for others; a failure or a wait costs them, and nothing else."""
    found = await ask_of(threads, on_a_line(["i0"]))
    assert not isinstance(found, Flaw)
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [0.0, 1.0]
    assert await ask_of(threads, VectorlessIndex(ValueError("rubbish"))) is Flaw.SOURCE_FAILED
    waiting = VectorlessIndex()
    try:
        assert await ask_of(threads, waiting, 0.02) is Flaw.SOURCE_TIMED_OUT
        assert await ask_of(threads, waiting, -1.0) is Flaw.SOURCE_TIMED_OUT
    finally:
        waiting.go_on.set()
