"""Asks all candidate sources of a placement at once; one that fails or is late costs its own candidates only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from recsvc.recommend.asked import Degradation, Flaw
from recsvc.recommend.candidates import Found, MissingIndexError, Query, find
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.snapshot import Indexed
from recsvc.registry.placement import CandidateSource, Newest, Popular
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


async def ask_all(
    sources: Sequence[CandidateSource], query: Query, executors: Executors, left_s: float, counters: Counters
) -> tuple[list[Found], list[Degradation]]:
    """Return what the sources found, in their order, and which of them failed.

    Each has its own time, and ``left_s`` at most. A search cannot be stopped: one that is late ends in its thread, and
    nobody looks at it.
    """
    outcomes = await asyncio.gather(*(_ask(source, query, executors, left_s, counters) for source in sources))
    found = [outcome for outcome in outcomes if isinstance(outcome, Found)]
    return found, [outcome for outcome in outcomes if isinstance(outcome, Degradation)]


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
    return isinstance(source, Popular | Newest)


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
            if isinstance(outcome, Degradation):
                span.attributes[names.ERROR_TYPE] = span.error = outcome.reason.name
    return outcome


async def _outcome(
    source: CandidateSource, query: Query, executor: Executor, wait_s: float, counters: Counters
) -> Found | Degradation | None:
    try:
        found = await in_time(executor, wait_s, counters, source.name, lambda: find(source, query))
    except MissingIndexError as error:
        return Degradation(Flaw.INDEX_MISSING, source=error.name)
    return Degradation(found, source=source.name) if isinstance(found, Flaw) else found
