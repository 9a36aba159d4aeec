"""Sets of vectors in one Redis: written whole under a name of their own, checked when they are opened, and dropped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import numpy as np
from redis import Redis

from recsvc.errors import StoreUnavailableError
from recsvc.online.redis_blocking import connect_blocking
from recsvc.online.redis_url import RedisTarget, parse
from recsvc.online.redis_vector_keys import FIELD, VectorKeys, index_key
from recsvc.online.redis_vectors import RedisVectors, guarded, is_unknown, shown
from recsvc.online.vector_store import Vectors, VectorSet
from recsvc.telemetry.calls import Calls, StorePlace

PATIENCE_S: Final = 30.0
"""How long a command of a build may take."""
SEARCH_S: Final = 0.25
"""How long a search may take: sources have 50 ms by default, and who waits longer holds up other searches."""
SEARCHES: Final = 16
"""Connections at once; more than there are threads that search."""
PER_WRITE: Final = 32
"""Vectors that are written in one go: each takes about 0.6 ms to enter a graph, and Redis does nothing else then."""
PER_UNLINK: Final = 1_000
LINKS: Final = 16
EFFORT: Final = 200
"""M and EF_CONSTRUCTION of the graph (HNSW)."""


class RedisVectorSets:
    """See VectorStores. ``url`` as for the store of rows; its server needs the module ``search`` (Redis 8 has it).

    ``search_s`` is how long a search may take. Raises ConfigError for a Redis Cluster.
    """

    def __init__(self, url: str, *, search_s: float = SEARCH_S, calls: Calls | None = None) -> None:
        """Open sets of the Redis at ``url``; ``calls`` is told of each command of a search."""
        target = parse(url)
        self._told = None if calls is None else (calls, _place(target))
        self._place = target.safe
        self._search_s = search_s
        # The server gives up first: it can say so, and the connection stays good.
        self._searching = connect_blocking(target, timeout_s=1.5 * search_s, connections=SEARCHES)
        self._patient = connect_blocking(target, timeout_s=PATIENCE_S, connections=2)

    def __repr__(self) -> str:
        return f"RedisVectorSets({self._place})"

    def close(self) -> None:
        """Close all connections."""
        self._searching.close()
        self._patient.close()

    def open(self, vectors: VectorSet) -> RedisVectors:
        """See VectorStores."""
        found = self._facts(self._searching, vectors.name)
        documents, width = int(found["num_docs"]), _width(found)
        if width is not None and width != vectors.width:
            raise StoreUnavailableError(f"{shown(vectors.name)} have {width} components, not {vectors.width}")
        if documents != vectors.count:
            # After a restart Redis indexes what it has loaded.
            mend = "wait, Redis is indexing" if float(found.get("indexing", 0)) else "build the index anew"
            raise StoreUnavailableError(f"{shown(vectors.name)} are {documents}, not {vectors.count}: {mend}")
        return RedisVectors(self._searching, vectors, timeout_s=self._search_s, told=self._told)

    def write(self, vectors: VectorSet, rows: Vectors, on_progress: Callable[[int], None]) -> None:
        """See VectorStores."""
        keys = VectorKeys(vectors.name, vectors.count)
        self._create(keys, vectors)
        try:
            for start in range(0, len(rows), PER_WRITE):
                self._put(keys, vectors, start, rows[start : start + PER_WRITE])
                on_progress(min(len(rows), start + PER_WRITE))
            self.open(vectors)  # Redis has indexed each before it answered; some it may have refused
        except BaseException:  # also when the user interrupts: half a set is of no use to anyone
            with suppress(StoreUnavailableError):
                self.drop(vectors.name, vectors.count)
            raise

    def _create(self, keys: VectorKeys, vectors: VectorSet) -> None:
        spec: list[str | int] = ["TYPE", "FLOAT32", "DIM", vectors.width, "DISTANCE_METRIC"]
        spec += ["IP" if vectors.product else "L2"]
        spec += ["INITIAL_CAP", vectors.count]
        if vectors.graph:
            spec += ["M", LINKS, "EF_CONSTRUCTION", EFFORT]
        kind = ["VECTOR", "HNSW" if vectors.graph else "FLAT", len(spec), *spec]
        # Without a scan for vectors that are there already: it would find those that come, and index them again.
        words = ["ON", "HASH", "PREFIX", 1, keys.prefix, "SKIPINITIALSCAN", "STOPWORDS", 0, "SCHEMA", FIELD, *kind]
        self._call(vectors.name, "FT.CREATE", keys.index, *words)

    def _put(self, keys: VectorKeys, vectors: VectorSet, start: int, rows: Vectors) -> None:
        pipeline = self._patient.pipeline(transaction=False)
        for key, row in zip(keys.each(np.arange(start, start + len(rows))), rows.astype("<f4"), strict=True):
            pipeline.hset(key, FIELD, row.tobytes())
        guarded(shown(vectors.name), pipeline.execute)

    def drop(self, name: str, count: int) -> None:
        """See VectorStores. Redis does other things in between: dropped with its index, 100,000 vectors take long."""
        try:
            self._call(name, "FT.DROPINDEX", index_key(name))
        except StoreUnavailableError as error:
            if not is_unknown(error.__cause__):
                raise
        keys = VectorKeys(name, count)
        for start in range(0, count, PER_UNLINK):
            self._call(name, "UNLINK", *keys.each(np.arange(start, min(count, start + PER_UNLINK))))

    def _facts(self, client: Redis, name: str) -> dict[str, Any]:
        """Return what Redis tells of a set."""
        reply = guarded(shown(name), lambda: client.execute_command("FT.INFO", index_key(name)))
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return {_text(key): value for key, value in pairs}

    def _call(self, name: str, *command: str | bytes | int) -> None:
        guarded(shown(name), lambda: self._patient.execute_command(*command))


def _place(target: RedisTarget) -> StorePlace:
    if target.path is not None or target.service is not None:
        return StorePlace(target.path or target.service or "", "")
    host, port = target.nodes[0]
    return StorePlace(host, str(port))


def _width(found: dict[str, Any]) -> int | None:
    """Return the number of components that the index says it has; None where this version does not tell."""
    for attribute in found.get("attributes", []):
        words = [_text(word).lower() for word in (attribute if isinstance(attribute, list) else [])]
        if "dim" in words:
            return int(words[words.index("dim") + 1])
    return None


def _text(word: object) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
