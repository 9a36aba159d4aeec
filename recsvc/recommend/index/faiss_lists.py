"""Makes lists with faiss: k-means on a sample of the vectors, then every vector into the list of its centroid."""

from __future__ import annotations

import math
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.lift import Lift
from recsvc.recommend.index.lists import Lists
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.table import VectorTable

_TRAIN_PER_LIST: Final = 64
_LEAST_PER_LIST: Final = 32
_SAMPLE: Final = 32_768
_ROWS: Final = 65_536


def number_of_lists(count: int) -> int:
    """Return how many lists ``count`` vectors get: the power of two next to 4 times the root, at least 32 in each.

    Between 4 and 16 roots is what faiss's guidelines say for up to a million.
    """
    near: int = 2 ** round(math.log2(4.0 * math.sqrt(max(1, count))))
    return max(1, min(near, count // _LEAST_PER_LIST))


def make_lists(table: VectorTable, lift: Lift, count: int, rng: np.random.Generator) -> faiss.IndexIVFFlat:
    """Put the vectors of a table into ``count`` lists."""
    dimension = table.dimension + lift.lifted
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimension), dimension, count, faiss.METRIC_L2)
    ivf.cp.seed = int(rng.integers(2**31))
    ivf.cp.min_points_per_centroid = 1  # fewer than it likes are no reason to write to stderr
    chosen = rng.choice(len(table), size=min(len(table), count * _TRAIN_PER_LIST), replace=False)
    ivf.train(lift.vectors(table.vectors[np.sort(chosen)]))
    for start in range(0, len(table), _ROWS):
        ivf.add(lift.vectors(table.vectors[start : start + _ROWS]))
    return ivf


def list_of_each(ivf: faiss.IndexIVFFlat) -> NDArray[np.int64]:
    """Return in which list each place is, int64[n]."""
    owners = np.empty(ivf.ntotal, dtype=np.int64)
    filled = _inverted_lists(ivf)
    for number in range(ivf.nlist):
        size = filled.list_size(number)
        if size:
            owners[faiss.rev_swig_ptr(filled.get_ids(number), size)] = number
    return owners


def _inverted_lists(ivf: faiss.IndexIVFFlat) -> faiss.InvertedLists:
    filled = ivf.invlists
    if filled is None:
        raise BadIndexError("the index of faiss has no lists; build it anew")
    return filled


def sampled(owners: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the places on which survivors are counted, and return them with their lists."""
    sample = np.sort(rng.choice(len(owners), size=min(len(owners), _SAMPLE), replace=False)).astype(np.int64)
    return sample, owners[sample]


def list_bonus(
    ivf: faiss.IndexIVFFlat, table: VectorTable, lift: Lift, owners: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return what is added to the product of query and centroid, to order lists by what they may hold: float32[l].

    Under L2 the order is by distance. For products it is by the score of the centroid and half the spread of the list
    around it: the long vectors stand in wide lists, and by distance alone the last of the best come too late (20,000
    vectors of log-normal length: lists with 78 % of the vectors hold .99 of the best hundred, with this 9 %).
    """
    centroids = ivf.quantizer.reconstruct_n(0, ivf.nlist)
    if table.metric is Metric.L2:
        nearness: NDArray[np.float32] = -np.einsum("ij,ij->i", centroids, centroids) / np.float32(2.0)
        return nearness
    squares = np.zeros(ivf.nlist)
    for start in range(0, len(table), _ROWS):
        block = owners[start : start + _ROWS]
        away = lift.vectors(table.vectors[start : start + _ROWS]) - centroids[block]
        squares += np.bincount(block, np.einsum("ij,ij->i", away, away), ivf.nlist)
    spreads = np.sqrt(squares / np.maximum(1, np.bincount(owners, minlength=ivf.nlist)))
    return (0.5 * spreads).astype(np.float32)


def lists_of(
    ivf: faiss.IndexIVFFlat, sample: NDArray[np.int64], sample_lists: NDArray[np.int64], bonus: NDArray[np.float32]
) -> Lists:
    """Describe the lists that ``ivf`` has."""
    filled = _inverted_lists(ivf)
    sizes = np.array([filled.list_size(number) for number in range(ivf.nlist)], dtype=np.int64)
    return Lists(ivf.quantizer.reconstruct_n(0, ivf.nlist), sizes, sample, sample_lists, bonus)
