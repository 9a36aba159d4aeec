"""How things are measured against each other: in turns, and where it matters on cores of their own."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


async def in_turns(
    rounds: int, contenders: Mapping[str, Callable[[], Awaitable[T]]], *, warm_up: bool = True
) -> dict[str, list[T]]:
    """Run all contenders one after the other, ``rounds`` times, after a round that does not count; results by name."""
    results: dict[str, list[T]] = {name: [] for name in contenders}
    for number in range(-1 if warm_up else 0, rounds):
        for name, run in contenders.items():
            result = await run()
            if number >= 0:
                results[name].append(result)
    return results


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: seconds on the clock, and of this process' CPU."""

    seconds: float
    cpu_seconds: float

    def shared(self, times: int) -> Cost:
        """Return what one of ``times`` equal parts took."""
        return Cost(self.seconds / times, self.cpu_seconds / times)


class Stopwatch:
    """Measures from where it is made."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def __repr__(self) -> str:
        return f"Stopwatch({self.cost()})"

    def cost(self) -> Cost:
        """Return what was taken since then."""
        return Cost(time.perf_counter() - self._wall, time.process_time() - self._cpu)


@contextlib.contextmanager
def apart(servers: AbstractContextManager[T]) -> Iterator[T]:
    """Start servers on the last core, and keep this process to the others until they end; a lone core is shared.

    A server on the same core would empty the caches that the measured process has just filled.
    """
    cores = own_cores()
    if len(cores) < 2:
        with servers as started:
            yield started
        return
    *ours, theirs = cores
    keep_to({theirs})  # what a process starts inherits its cores
    try:
        with servers as started:
            keep_to(set(ours))
            yield started
    finally:
        keep_to(set(cores))


def own_cores() -> list[int]:
    """Return the cores that this process may run on; none where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def keep_to(cores: set[int]) -> None:
    """Let this process, and what it starts from now on, run on these cores only."""
    os.sched_setaffinity(0, cores)
