"""An index over the lists of faiss: for so many vectors that scoring all of them takes too long.

A search either scores its few survivors exactly or probes lists with a bitmap of what is allowed, as its planner says;
what the lists find is scored exactly, and where they find too little everything allowed is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.exact import answer_exactly, score_places
from recsvc.recommend.index.lift import Lift
from recsvc.recommend.index.lists import Lists
from recsvc.recommend.index.manifest import IvfManifest
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.planner import Planner
from recsvc.recommend.index.protocol import Hits
from recsvc.recommend.index.table import Question, VectorTable, question

IVF = "lists.faiss"
SAMPLE = "sample.npy"
SAMPLE_LISTS = "sample_lists.npy"
BONUS = "list_bonus.npy"


class FaissIndex:
    """Probes the lists of ``ivf``, in which ids are places of the table; see VectorIndex."""

    def __init__(  # noqa: PLR0913 - the parts of an index, from a build or from files
        self, table: VectorTable, ivf: faiss.IndexIVF, *, lift: Lift, lists: Lists, planner: Planner, version: str
    ) -> None:
        self._table = table
        self._ivf = ivf
        self._lift = lift
        self._lists = lists
        self._planner = planner
        self._version = version

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
        lift, lists, version = self._lift, self._lists, self._version
        return FaissIndex(self._table, self._ivf, lift=lift, lists=lists, planner=planner, version=version)

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """See VectorIndex."""
        return self._table.at(places)

    def search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """See VectorIndex."""
        asked = question(self._table, query, k, allowed)
        point = None if self._planner.gathers(asked.passing) else self._lift.query(asked)
        if asked.wanted == 0 or point is None:
            return answer_exactly(self._table, asked)
        found = self._probe(point, asked)
        if len(found) < asked.wanted:
            return answer_exactly(self._table, asked)
        return score_places(self._table, asked, found)

    def _probe(self, point: NDArray[np.float32], asked: Question) -> NDArray[np.int64]:
        """Return the places int64[m] that the lists find, some more than wanted where they hold more."""
        step = self._planner.step(asked.passing, len(self), asked.wanted)
        probed = self._lists.to_probe(point, asked.allowed, step)
        more = min(asked.passing, asked.wanted + asked.wanted // 8 + 8)  # lists round: the exact scores decide
        found = _search_lists(self._ivf, point, probed, more, asked.allowed)
        return found[found >= 0]

    def save_lists(self, directory: Path) -> IvfManifest:
        """See Stored."""
        faiss.write_index(self._ivf, str(directory / IVF))
        np.save(directory / SAMPLE, self._lists.sample, allow_pickle=False)
        np.save(directory / SAMPLE_LISTS, self._lists.sample_lists, allow_pickle=False)
        np.save(directory / BONUS, self._lists.bonus, allow_pickle=False)
        return IvfManifest(self._lift.lifted, self._planner)


def _search_lists(
    ivf: faiss.IndexIVF,
    point: NDArray[np.float32],
    probed: NDArray[np.int64],
    k: int,
    allowed: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """Search these lists; int64[k] with -1 where there are fewer. The array of bits must outlive the call."""
    faiss.omp_set_num_threads(1)  # holds for the calling thread alone, so it is said in each
    query = np.ascontiguousarray(point, dtype=np.float32)
    unused = np.zeros(len(probed), dtype=np.float32)  # distances to centroids: lists of whole vectors need none
    distances, found = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
    parameters = faiss.SearchParametersIVF()
    parameters.nprobe = len(probed)
    bits = selector = None
    if allowed is not None:
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        parameters.sel = selector
    # The Python wrapper of this call takes no parameters.
    ivf.search_preassigned_c(  # type: ignore[attr-defined]
        1,
        faiss.swig_ptr(query),
        k,
        faiss.swig_ptr(probed),
        faiss.swig_ptr(unused),
        faiss.swig_ptr(distances),
        faiss.swig_ptr(found),
        False,  # noqa: FBT003 - store_pairs, a C++ argument
        parameters,
    )
    return found
