"""Asks all candidate sources of a placement at once; one that fails or is late costs its own candidates only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import copy_context
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from recsvc.recommend.asked import Degradation, Flaw
from recsvc.recommend.candidates import Found, MissingIndexError, Query, find
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.index.remote import RemoteIndex
from recsvc.recommend.snapshot import Indexed, index_of
from recsvc.registry.placement import CandidateSource
from recsvc.telemetry import hop, names
from recsvc.telemetry.counters import Counters

Vectors = npt.NDArray[np.float32]
Answer = TypeVar("Answer")


class Executors(NamedTuple):
    """Threads: ``searches`` are for vector indexes and ``models`` for rankers, both of which may hang.

    ``own`` are for what is in this process' memory.
    """

    searches: Executor
    own: Executor
    models: Executor


async def ask_all(  # noqa: PLR0913, PLR0917  # what it asks, and works with
    sources: Sequence[CandidateSource],
    query: Query,
    executors: Executors,
    left_s: float,
    counters: Counters,
    aside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> tuple[list[Found], list[Degradation]]:
    """Return what the sources found, in their order, and which of them failed, or found only a part in time.

    Each has its own time, and ``left_s`` at most. A search cannot be stopped: one that is late ends in its thread, and
    nobody looks at it; but a source that searches again and again begins no search that would be late.
    ``aside`` is entered while nothing but another server is waited for.
    """
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(_ask(source, query, executors, left_s, counters)) for source in sources]
        here = [task for task, source in zip(asking, sources, strict=True) if not _is_elsewhere(source, query)]
        if here:
            await asyncio.wait(here)
        if len(here) < len(asking):
            async with aside():
                await asyncio.wait(asking)
    outcomes = [task.result() for task in asking]
    found = [outcome for outcome in outcomes if isinstance(outcome, Found)]
    return found, [flaw for flaw in map(_flaw, outcomes) if flaw is not None]


async def ask_vectors(
    indexed: Indexed, places: Places, executors: Executors, left_s: float, counters: Counters
) -> Vectors | Flaw:
    """Return the vectors of items by an index, rows of NaN where it has none; or why there are none in ``left_s``.

    It is asked in a thread, as in a search: an index may be a file that is read, or another server.
    """
    return await in_time(executors.searches, left_s, counters, "diversity", partial(indexed.vectors, places))


async def in_time(
    executor: Executor, left_s: float, counters: Counters, name: str, work: Callable[[], Answer]
) -> Answer | Flaw:
    """Return what ``work`` returns in a thread; SOURCE_TIMED_OUT after ``left_s``, or SOURCE_FAILED, which is logged.

    Raises MissingIndexError, which says more.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(left_s):
            if hop.sampled() is None:
                return await loop.run_in_executor(executor, work)
            return await loop.run_in_executor(executor, partial(copy_context().run, work))
    except TimeoutError:
        return Flaw.SOURCE_TIMED_OUT
    except MissingIndexError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever an index does wrong: the other sources are there, and popular items
        counters.source_failed(name, error)
        return Flaw.SOURCE_FAILED


def is_of_memory(source: CandidateSource) -> bool:
    """Say whether a source finds its items in this process' memory, without an index."""
    return index_of(source) is None


def is_elsewhere(indexed: Indexed | None) -> bool:
    """Say whether it is another server that searches an index."""
    return indexed is not None and isinstance(indexed.index, RemoteIndex)


def _is_elsewhere(source: CandidateSource, query: Query) -> bool:
    name = index_of(source)
    return name is not None and is_elsewhere(query.snapshot.indexes.get(name))


async def _ask(
    source: CandidateSource, query: Query, executors: Executors, left_s: float, counters: Counters
) -> Found | Degradation | None:
    executor = executors.own if is_of_memory(source) else executors.searches
    wait_s = min(source.timeout.total_seconds(), left_s)
    with hop.stage(names.SOURCE, beside=True) as span:
        outcome = await _outcome(source, query, executor, wait_s, counters)
        if span is not None:
            span.attributes[names.SOURCE_NAME] = source.name
            span.attributes[names.CANDIDATES] = len(outcome.candidates.places) if isinstance(outcome, Found) else 0
            flaw = _flaw(outcome)
            if flaw is not None:
                span.attributes[names.ERROR_TYPE] = span.error = flaw.reason.name
    return outcome


def _flaw(outcome: Found | Degradation | None) -> Degradation | None:
    """Return what is to be told of what came of a source."""
    if isinstance(outcome, Found):
        return Degradation(Flaw.SOURCE_TIMED_OUT, source=outcome.candidates.source) if outcome.late else None
    return outcome


async def _outcome(
    source: CandidateSource, query: Query, executor: Executor, wait_s: float, counters: Counters
) -> Found | Degradation | None:
    clock = asyncio.get_running_loop().time
    until = clock() + wait_s
    work = partial(find, source, query, lambda: until - clock())
    try:
        found = await in_time(executor, wait_s, counters, source.name, work)
    except MissingIndexError as error:
        return Degradation(Flaw.INDEX_MISSING, source=error.name)
    return Degradation(found, source=source.name) if isinstance(found, Flaw) else found
