"""Makes lists with faiss: k-means on a sample of the vectors, then every vector into the list of its centroid.

Where scores are products and lengths are spread, vectors are clustered by direction alone, and each cluster is cut into
lists of about one length: else long vectors, the best of most queries, stand in lists with many short ones, and nobody
can tell from a list what is in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.lists import SAMPLED, Lists
from recsvc.recommend.index.metric import Metric, directions, lengths
from recsvc.recommend.index.scale import Scale
from recsvc.recommend.index.table import VectorTable

_TRAIN_PER_LIST: Final = 64
_LEAST_PER_LIST: Final = 32
_ROUNDS: Final = 10
_ROWS: Final = 65_536
_RATIO: Final = 1.5
"""Of the longest to the shortest vector of a slice."""
_WHOLE_BELOW: Final = 0.3
"""What would leave so little of the rest takes it in: few of the shortest vectors are ever among the best."""
_PER_CELL: Final = 4
"""So many lists a cell makes up, about, in the number that is asked for."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def number_of_lists(count: int) -> int:
    """Return how many lists ``count`` vectors get: the power of two next to 4 times the root, at least 32 in each.

    Between 4 and 16 roots is what faiss's guidelines say for up to a million.
    """
    near: int = 2 ** round(math.log2(4.0 * math.sqrt(max(1, count))))
    return max(1, min(near, count // _LEAST_PER_LIST))


def make_lists(table: VectorTable, scale: Scale, count: int, rng: np.random.Generator) -> Lists:
    """Put the vectors of a table into ``count`` lists, or about as many."""
    owners = _owners(table, count, rng)
    order = np.argsort(owners, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners), dtype=np.int64)])
    return _described(table, scale, owners, (starts, order), _sampled(order, starts, rng))


def _owners(table: VectorTable, count: int, rng: np.random.Generator) -> Ints:
    """Return the list of each place, int64[n]; none of them is empty."""
    everything = np.arange(len(table))
    if table.metric is Metric.L2:
        return _numbered(_clustered(table, everything, count, rng))
    known = lengths(table.vectors)
    spread = float(np.quantile(known, 0.9)) > _RATIO * float(np.quantile(known, 0.1))
    cells = _clustered(table, everything, max(1, count // _PER_CELL) if spread else count, rng)
    return _numbered(_cut(cells, known))


def _numbered(owners: Ints) -> Ints:
    return np.unique(owners, return_inverse=True)[1]


def _cut(cells: Ints, known: NDArray[np.float64]) -> Ints:
    """Cut each cell into lists of vectors of about one length, the longest first."""
    order = np.lexsort((-known, cells))
    ends = np.cumsum(np.bincount(cells)).tolist()
    owners, begin, number = np.empty(len(cells), dtype=np.int64), 0, 0
    for end in ends:
        while begin < end:
            least = known[order[begin]] / _RATIO
            within = int(np.searchsorted(-known[order[begin:end]], -least, side="right"))
            stop = begin + max(within, _LEAST_PER_LIST)
            stop = end if end - stop < _WHOLE_BELOW * (end - begin) or end - stop < _LEAST_PER_LIST else stop
            owners[order[begin:stop]] = number
            begin, number = stop, number + 1
    return owners


def _clustered(table: VectorTable, places: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Return for each of ``places`` its cluster, from 0: by k-means; of directions, where scores are products."""
    by_direction = table.metric is not Metric.L2
    chosen = rng.choice(places, size=min(len(places), count * _TRAIN_PER_LIST), replace=False)
    settings = faiss.ClusteringParameters()
    settings.niter, settings.spherical, settings.seed = _ROUNDS, by_direction, int(rng.integers(2**31))
    settings.min_points_per_centroid = 1  # fewer than it likes are no reason to write to stderr
    clustering = faiss.Clustering(table.dimension, count, settings)
    metric = faiss.METRIC_INNER_PRODUCT if by_direction else faiss.METRIC_L2
    near = faiss.IndexFlat(table.dimension, metric)
    clustering.train(_points(table, np.sort(chosen)), near)
    blocks = (places[start : start + _ROWS] for start in range(0, len(places), _ROWS))
    return np.concatenate([near.search(_points(table, block), 1)[1][:, 0] for block in blocks])


def _points(table: VectorTable, places: Ints) -> Floats:
    """Return vectors as they are clustered: directions where scores are products, else in scale."""
    vectors = table.vectors.take(places, axis=0)
    return Scale.of(table).vectors(vectors) if table.metric is Metric.L2 else directions(vectors)


def _means(table: VectorTable, scale: Scale, owners: Ints, lists: int) -> Floats:
    sums = np.zeros((lists, table.dimension))
    for start in range(0, len(table), _ROWS):
        np.add.at(sums, owners[start : start + _ROWS], scale.vectors(table.vectors[start : start + _ROWS]))
    means: Floats = (sums / np.bincount(owners, minlength=lists)[:, None]).astype(np.float32)
    return means


def _sampled(order: Ints, starts: Ints, rng: np.random.Generator) -> Ints:
    """Draw the places on which survivors are counted: int64[l, SAMPLED]; of small lists they come again and again."""
    sample = np.empty((len(starts) - 1, SAMPLED), dtype=np.int64)
    for number, (start, size) in enumerate(zip(starts.tolist(), np.diff(starts).tolist(), strict=False)):
        sample[number] = np.resize(start + rng.permutation(size)[:SAMPLED], SAMPLED)
    return order[sample]


def _described(table: VectorTable, scale: Scale, owners: Ints, members: tuple[Ints, Ints], sample: Ints) -> Lists:
    """Measure how the vectors of lists stand around their means; ``members``: where lists start, and their places."""
    starts, order = members
    sizes, lists, dimension = np.diff(starts), len(starts) - 1, table.dimension
    centroids = _means(table, scale, owners, lists)
    sums = np.zeros((2, lists))  # of squared distances, and of their squares
    for of, rows in _blocks(table, scale, owners):
        away = np.einsum("ij,ij->i", rows - centroids[of], rows - centroids[of], dtype=np.float64)
        sums += [np.bincount(of, weights, lists) for weights in (away, away * away)]
    square, fourth = sums / sizes
    spreads = np.sqrt(square / dimension)
    stats = np.stack([spreads, np.sqrt(np.maximum(0.0, fourth - square * square))]).astype(np.float32)
    shape = np.zeros((dimension, dimension))
    for of, rows in _blocks(table, scale, owners):
        units = (rows - centroids[of]) / np.maximum(spreads[of], 1e-12)[:, None]
        shape += units.T @ units
    shape *= dimension / (np.trace(shape) or 1.0)
    places = order.astype(np.int32)
    return Lists(table.metric, centroids, starts, places, stats, shape.astype(np.float32), sample)


def _blocks(table: VectorTable, scale: Scale, owners: Ints) -> Iterator[tuple[Ints, Floats]]:
    for start in range(0, len(table), _ROWS):
        yield owners[start : start + _ROWS], scale.vectors(table.vectors[start : start + _ROWS])
