"""From vectors to an index that is served: chooses its kind by size, builds, writes and publishes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.errors import ConfigError, StoreUnavailableError
from recsvc.online.keys import escape
from recsvc.online.vector_store import VectorStores
from recsvc.recommend.index.directory import write, write_remote
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.fit import item_queries
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import prune, publish
from recsvc.recommend.index.remote import Facts, RemoteIndex, vector_set
from recsvc.recommend.index.stored import Stored
from recsvc.recommend.index.table import VectorTable, vector_table

EXACT_MOST: Final = 100_000
"""Up to so many vectors an exact scan is fast enough."""
QUERIES: Final = 100
"""Of the self-test, and of what the planner is fitted to."""
GRAPH_FROM: Final = 50_000
"""From so many vectors on Redis searches by a graph: comparing all of them then costs it more CPU (2 ms and more)."""
KEPT: Final = 2
"""Versions that stay beside the published one, to go back to."""


def build_index(
    table: VectorTable, *, version: str, exact: bool = False, step: Callable[[str], None] = lambda _what: None
) -> Stored:
    """Build an index: with lists where an exact scan would be slow, unless ``exact``. Raises ConfigError."""
    if exact or len(table) <= EXACT_MOST:
        return ExactIndex(table, version=version)
    try:
        from recsvc.recommend.index.faiss_build import build  # noqa: PLC0415  # faiss is an extra
    except ImportError as error:
        raise ConfigError("more than 100,000 vectors want faiss: pip install 'recsvc[index]', or --exact") from error
    rng = np.random.default_rng(0)
    return build(table, sampled_queries(table), version=version, rng=rng, clock=time.perf_counter, step=step)


def sampled_queries(table: VectorTable) -> NDArray[np.float32]:
    """Return vectors of the table that stand for real queries, always the same ones."""
    return item_queries(table, min(QUERIES, len(table)), np.random.default_rng(0))


def publish_vectors(  # noqa: PLR0913  # vectors, and what the index of them is to be
    root: Path,
    ids: Sequence[str],
    vectors: NDArray[np.float32],
    metric: Metric,
    *,
    version: str,
    exact: bool = False,
    step: Callable[[str], None] = lambda _what: None,
) -> Stored:
    """Index the vectors float32[n, d] of ``ids``, write that to ``root/<version>``, and make it the one that is served.

    Of other versions the last few stay. Raises BadIndexError and ConfigError.
    """
    index = build_index(vector_table(ids, vectors, metric), version=version, exact=exact, step=step)
    step("writing")
    write(root, index, sampled_queries(index.table))
    publish(root, version)
    prune(root, KEPT)
    return index


def publish_in_redis(  # noqa: PLR0913  # as above, and where the vectors go
    root: Path,
    ids: Sequence[str],
    vectors: NDArray[np.float32],
    metric: Metric,
    *,
    version: str,
    stores: VectorStores,
    graph: bool | None = None,
    on_progress: Callable[[int], None] = lambda _written: None,
) -> RemoteIndex:
    """Write the vectors float32[n, d] of ``ids`` to Redis, what else the index has to ``root``, and make it the served.

    ``graph`` None: where there are many. Servers see it when all of it is there. Of other versions the last few stay.
    Raises BadIndexError and StoreUnavailableError; then nothing is left in Redis.
    """
    table = vector_table(ids, vectors, metric)
    facts = Facts.of(table, graph=len(table) >= GRAPH_FROM if graph is None else graph)
    name = f"{escape(root.name)}:{version}"
    kept = vector_set(name, facts)
    stores.write(kept, table.vectors, on_progress)
    try:
        index = RemoteIndex(facts, stores.open(kept), version=version)
        write_remote(root, index, table, name, sampled_queries(table))
        publish(root, version)
    except BaseException:  # also when the user interrupts
        with suppress(StoreUnavailableError):
            stores.drop(name, len(table))
        raise
    prune(root, KEPT, stores)
    return index
