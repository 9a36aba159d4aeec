"""The lists of an index: which of them to probe for a query, so that they hold nearly all of what it is to find.

Of each list is known how many allowed vectors it has (on a sample of it), what they score in the mean (the score of its
centroid), and how much scores spread around that. Taken for normal, these numbers tell how many vectors of each list
score above any threshold: the threshold is the one above which there are as many as are sought, and lists are probed
until they hold the fitted share of those, the ones with most of them among their vectors first. So it matters little
whether a filter passes what lies near the query, far from it, or in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.planner import Step

SAMPLED: Final = 8
"""Vectors of each list on which survivors are counted: as bytes, one word of a processor."""
_REACH: Final = 8.0
"""So many standard deviations from its mean no list has anything."""
_UPWARD: Final = 5.0
"""Beyond so many there is next to nothing."""
_TOP: Final = 256
_PRECISE: Final = 0.05
"""To so much of a standard deviation thresholds are found."""
_ROUNDS: Final = 30
_MOST_TRIED: Final = 31
_AT_ONCE: Final = 4_096
_FROM_ONE: Final = np.arange(1.0, _MOST_TRIED + 1)
_FAR: Final = 0.3
"""So many standard deviations of the lists' mean scores."""
_DOUBT: Final = 0.02
"""So many vectors of a list like all others are added to its sample, at least: a sample without a survivor is no proof
that the list has none."""
_DOUBTFUL: Final = 0.005
"""A list that holds so much of the best by a guess is counted."""
_RECOUNTED: Final = 20.0
"""Where lists are more alike than that, the guess is good."""
_NOTHING: Final = 1e-5
_FEW: Final = 16
"""Of so many vectors the spread of a list is known."""
_LEAST_SPREAD: Final = 1e-3
"""Of the usual spread."""

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Survivors(NamedTuple):
    """How many allowed vectors each list has: float32[l]; where ``recount`` is there it is a guess, and that counts."""

    counts: Floats
    recount: Callable[[NDArray[np.int64]], Floats] | None = None


class Expected(NamedTuple):
    """Lists int64[m], those with most of the best among their vectors first, and which share they hold up to each.

    The last share is 1. ``far``: what passes lies far from the query.
    """

    order: NDArray[np.int64]
    held: NDArray[np.float64]
    far: bool


