"""Reads the lists of an index directory; their memory is mapped, so all workers share it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.arrays import map_array
from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.faiss_index import CENTROIDS, MEMBERS, SAMPLE, SHAPE, STARTS, STATS, VECTORS, FaissIndex
from recsvc.recommend.index.lists import SAMPLED, Lists
from recsvc.recommend.index.manifest import IvfManifest
from recsvc.recommend.index.table import VectorTable

Element = TypeVar("Element", np.int32, np.int64)


def load(directory: Path, about: IvfManifest, table: VectorTable, *, version: str) -> FaissIndex:
    """Open the lists of a table. Raises BadIndexError where they are not lists of its vectors."""
    count, dimension = len(table), table.dimension
    centroids = map_array(directory / CENTROIDS, np.float32, None, dimension)
    starts = map_array(directory / STARTS, np.int64, len(centroids) + 1)
    if starts[0] != 0 or starts[-1] != count or (np.diff(starts) < 1).any():
        raise BadIndexError(f"index {directory}: {STARTS} must rise from 0 to {count}")
    lists = Lists(
        table.metric,
        centroids,
        starts,
        _places(directory / MEMBERS, map_array(directory / MEMBERS, np.int32, count), count),
        map_array(directory / STATS, np.float32, 2, len(centroids)),
        map_array(directory / SHAPE, np.float32, dimension, dimension),
        _places(directory / SAMPLE, map_array(directory / SAMPLE, np.int64, len(centroids), SAMPLED), count),
    )
    by_list = map_array(directory / VECTORS, np.float32, count, dimension)
    return FaissIndex(table, by_list, lists=lists, planner=about.planner, version=version)


def _places(path: Path, places: NDArray[Element], count: int) -> NDArray[Element]:
    if places.size and not 0 <= places.min() <= places.max() < count:
        raise BadIndexError(f"index {path.parent}: {path.name} must have numbers from 0 to {count - 1}")
    return places
