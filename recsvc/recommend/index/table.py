"""The vectors of an index with their ids, checked and brought to the form that its metric scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsvc.recommend.index.errors import BadIndexError, BadQueryError
from recsvc.recommend.index.metric import LONGEST, Metric, lengths
from recsvc.recommend.index.protocol import Allowed, Hits

_ROWS = 16_384
"""Rows that are looked at in one go: what is made of them in between stays small."""

NO_HITS = Hits(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


@dataclass(frozen=True, slots=True)
class VectorTable:
    """``vectors`` float32[n, d] by place, the longest of them, and their ids; see `vector_table` for making one."""

    ids: Sequence[str]
    vectors: NDArray[np.float32] = field(repr=False)
    metric: Metric
    longest: float

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return int(self.vectors.shape[1])

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32[m, d] vectors at places. Raises BadQueryError where one lies outside of the index."""
        chosen = np.asarray(places, dtype=np.int64)
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise BadQueryError(f"places {chosen.min()} to {chosen.max()}: the index has places 0 to {len(self) - 1}")
        return self.vectors.take(chosen, axis=0)


@dataclass(frozen=True, slots=True)
class Question:
    """A search that fits its index: ``query`` float32[d] (a unit vector for COSINE), of length ``length``.

    ``wanted`` is how many hits the answer has, ``passing`` how many places are allowed (None: all of them are).
    """

    query: NDArray[np.float32]
    length: float
    wanted: int
    passing: int
    allowed: NDArray[np.bool_] | None


class Dimensioned(Protocol):
    """What a search must fit: a table, or what is known of one that is elsewhere."""

    @property
    def dimension(self) -> int:
        """Length of vectors and queries."""
        ...

    @property
    def metric(self) -> Metric:
        """What scores mean."""
        ...

    def __len__(self) -> int: ...


def question(table: Dimensioned, query: ArrayLike, k: int, allowed: NDArray[np.bool_] | None) -> Question:
    """Check the arguments of a search. Raises BadQueryError, which says what would fit."""
    vector, length = _checked(table, query, k)
    passing = len(table) if allowed is None else _passing(allowed, len(table))
    everything = passing == len(table)
    return Question(vector, length, min(k, passing), passing, None if everything else allowed)


def renumbered_question(table: VectorTable, query: ArrayLike, k: int, allowed: Allowed) -> Question:
    """Check the arguments of a search by other numbers."""
    vector, length = _checked(table, query, k)
    return Question(vector, length, min(k, allowed.passing), allowed.passing, allowed.mask)


def with_mask(asked: Question, allowed: NDArray[np.bool_]) -> Question:
    """Return the same question with another mask."""
    passing = int(np.count_nonzero(allowed))
    return replace(asked, wanted=min(asked.wanted, passing), passing=passing, allowed=allowed)


def _checked(table: Dimensioned, query: ArrayLike, k: int) -> tuple[NDArray[np.float32], float]:
    """Return the query as it is scored, and its length."""
    vector = np.asarray(query, dtype=np.float64)
    if vector.shape != (table.dimension,):
        raise BadQueryError(f"query of shape {vector.shape}: the index takes ({table.dimension},)")
    length = float(np.sqrt(vector @ vector))
    if not length <= LONGEST:  # NaN is not, either
        raise BadQueryError(f"query of length {length}: it must be finite and at most {LONGEST:g}")
    if k < 0:
        raise BadQueryError(f"k is {k}: it must not be negative")
    if table.metric is Metric.COSINE and length > 0.0:
        vector, length = vector / length, 1.0
    return vector.astype(np.float32), length


def _passing(allowed: NDArray[np.bool_], n: int) -> int:
    if allowed.dtype != np.bool_ or allowed.shape != (n,):
        raise BadQueryError(f"mask of {allowed.dtype} {allowed.shape}: the index takes bool ({n},)")
    return int(np.count_nonzero(allowed))


def best_first(places: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Hits:
    """Order hits by score, equal ones by place, and leave the first ``k``."""
    order = np.lexsort((places, -scores))[:k]
    return Hits(places[order], scores[order])


def vector_table(ids: Sequence[str], vectors: ArrayLike, metric: Metric) -> VectorTable:
    """Check the [n, d] vectors of ``ids`` and copy them to the form that the metric scores.

    Raises BadIndexError where an id comes twice, or a vector is not finite or too long.
    """
    matrix = np.array(vectors, dtype=np.float32, order="C")
    if matrix.ndim != 2 or matrix.shape[1] == 0:  # noqa: PLR2004 - rows and columns
        raise BadIndexError(f"vectors of shape {matrix.shape}: they must be rows of one length, at least 1")
    if len(ids) != len(matrix):
        raise BadIndexError(f"{len(ids)} ids for {len(matrix)} vectors: each vector needs its id")
    _refuse_repeats(ids)
    longest = 0.0
    for start in range(0, len(matrix), _ROWS):
        block = matrix[start : start + _ROWS]
        found = lengths(block)
        _refuse_lengths(found, ids, start)
        if metric is Metric.COSINE:
            block /= np.where(found > 0.0, found, 1.0)[:, None]
            found = lengths(block)
        longest = max(longest, float(found.max()))
    return VectorTable(ids, matrix, metric, longest)


def _refuse_repeats(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise BadIndexError(f"item {name!r} comes twice: an item has one vector")
        seen.add(name)


def _refuse_lengths(found: NDArray[np.float64], ids: Sequence[str], start: int) -> None:
    wrong = np.flatnonzero(~(found <= LONGEST))
    if len(wrong):
        place = start + int(wrong[0])
        raise BadIndexError(
            f"the vector of item {ids[place]!r} has length {found[wrong[0]]}: it must be finite, at most {LONGEST:g}"
        )
