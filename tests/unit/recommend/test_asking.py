"""All sources are asked at once; what one of them does wrong costs its own candidates only."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from recsvc.errors import StoreUnavailableError
from recsvc.recommend.asked import Degradation, Flaw
from recsvc.recommend.asking import Executors, Vectors, ask_all, ask_vectors
from recsvc.recommend.candidates import Query
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.protocol import Hits, VectorIndex
from recsvc.recommend.index.remote import Facts, RemoteIndex
from recsvc.recommend.snapshot import Indexed
from recsvc.recommend.turns import Turn, Turns
from recsvc.registry.placement import CandidateSource, Nearest, Newest, Popular, SimilarToSeeds
from recsvc.telemetry.counters import Counters
from tests.parts.waiting import eventually
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


def asked(index: VectorIndex | None = None) -> Query:
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


class SlowIndex(ExactIndex):
    """An index whose every search takes 20 s, by the clock of a loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(on_a_line([f"i{n}" for n in range(5)]).table, version="slow")
        self._took_s = 0.0
        loop = asyncio.get_running_loop()
        clock = loop.time
        monkeypatch.setattr(loop, "time", lambda: clock() + self._took_s)

    def search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """Move the clock."""
        self._took_s += 20.0
        return super().search(query, k, allowed)


async def test_a_source_that_has_no_time_for_all_seeds_gives_what_it_found(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is near the seeds that were searched is there, and the reply says that the source was late."""
    of = replace(asked(SlowIndex(monkeypatch)), seeds=np.array([0, 2, 4]))
    late = SimilarToSeeds("seeds", "bad", timeout=timedelta(seconds=50))
    assert await ask(threads, of, late, POPULAR) == (
        ["seeds", "popular"],
        [Degradation(Flaw.SOURCE_TIMED_OUT, source="seeds")],
    )
    in_time = SimilarToSeeds("seeds", "bad", timeout=LONG * 10)
    assert await ask(threads, of, in_time, left_s=600.0) == (["seeds"], [])


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


class SlowServer:
    """A store of vectors that does not answer until the test is done, and then fails."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def nearest(self, point: NDArray[np.float32], k: int) -> NDArray[np.int64]:  # noqa: ARG002  # as in VectorStore
        """Wait."""
        return self._wait()

    def nearest_among(
        self,
        point: NDArray[np.float32],  # noqa: ARG002  # as in VectorStore
        among: NDArray[np.int64],  # noqa: ARG002
        k: int,  # noqa: ARG002
    ) -> NDArray[np.int64]:
        """Wait."""
        return self._wait()

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:  # noqa: ARG002  # as in VectorStore
        """Wait."""
        self._wait()
        raise AssertionError("it never answers")

    def _wait(self) -> NDArray[np.int64]:
        self.begun.set()
        self.go_on.wait(60)
        raise StoreUnavailableError("it does not answer")


async def test_who_waits_for_another_server_lets_another_have_its_turn(threads: ThreadPoolExecutor) -> None:
    """While nothing but a slow server is waited for the turn is somebody else's; while something works here it is not.

    The server fails in the end; what was found here stays, and the turn is back.
    """
    server, here, turns = SlowServer(), BadIndex(), Turns(0.0, at_once=1)
    of = asked(RemoteIndex(Facts.of(on_a_line(["i0", "i1"]).table, graph=False), server, version="far"))
    of.snapshot.indexes["here"] = Indexed.of(here, of.snapshot.catalogue)  # type: ignore[index]  # a dict here
    sources = [Nearest("far", "bad", TASTE, timeout=LONG), Nearest("here", "here", TASTE, timeout=LONG), NEAR]
    executors, counters = Executors(threads, threads, threads), Counters(monotonic=time.monotonic)
    turn = Turn(turns)

    async def make() -> tuple[list[str], list[Degradation]]:
        async with turn.taken():
            found, failed = await ask_all(sources, of, executors, 60.0, counters, turn.aside)
            assert "has it" in repr(turn)
        return [f.candidates.source for f in found], failed

    making = asyncio.create_task(make())
    try:
        for begun in (server.begun, here.begun):
            assert await asyncio.to_thread(begun.wait, 10)
        async with Turn(turns).taken() as in_time:
            assert not in_time
        here.go_on.set()
        await eventually(lambda: "1 free" in repr(turns))
        async with Turn(turns).taken() as in_time:
            assert in_time
    finally:
        here.go_on.set()
        server.go_on.set()
    assert await making == (["near"], [Degradation(Flaw.SOURCE_FAILED, source=name) for name in ("far", "here")])
    assert "1 free" in repr(turns)
