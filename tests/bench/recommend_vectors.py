"""The synthetic items and users of the Recommend benchmarks: all of it is made from one seed, in seconds.

Items stand around the centres of clusters of uneven size; the ids of items are their numbers, so an id says nothing of
where an item stands. Unit vectors, and the same ones with log-normal lengths, as a factorisation of ratings makes them.
Users stand at items: drawn by Zipf's law, so that popular items are the candidates of many.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.bench.recommend_definitions import DIMENSION, WIDTH

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SEED: Final = 1
PER_CLUSTER: Final = 1_000
"""Items of a cluster, in the mean."""
UNEVEN: Final = 0.5
"""The standard deviation of the logarithm of a cluster's size."""
SPREAD: Final = 0.7
"""The length of what is added to a centre, which has length 1."""
USER_SPREAD: Final = 0.3
NORMS: Final = 0.8
"""The standard deviation of the logarithm of the norms."""
AVAILABLE: Final = 0.95
BLOCK: Final = 65_536


@dataclass(frozen=True)
class Items:
    """``vectors`` float32[n, 64] of length 1, the ``lengths`` float32[n] of the other kind, and what a row has."""

    vectors: Floats = field(repr=False)
    lengths: Floats = field(repr=False)
    cluster: Ints = field(repr=False)
    draw: Doubles = field(repr=False)
    available: Mask = field(repr=False)
    popularity: Doubles = field(repr=False)
    features: Floats = field(repr=False)

    @classmethod
    def make(cls, count: int) -> Items:
        """Make ``count`` items."""
        rng = np.random.default_rng(SEED)
        clusters = max(8, count // PER_CLUSTER)
        sizes = np.exp(rng.normal(0.0, UNEVEN, clusters))
        cluster = rng.choice(clusters, size=count, p=sizes / sizes.sum())
        centres = _unit(rng.normal(size=(clusters, DIMENSION)))
        vectors = np.empty((count, DIMENSION), np.float32)
        for start in range(0, count, BLOCK):
            of = cluster[start : start + BLOCK]
            noise = rng.normal(0.0, SPREAD / DIMENSION**0.5, (len(of), DIMENSION))
            vectors[start : start + BLOCK] = _unit(centres[of] + noise)
        return cls(
            vectors=vectors,
            lengths=np.exp(rng.normal(0.0, NORMS, count)).astype(np.float32),
            cluster=cluster.astype(np.int64),
            draw=rng.random(count),
            available=rng.random(count) < AVAILABLE,
            popularity=(1e6 / (1.0 + rng.permutation(count))).astype(np.float64),
            features=rng.normal(size=(count, WIDTH)).astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.vectors)

    def of_kind(self, kind: str) -> Floats:
        """Return the vectors of a kind, see KINDS."""
        return self.vectors if kind == "unit" else self.vectors * self.lengths[:, None]

    @cached_property
    def sizes(self) -> Ints:
        """How many items each cluster has."""
        return np.bincount(self.cluster)


@dataclass(frozen=True)
class Users:
    """``vectors`` float32[n, 64] of users 0 to n - 1, who stand in ``cluster``; the first ones at popular items."""

    vectors: Floats = field(repr=False)
    cluster: Ints = field(repr=False)

    @classmethod
    def make(cls, items: Items, count: int) -> Users:
        """Make ``count`` users: user k stands at the k-th most popular item."""
        rng = np.random.default_rng(SEED + 1)
        at = np.argsort(-items.popularity)[np.arange(count) % len(items)]
        noise = rng.normal(0.0, USER_SPREAD / DIMENSION**0.5, (count, DIMENSION))
        return cls(_unit(items.vectors[at] + noise).astype(np.float32), items.cluster[at])

    def __len__(self) -> int:
        return len(self.vectors)


def _unit(vectors: Doubles) -> Doubles:
    unit: Doubles = vectors / np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return unit


def weights() -> Doubles:
    """Return the weights of the linear model."""
    return np.random.default_rng(SEED + 2).normal(size=WIDTH)


def zipf(users: int, exponent: float) -> Doubles:
    """Return how probable each user is: the k-th in proportion to k ** -exponent."""
    shares: Doubles = np.arange(1, users + 1, dtype=np.float64) ** -exponent
    shares /= shares.sum()
    return shares
