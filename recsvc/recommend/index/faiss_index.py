"""An index over lists of near vectors: for so many that scoring all of them takes too long.

faiss makes the lists; a search does not need it. It either scores its few survivors or those of the lists that its
planner says, roughly at first and the best of them exactly; where these are too few everything allowed is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.exact import answer_exactly, gather, score_rows
from recsvc.recommend.index.leaders import Leaders
from recsvc.recommend.index.lists import Lists, Survivors
from recsvc.recommend.index.manifest import IvfManifest
from recsvc.recommend.index.metric import Metric, rough_error
from recsvc.recommend.index.numbering import Numbering
from recsvc.recommend.index.planner import Planner
from recsvc.recommend.index.protocol import Allowed, Basis, Hits
from recsvc.recommend.index.scale import Scale
from recsvc.recommend.index.table import Question, VectorTable, question, renumbered_question, with_mask

VECTORS = "list_vectors.npy"
CENTROIDS = "list_centroids.npy"
STARTS = "list_starts.npy"
MEMBERS = "list_members.npy"
STATS = "list_stats.npy"
SHAPE = "list_shape.npy"
SAMPLE = "list_sample.npy"


class Near(NamedTuple):
    """Of which lists a mask allows how many, that was made into another one by taking out ``taken`` places."""

    survivors: Survivors
    taken: int


class Known(NamedTuple):
    """What is known of a mask: how many places of the index it allows, and of which lists."""

    passing: int
    survivors: Survivors


class FaissIndex:
    """Probes lists; ``by_list`` float32[n, d] has vectors as ``lists.members`` has their places. See VectorIndex."""

    def __init__(
        self, table: VectorTable, by_list: NDArray[np.float32], *, lists: Lists, planner: Planner, version: str
    ) -> None:
        self._table = table
        self._by_list = by_list
        self._scale = Scale.of(table)
        self._lists = lists
        self._planner = planner
        self._version = version
        self._own = Numbering.own(lists.members, lists.sample)

    def __repr__(self) -> str:
        size = f"{len(self)} × {self.dimension}, {self.metric}"
        return f"FaissIndex({self._version}, {size}, {self._lists!r}, {self._planner!r})"

    def __len__(self) -> int:
        return len(self._table)

    @property
    def ids(self) -> Sequence[str]:
        """See VectorIndex."""
        return self._table.ids

    @property
    def dimension(self) -> int:
        """See VectorIndex."""
        return self._table.dimension

    @property
    def metric(self) -> Metric:
        """See VectorIndex."""
        return self._table.metric

    @property
    def version(self) -> str:
        """See VectorIndex."""
        return self._version

    @property
    def table(self) -> VectorTable:
        """See Stored."""
        return self._table

    @property
    def planner(self) -> Planner:
        """How searches are planned."""
        return self._planner

    def with_planner(self, planner: Planner) -> FaissIndex:
        """Return the same index, with its searches planned otherwise."""
        return FaissIndex(self._table, self._by_list, lists=self._lists, planner=planner, version=self._version)

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """See VectorIndex."""
        return self._table.at(places)

    def search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """See VectorIndex."""
        return self._answer(question(self._table, query, k, allowed), self._own)

    def renumbered(self, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> RenumberedFaiss:
        """See Renumbers."""
        return RenumberedFaiss(self, self._own.renumbered(numbers, rows))

    def _answer(self, asked: Question, numbering: Numbering, near: Near | None = None) -> Hits:
        """Answer a question whose mask is by these numbers; hits are by place. ``near``: of what it was made of."""
        found = self._probe(asked, numbering, near)
        if found is not None:
            places = self._lists.members[found].astype(np.int64)
            return score_rows(self.metric, asked, self._by_list, found, places)
        if near is not None and asked.allowed is not None:
            asked = with_mask(asked, numbering.indexed(asked.allowed))
        few = asked.allowed is not None and asked.passing < len(self) // 2
        if few and asked.allowed is not None:
            return answer_exactly(self._table, asked, numbering.places(asked.allowed))
        if asked.allowed is not None and numbering is not self._own:
            asked = replace(asked, allowed=numbering.allowed(asked.allowed, numbering.numbers.astype(np.int32)))
        return answer_exactly(self._table, asked)

    def _probe(self, asked: Question, numbering: Numbering, near: Near | None = None) -> NDArray[np.int64] | None:
        """Return where in lists stands what can be among the best: int64[m]; None: too few, or lists are not asked.

        More are returned than wanted: rough scores do not tell the last ones apart.
        """
        if asked.wanted == 0 or self._planner.gathers(asked.passing):
            return None
        point = self._scale.query(asked)
        if point is None:
            return None
        positions = self._lists.positions(self._to_probe(point, asked, numbering, near))
        if asked.allowed is not None:
            positions = positions[numbering.allowed(asked.allowed, numbering.members[positions])]
        if len(positions) < asked.wanted:
            return None
        error = rough_error(self.metric, asked.length, self._table.longest, self.dimension)
        leaders = Leaders(asked.wanted, margin=3.0 * error)
        gather(self.metric, asked.query, self._by_list, positions, leaders)
        return leaders.places()

    def _to_probe(
        self, point: NDArray[np.float32], asked: Question, numbering: Numbering, near: Near | None
    ) -> NDArray[np.int64]:
        plan, lists = self._planner, self._lists
        # All that was taken out may be of what would be found.
        survivors, taken = (self.survivors(asked.allowed, numbering), 0) if near is None else near
        step = plan.step(asked.passing, len(self))
        return lists.to_probe(point, survivors, plan.best(asked.wanted) + taken, step, plan.least(asked.wanted) + taken)

    def survivors(self, mask: NDArray[np.bool_] | None, numbering: Numbering) -> Survivors:
        """Return how many of each list a mask by these numbers allows."""
        lists = self._lists
        if mask is None:
            return lists.survivors(None)
        recount = partial(lists.recount, lambda at: numbering.allowed(mask, numbering.members[at]))
        return lists.survivors(numbering.allowed(mask, numbering.sample), recount)

    def save_lists(self, directory: Path) -> IvfManifest:
        """See Stored."""
        lists = self._lists
        files: dict[str, NDArray[Any]] = {
            VECTORS: self._by_list,
            CENTROIDS: lists.centroids,
            STARTS: lists.starts,
            MEMBERS: lists.members,
            STATS: lists.stats,
            SHAPE: lists.shape,
            SAMPLE: lists.sample,
        }
        for name, array in files.items():
            np.save(directory / name, array, allow_pickle=False)
        return IvfManifest(self._planner)


class RenumberedFaiss:
    """A FaissIndex by other numbers than its places; see Renumbered."""

    def __init__(self, index: FaissIndex, numbering: Numbering) -> None:
        self._index = index
        self._numbering = numbering
        self._known: WeakKeyDictionary[Basis, Known] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"RenumberedFaiss({self._index!r}, {self._numbering!r})"

    def search(self, query: NDArray[np.float32], k: int, allowed: Allowed) -> Hits:
        """See Renumbered."""
        table, numbering, basis = self._index.table, self._numbering, allowed.basis
        if basis is None or basis.passing - allowed.passing > k:
            asked, near = renumbered_question(table, query, k, Allowed.by(numbering.indexed(allowed.mask))), None
        else:
            known = self._of(basis)
            near = Near(known.survivors, basis.passing - allowed.passing)
            # What was taken out may be no place of the index, so as many as this may pass, or fewer.
            asked = renumbered_question(table, query, k, allowed.at_most(known.passing))
        return numbering.renumber(self._index._answer(asked, numbering, near))  # noqa: SLF001 - one index, by other numbers

    def _of(self, basis: Basis) -> Known:
        known = self._known.get(basis)
        if known is None:
            mask = self._numbering.indexed(basis.mask)
            known = Known(int(np.count_nonzero(mask)), self._index.survivors(mask, self._numbering))
            self._known[basis] = known
        return known
