"""Reads the lists of an index directory; their memory is mapped, so all workers share it."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.arrays import map_array
from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.faiss_index import BONUS, IVF, SAMPLE, SAMPLE_LISTS, FaissIndex
from recsvc.recommend.index.faiss_lists import lists_of
from recsvc.recommend.index.lift import Lift
from recsvc.recommend.index.manifest import IvfManifest
from recsvc.recommend.index.table import VectorTable


def load(directory: Path, about: IvfManifest, table: VectorTable, *, version: str) -> FaissIndex:
    """Open the lists of a table. Raises BadIndexError where they are not lists of its vectors."""
    ivf = _read(directory / IVF)
    expected = table.dimension + about.lifted
    if ivf.d != expected or ivf.ntotal != len(table) or ivf.metric_type != faiss.METRIC_L2:
        raise BadIndexError(
            f"index {directory}: {IVF} has {ivf.ntotal} × {ivf.d} of metric {ivf.metric_type}, "
            f"not {len(table)} × {expected} of L2; build the index anew"
        )
    sample = map_array(directory / SAMPLE, np.int64, None)
    sample_lists = map_array(directory / SAMPLE_LISTS, np.int64, len(sample))
    _check_below(directory / SAMPLE, sample, len(table))
    _check_below(directory / SAMPLE_LISTS, sample_lists, ivf.nlist)
    lists = lists_of(ivf, sample, sample_lists, map_array(directory / BONUS, np.float32, ivf.nlist))
    lift = Lift(table.metric, table.longest, lifted=about.lifted)
    return FaissIndex(table, ivf, lift=lift, lists=lists, planner=about.planner, version=version)


def _read(path: Path) -> faiss.IndexIVFFlat:
    try:
        # IO_FLAG_MMAP would make on-disk lists of it, which are half as fast.
        ivf = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        line = " ".join(str(error).split())
        raise BadIndexError(f"index {path.parent}: faiss cannot read {path.name}: {line}") from None
    if not isinstance(ivf, faiss.IndexIVFFlat):
        raise BadIndexError(f"index {path.parent}: {path.name} is a {type(ivf).__name__}, not an IndexIVFFlat")
    return ivf


def _check_below(path: Path, numbers: NDArray[np.int64], end: int) -> None:
    if len(numbers) == 0 or not 0 <= numbers.min() <= numbers.max() < end:
        raise BadIndexError(f"index {path.parent}: {path.name} must have numbers from 0 to {end - 1}")