@dataclass(frozen=True)
class Lists:
    """What is known of the lists, in the scale of ``scale.Scale``.

    ``centroids`` float32[l, d]: the means. ``starts`` int64[l + 1]: where in ``members`` int32[n], the places of one
    list after another, each begins; none is empty. ``stats`` float32[2, l]: of the vectors of
    each list the root of the mean square of their distance to the centroid in one dimension, and the standard deviation
    of their squared distance. ``shape`` float32[d, d]: the covariance of the
    differences to the centroids, in units of the first, of all lists together. ``sample`` int64[l, SAMPLED]: places of
    vectors of each.
    """

    metric: Metric
    centroids: Floats
    starts: NDArray[np.int64]
    members: NDArray[np.int32]
    stats: Floats
    shape: Floats
    sample: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Lists({len(self.sizes)}, sizes {self.sizes.min()} to {self.sizes.max()})"

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """How many vectors each list has: int64[l], at least 1."""
        sizes: NDArray[np.int64] = np.diff(self.starts)
        return sizes

    def positions(self, lists: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in ``members`` those of some lists stand, one list after another."""
        sizes = self.sizes[lists]
        ends = np.cumsum(sizes)
        shifts = np.repeat(self.starts[lists] - (ends - sizes), sizes)
        positions: NDArray[np.int64] = np.arange(len(shifts)) + shifts
        return positions

    def recount(self, allowed: Callable[[NDArray[np.int64]], Mask], some: NDArray[np.int64]) -> Floats:
        """Count how many vectors of some lists are allowed; ``allowed`` says which ones at positions in ``members``."""
        sizes = self.sizes[some]
        hits = allowed(self.positions(some))
        counts: Floats = np.add.reduceat(hits, np.cumsum(sizes) - sizes, dtype=np.float32)
        return counts

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """The list of each place: int64[n]."""
        owners = np.empty(len(self.members), np.int64)
        owners[self.members] = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return owners

    @cached_property
    def _counts(self) -> Floats:
        return self.sizes.astype(np.float32)

    @cached_property
    def _total(self) -> float:
        return float(self.sizes.sum())

    @cached_property
    def _spreads(self) -> Floats:
        """Spreads above 0; the fewer vectors a list has, the more it is taken for a usual one."""
        squares = np.square(self.stats[0], dtype=np.float64)
        lacking = np.maximum(0, _FEW - self.sizes)
        usual = float(squares @ self.sizes) / self._total
        spreads = np.sqrt((squares * (_FEW - lacking) + lacking * usual) / _FEW)
        known: Floats = np.maximum(spreads, max(1e-12, _LEAST_SPREAD * math.sqrt(usual))).astype(np.float32)
        return known

    @cached_property
    def _squares(self) -> Floats:
        squares: Floats = np.einsum("ij,ij->i", self.centroids, self.centroids)
        return squares

    def outlook(self, point: Floats) -> tuple[Floats, Floats]:
        """Return the mean score of each list for a query, and its standard deviation, above 0: float32[l] each.

        For L2 the score is minus the logarithm of the squared distance.
        """
        products = self.centroids @ point
        if self.metric is Metric.L2:
            away = np.maximum(point @ point - np.float32(2.0) * products + self._squares, np.float32(0.0))
            squares = self._spreads * self._spreads
            mean = away + squares * np.float32(self.centroids.shape[1]) + np.float32(1e-12)
            wide = (np.float32(4.0) * squares * away + np.square(self.stats[1])) / (mean * mean)
            # Distances are never below 0: their logarithm is what is taken for normal.
            variance = np.log1p(np.maximum(wide, np.float32(1e-6)))
            return variance / np.float32(2.0) - np.log(mean), np.sqrt(variance)
        wide = math.sqrt(max(1e-12, float(point @ self.shape @ point)))
        return products, self._spreads * np.float32(wide)

    def survivors(self, hits: Mask | None, recount: Callable[[NDArray[np.int64]], Floats] | None = None) -> Survivors:
        """Return how many allowed vectors each list has.

        ``hits`` bool[l, SAMPLED]: which of the sample are allowed; None: all. The few of a list tell the more, the more
        lists differ: where they do not, as under a filter that has nothing to do with the vectors, all are taken for
        alike (the share of each is that of a beta-binomial model, fitted by moments).
        """
        if hits is None:
            return Survivors(self._counts)
        counts = np.bitwise_count(np.ascontiguousarray(hits).view(np.uint64)[:, 0]).astype(np.float32)  # bytes of 0, 1
        of_all = float(counts @ self._counts) / self._total
        rate = of_all / SAMPLED
        if not 0.0 < rate < 1.0:
            return Survivors(counts * self._counts / np.float32(SAMPLED))
        away = counts - np.float32(of_all)
        variance = float((away * away) @ self._counts) / self._total / SAMPLED**2
        alike = (variance / (rate * (1.0 - rate)) - 1.0 / SAMPLED) / (1.0 - 1.0 / SAMPLED)
        weight = max(_DOUBT, 1.0 / min(1.0, max(alike, _NOTHING)) - 1.0)
        guessed = (counts + np.float32(weight * rate)) * self._counts / np.float32(SAMPLED + weight)
        return Survivors(guessed, recount if weight < _RECOUNTED else None)

    def expected(self, point: Floats, survivors: Survivors, best: float) -> Expected:
        """Say which lists hold the ``best`` of the survivors; those that hold next to none are left out."""
        return self._expected(*self.outlook(point), survivors, best)

    def _expected(self, means: Floats, deviations: Floats, survivors: Survivors, best: float) -> Expected:
        far = self._lie_far(means, survivors.counts)
        order, rich = _rich(survivors.counts, means, deviations, best)
        if survivors.recount is not None:
            doubtful = order[rich > _DOUBTFUL * best]
            if len(doubtful):
                counts = survivors.counts.copy()
                counts[doubtful] = survivors.recount(doubtful)
                order, rich = _rich(counts, means, deviations, best)
        by_density = np.argsort(-rich / self._counts[order])
        held = np.cumsum(rich[by_density], dtype=np.float64)
        return Expected(order[by_density], held / held[-1] if len(held) else held, far)

    def _lie_far(self, means: Floats, survivors: Floats) -> bool:
        """Say whether survivors score less in the mean than the rest, by much: they are what lies far from a query."""
        if survivors is self._counts:
            return False
        middle = float(self._counts @ means) / self._total
        deviation = math.sqrt(max(0.0, float((means * means) @ self._counts) / self._total - middle * middle))
        some = float(survivors.sum())
        return some > 0.0 and float(survivors @ means) / some < middle - _FAR * deviation

    def to_probe(self, point: Floats, survivors: Survivors, best: float, step: Step, least: int) -> NDArray[np.int64]:
        """Return lists that hold a step's share of the ``best``, and at least so many survivors."""
        means, deviations = self.outlook(point)
        order, held, far = self._expected(means, deviations, survivors, best)
        enough = int(np.searchsorted(held, step.far if far else step.share)) + 1
        inside = np.cumsum(survivors.counts[order], dtype=np.float64)
        for most in (_TOP, len(means)):
            if len(inside) and inside[-1] >= least:
                break
            # The best are few, or the sample has none at all.
            others = _highest(means, most + len(order))
            order = np.concatenate([order, others[~_among(others, order, len(means))]])
            inside = np.cumsum(survivors.counts[order], dtype=np.float64)
        return order[: max(enough, int(np.searchsorted(inside, least)) + 1)]


def _rich(
    survivors: Floats, means: Floats, deviations: Floats, best: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the lists that hold some of the ``best``, and how many."""
    best = min(best, 0.999 * float(survivors.sum()))
    low = _lower_bound(survivors, means, best)
    near = np.flatnonzero(means + np.float32(_UPWARD) * deviations >= low)
    survivors, means, deviations = survivors[near], means[near], deviations[near]
    rich = survivors * _beyond(_threshold(survivors, means, deviations, best, low), means, deviations)
    some = np.flatnonzero(rich > _NOTHING)
    return near[some], rich[some]


def _beyond(threshold: float | Floats, means: Floats, deviations: Floats) -> Floats:
    """Return how much of each normal distribution lies beyond thresholds, as a formula has it that is quick.

    S. R. Bowling and others: A logistic approximation to the cumulative normal distribution, JIEM 2(1), 2009.
    """
    z = np.minimum(np.maximum((np.float32(threshold) - means) / deviations, -_REACH), _REACH)
    odds = np.exp(z * (np.float32(1.5976) + np.float32(0.070565) * z * z))
    beyond: Floats = np.float32(1.0) / (np.float32(1.0) + odds)
    return beyond


def _highest(means: Floats, most: int) -> NDArray[np.int64]:
    """Return the lists of the ``most`` highest means, highest first."""
    if len(means) <= most:
        return np.argsort(-means)
    top = np.argpartition(means, len(means) - most)[-most:]
    return top[np.argsort(-means[top])]


def _among(lists: NDArray[np.int64], others: NDArray[np.int64], count: int) -> Mask:
    """Say which of ``lists`` are among ``others``, all below ``count``."""
    marked = np.zeros(count, np.bool_)
    marked[others] = True
    return marked[lists]


def _lower_bound(survivors: Floats, means: Floats, best: float) -> float:
    """Return a score above which there are at least ``best`` survivors: half of those of the lists that score more."""
    top = _highest(means, _TOP)
    enough = int(np.searchsorted(np.cumsum(survivors[top], dtype=np.float64), 2.0 * best))
    return float(means[top[enough]]) if enough < len(top) else -math.inf


def _threshold(survivors: Floats, means: Floats, deviations: Floats, best: float, low: float) -> float:
    """Return the score above which there are about ``best`` survivors; it is ``low`` or more."""
    low = max(low, float((means - np.float32(_REACH) * deviations).min(initial=0.0)))
    high = float((means + np.float32(_REACH) * deviations).max(initial=0.0))
    precise = _PRECISE * float(deviations.mean())
    for _ in range(_ROUNDS):
        if high - low <= precise:
            break
        # Of few lists many thresholds are tried at once: that takes as long as one.
        number = min(_MOST_TRIED, max(1, _AT_ONCE // len(means)))
        tried = low + (high - low) * (_FROM_ONE[:number] / (number + 1))
        rich = survivors * _beyond(tried.astype(np.float32)[:, None], means, deviations)
        below = int(np.count_nonzero(rich.sum(axis=1) > best))
        if below < len(tried):
            high = float(tried[below])
        if below:
            low = float(tried[below - 1])
            matter = np.flatnonzero(rich[below - 1] > _NOTHING)
            if 2 * len(matter) < len(means):  # from here on thresholds are higher still
                survivors, means, deviations = survivors[matter], means[matter], deviations[matter]
    return low
