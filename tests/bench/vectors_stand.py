"""What searches of vectors in Redis cost: a server with the Query Engine, and its CPU beside ours."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import redis
from numpy.typing import NDArray

from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.protocol import Hits
from recsvc.recommend.index.remote import RemoteIndex
from recsvc.recommend.index.table import VectorTable
from tests.bench.report import Figures, rounded
from tests.parts.redis_server import RunningRedis
from tests.parts.topologies import with_search

COUNTED = 100
Masks = Sequence[NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one search (or building) took, in ms of time and of CPU, and what it found."""

    wall_ms: float
    server_ms: float
    client_ms: float
    recall: float = 1.0
    least: float = 1.0

    def cells(self) -> list[str]:
        """Return it for a row of a table."""
        both = self.server_ms + self.client_ms
        times = (self.wall_ms, self.server_ms, self.client_ms, both)
        return [f"{self.recall:.3f}", f"{self.least:.2f}", *(f"{ms:.2f}" for ms in times)]

    def figures(self) -> Figures:
        """Return it for the JSON object."""
        names = ("wall_ms", "server_ms", "client_ms", "recall", "least")
        return {name: rounded(getattr(self, name)) for name in names}


class Stand:
    """A server to measure."""

    def __init__(self, url: str, running: RunningRedis) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url, protocol=2, socket_timeout=60)
        self._pid = running.process.pid

    def __repr__(self) -> str:
        return f"Stand({self._pid})"

    def cpu_ms(self) -> float:
        """Return the CPU that the server has had, in all of its threads."""
        return time.clock_gettime(~self._pid << 3 | 2) * 1e3  # clock_getcpuclockid(3): threads that ended too

    def building(self, build: Callable[[], None]) -> tuple[Cost, float]:
        """Build something, and return what that took and how many megabytes the server has more."""
        before = self._megabytes()
        _, found = self.timed(build)
        return found, self._megabytes() - before

    def _megabytes(self) -> float:
        return float(self.client.info("memory")["used_memory"]) / 1e6

    def timed(self, call: Callable[[], object]) -> tuple[object, Cost]:
        """Call, and return what it gave and took."""
        server, own, start = self.cpu_ms(), time.process_time(), time.perf_counter()
        given = call()
        wall = (time.perf_counter() - start) * 1e3
        return given, Cost(wall, self.cpu_ms() - server, (time.process_time() - own) * 1e3)


@contextmanager
def standing() -> Iterator[Stand]:
    """Run a server of one's own."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with with_search() as (endpoint, running):
        stand = Stand(endpoint.url, running)
        with stand.client:
            yield stand


def cost(  # noqa: PLR0913, PLR0917 - what is searched for, and what is true
    stand: Stand, index: RemoteIndex, vectors: VectorTable, queries: NDArray[np.float32], allowed: Masks, k: int
) -> Cost:
    """Search for each query under its filter, and return the medians; checks that answers are full."""
    truth = ExactIndex(vectors, version="truth")
    found, recall = [], []
    for query, mask in zip(queries, allowed, strict=True):
        hits, one = stand.timed(partial(index.search, query, k, mask))
        assert isinstance(hits, Hits)
        assert len(hits) == min(k, np.count_nonzero(mask))
        best = truth.search(query, COUNTED, mask).places
        recall.append(float(np.isin(best, hits.places).mean()) if len(best) else 1.0)
        found.append(one)
    return middle(found, recall)


def middle(found: Sequence[Cost], recall: Sequence[float]) -> Cost:
    """Return medians of times and the mean of recall."""
    times = np.median([(one.wall_ms, one.server_ms, one.client_ms) for one in found], axis=0)
    return Cost(float(times[0]), float(times[1]), float(times[2]), float(np.mean(recall)), min(recall))
