"""Vectors in Redis, searched by its Query Engine (the module ``search``): FT.SEARCH … KNN over hashes.

Figures in comments: 100,000 vectors of 64 components, CPU of redis-server; see ``python -m tests.bench.vectors``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from redis import Redis
from redis.connection import Connection
from redis.exceptions import RedisError, ResponseError

from recsvc.errors import StoreUnavailableError
from recsvc.online.redis_pool import reason
from recsvc.online.redis_vector_keys import FIELD, VectorKeys
from recsvc.online.vector_store import Places, Vectors, VectorSet
from recsvc.telemetry.calls import Calls, Command, StorePlace

Answer = TypeVar("Answer")

LEAST_EF: Final = 200
"""How many a search of the graph looks at, at the least: looking at k alone, a small k misses some."""
PER_FETCH: Final = 1_000
"""Vectors that are fetched in one go: commands and answers in flight stay below half a megabyte at 64 components."""
PER_SEARCH: Final = 16_384
"""Keys that one command names: Redis does nothing else for about 15 ms then."""


class RedisVectors:
    """See VectorStore. ``timeout_s`` is how long Redis may search; its client should wait a little longer.

    Threads may use it at once: each command has a connection of its own.
    """

    def __init__(
        self, client: Redis, vectors: VectorSet, *, timeout_s: float, told: tuple[Calls, StorePlace] | None = None
    ) -> None:
        """Search the set; ``told``: who is told of each command, and what the place is called."""
        self._told = told
        self._client = client
        self._set = vectors
        self._shown = shown(vectors.name)
        self._keys = VectorKeys(vectors.name, vectors.count)
        self._timeout_ms = max(1, round(timeout_s * 1000))

    def __repr__(self) -> str:
        return f"RedisVectors({self._set!r})"

    def nearest(self, point: Vectors, k: int) -> Places:
        """See VectorStore."""
        return self._search(point, min(k, self._set.count), None)

    def nearest_among(self, point: Vectors, among: Places, k: int) -> Places:
        """See VectorStore. All of ``among`` are compared.

        INKEYS says which: a condition on a TAG or NUMERIC field costs Redis half of that, but no such field can follow
        what is allowed, which differs from request to request.
        """
        pieces = [among[start : start + PER_SEARCH] for start in range(0, len(among), PER_SEARCH)]
        found = [self._search(point, min(k, len(piece)), piece) for piece in pieces]
        short = sum(min(k, len(piece)) for piece in pieces) - sum(map(len, found))
        if short:  # Redis ends a search that takes too long, without a word
            raise StoreUnavailableError(f"{self._shown} lack {short} of what was searched for: lost, or too slow")
        if len(found) == 1:
            return found[0]
        return self._best(point, np.concatenate(found), k) if found else np.empty(0, dtype=np.int64)

    def _best(self, point: Vectors, places: Places, k: int) -> Places:
        rows = self.vectors(places).astype(np.float64)
        away = -(rows @ point) if self._set.product else ((rows - point) ** 2).sum(axis=1)
        return places[np.argsort(away, kind="stable")[:k]]

    def _search(self, point: Vectors, k: int, among: Places | None) -> Places:
        if k == 0:
            return np.empty(0, dtype=np.int64)
        if among is not None:  # Redis might search by the graph all the same, for twice the CPU and less recall
            effort = " HYBRID_POLICY ADHOC_BF"
        else:
            effort = f" EF_RUNTIME {max(k, LEAST_EF)}" if self._set.graph else ""
        query = f"*=>[KNN {k} @v $q{effort} AS away]"
        # Without content, and sorted there: to return 500 vectors here costs 2.5 ms, to fetch them apart 0.8.
        words = [b"FT.SEARCH", self._keys.index, query.encode(), b"NOCONTENT", b"SORTBY", b"away"]
        words += [b"PARAMS", b"2", b"q", point.astype("<f4").tobytes(), b"LIMIT", b"0", b"%d" % k]
        words += [b"TIMEOUT", b"%d" % self._timeout_ms, b"DIALECT", b"2"]
        keys = b""
        if among is not None:
            words += [b"INKEYS", b"%d" % len(among)]
            keys = self._keys.between(b"$%d\r\n" % self._keys.length, among, b"\r\n")
        command = _packed(words, more=0 if among is None else len(among)) + keys
        (reply,) = self._answers("FT.SEARCH", command, 1)
        places = self._keys.places(reply[1:]) if isinstance(reply, list) and reply else None
        if places is None or len(places) > k or len(np.unique(places)) < len(places):
            raise StoreUnavailableError(f"{self._shown}: the search has an answer that is none")
        return places

    def vectors(self, places: Places) -> Vectors:
        """See VectorStore."""
        found = np.empty((len(places), self._set.width), dtype="<f4")
        size = found.itemsize * self._set.width
        before = b"*3\r\n$4\r\nHGET\r\n$%d\r\n" % self._keys.length
        after = b"\r\n$1\r\n" + FIELD + b"\r\n"
        for start in range(0, len(places), PER_FETCH):
            piece = places[start : start + PER_FETCH]
            replies = self._answers("HGET", self._keys.between(before, piece, after), len(piece))
            for place, reply in zip(piece.tolist(), replies, strict=True):
                if not isinstance(reply, bytes) or len(reply) != size:
                    raise StoreUnavailableError(f"{self._shown} have no vector {place}: lost; build the index anew")
            found[start : start + PER_FETCH] = np.frombuffer(b"".join(replies), dtype="<f4").reshape(len(piece), -1)
        return found.astype(np.float32, copy=False)

    def _answers(self, operation: str, commands: bytes, number: int) -> list[Any]:
        """Send packed commands and return their answers, all or none."""
        return guarded(self._shown, lambda: self._told_exchange(operation, commands, number))

    def _told_exchange(self, operation: str, commands: bytes, number: int) -> list[Any]:
        pool = self._client.connection_pool
        command, failed = None if self._told is None else Command(*self._told, operation, number), ""
        try:
            return _exchange(pool.get_connection, pool.release, commands, number)
        except BaseException as error:
            failed = reason(error)
            raise
        finally:
            if command is not None:
                command.end(failed)


def _exchange(
    take: Callable[[], Connection], give_back: Callable[[Connection], None], commands: bytes, number: int
) -> list[Any]:
    """Exchange commands for their answers on a connection; one that was cut short is closed, never given on."""
    connection = take()
    whole = False
    try:
        connection.send_packed_command([commands], check_health=False)
        replies = [connection.read_response(disable_decoding=True) for _ in range(number)]
        whole = True
        return replies
    finally:
        if not whole:
            connection.disconnect()
        give_back(connection)


def _packed(words: Sequence[bytes], *, more: int = 0) -> bytes:
    """Pack a command; ``more`` words come after these."""
    return b"*%d\r\n" % (len(words) + more) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def guarded(name: str, call: Callable[[], Answer]) -> Answer:
    """Call Redis; what goes wrong is one error with one line."""
    try:
        return call()
    except ResponseError as error:
        raise StoreUnavailableError(f"{name} {_refusal(error)}") from error
    except (RedisError, OSError) as error:
        raise StoreUnavailableError(f"{name}: {' '.join(str(error).split()) or type(error).__name__}") from error


def is_unknown(error: BaseException | None) -> bool:
    """Say whether a server said so that it has no such index."""
    unknown = ("unknown index", "no such index")
    return isinstance(error, ResponseError) and any(words in str(error).lower() for words in unknown)


def _refusal(error: ResponseError) -> str:
    text = " ".join(str(error).split())
    if "unknown command" in text.lower():
        return "need the Query Engine: Redis 8, or the module `search` (RediSearch 2.10) loaded into an older one"
    if is_unknown(error):
        return "are not there: build the index anew, or point recsvc to the Redis that has them"
    return f"are refused: {text}"


def shown(name: str) -> str:
    """Name a set in errors."""
    return f"the vectors {name} in Redis"
