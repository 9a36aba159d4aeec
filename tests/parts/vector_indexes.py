"""Vector indexes of every kind for tests, small, and built with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from recsvc.online.redis_vector_sets import RedisVectorSets
from recsvc.recommend.index.building import publish_in_redis
from recsvc.recommend.index.directory import open_index, write
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.remote import Facts, RemoteIndex, vector_set
from recsvc.recommend.index.table import VectorTable
from tests.parts import missing

if TYPE_CHECKING:
    from recsvc.recommend.index.faiss_index import FaissIndex

VERSION: Final = "v1"
REDIS_S: Final = 10.0
"""How long a search in Redis may take here: the machine may be busy."""
BuildIndex = Callable[[VectorTable, Path], VectorIndex]


def queries_for(table: VectorTable, number: int = 40, seed: int = 5) -> NDArray[np.float32]:
    """Draw queries that are not in the table."""
    queries = np.random.default_rng(seed).normal(size=(number, table.dimension))
    return queries.astype(np.float32)


def exact(table: VectorTable, _directory: Path) -> ExactIndex:
    """Return an exact index in memory."""
    return ExactIndex(table, version=VERSION)


def planned(table: VectorTable, _directory: Path) -> FaissIndex:
    """Return an index of faiss with the planner that is fitted to it, by a clock that finds all searches alike."""
    try:
        from recsvc.recommend.index import faiss_build  # noqa: PLC0415 - where faiss is missing, other tests run
    except ImportError:
        missing("faiss-cpu is not installed")
    ticks = count()
    return faiss_build.build(
        table,
        queries_for(table, seed=6),
        version=VERSION,
        rng=np.random.default_rng(7),
        clock=lambda: float(next(ticks)),
    )


def probing(table: VectorTable, directory: Path) -> FaissIndex:
    """Return an index of faiss that never gathers: all searches go through its lists."""
    index = planned(table, directory)
    return index.with_planner(replace(index.planner, gather_at_most=0))


def reopened_exact(table: VectorTable, directory: Path) -> VectorIndex:
    """Return an exact index from its directory."""
    return open_index(write(directory, exact(table, directory), queries_for(table, 8)))


def reopened_probing(table: VectorTable, directory: Path) -> VectorIndex:
    """Return an index of faiss from its directory, that never gathers."""
    return open_index(write(directory, probing(table, directory), queries_for(table, 8)))


INDEXES: Final[dict[str, BuildIndex]] = {
    "exact": exact,
    "exact-reopened": reopened_exact,
    "faiss-planned": planned,
    "faiss-probing": probing,
    "faiss-reopened": reopened_probing,
}


def in_redis(table: VectorTable, _directory: Path, url: str, *, graph: bool = False) -> RemoteIndex:
    """Return an index whose vectors are in a Redis that has the Query Engine; the set stays there."""
    facts, sets = Facts.of(table, graph=graph), RedisVectorSets(url, search_s=REDIS_S)
    kept = vector_set(f"test:{uuid4().hex}", facts)
    sets.write(kept, table.vectors, lambda _written: None)
    return RemoteIndex(facts, sets.open(kept), version=VERSION)


def reopened_from_redis(table: VectorTable, directory: Path, url: str) -> VectorIndex:
    """Return an index in Redis as a server has it: built, published, and opened by its directory."""
    sets = RedisVectorSets(url, search_s=REDIS_S)
    root = directory / uuid4().hex
    publish_in_redis(root, table.ids, table.vectors, table.metric, version=VERSION, stores=sets)
    return open_index(root / VERSION, stores=sets)


IN_REDIS: Final[dict[str, Callable[[VectorTable, Path, str], VectorIndex]]] = {
    "redis-flat": in_redis,
    "redis-graph": partial(in_redis, graph=True),
    "redis-reopened": reopened_from_redis,
}
"""Those that need a Redis with the Query Engine: its URL comes last."""
