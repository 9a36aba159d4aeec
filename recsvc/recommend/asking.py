"""Asks all candidate sources of a placement at once; one that fails or is late costs its own candidates only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from recsvc.recommend.asked import Degradation, Flaw
from recsvc.recommend.candidates import Found, MissingIndexError, Query, find
from recsvc.registry.placement import CandidateSource, Newest, Popular
from recsvc.telemetry.counters import Counters


class Executors(NamedTuple):
    """Threads: ``searches`` are for vector indexes, which may hang; ``own`` for what is in this process' memory."""

    searches: Executor
    own: Executor


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


async def _ask(
    source: CandidateSource, query: Query, executors: Executors, left_s: float, counters: Counters
) -> Found | Degradation | None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(min(source.timeout.total_seconds(), left_s)):
            executor = executors.own if isinstance(source, Popular | Newest) else executors.searches
            return await loop.run_in_executor(executor, find, source, query)
    except TimeoutError:
        return Degradation(Flaw.SOURCE_TIMED_OUT, source=source.name)
    except MissingIndexError as error:
        return Degradation(Flaw.INDEX_MISSING, source=error.name)
    except Exception as error:  # noqa: BLE001  # whatever an index does wrong: the other sources are there, and popular items
        counters.source_failed(source.name, error)
        return Degradation(Flaw.SOURCE_FAILED, source=source.name)
