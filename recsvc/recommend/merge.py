"""Merges what the candidate sources found into one list, by weighted reciprocal rank; scores of sources never mix.

Formula and constant: G. V. Cormack, C. L. A. Clarke, S. Büttcher: Reciprocal Rank Fusion outperforms Condorcet and
individual Rank Learning Methods, SIGIR 2009: an item's score is the sum over the lists of 1 / (60 + its rank there),
here times the weight of the source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsvc.errors import DefinitionError, RecsvcError
from recsvc.recommend.places import firsts

K: Final = 60
"""The larger, the less the first ranks count above the next ones. The value of the paper, from its pilot runs."""
_PLAIN: Final = 1e-300
"""From this weight on the scores of two ranks differ."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one source found, best first: integer places[c] and its own scores[c], higher is better.

    Raises RecsvcError where the two do not fit together. Single values may be rubbish: `fuse` leaves those out.
    """

    source: str
    places: NDArray[np.int64]
    scores: NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.places.ndim != 1 or self.places.shape != self.scores.shape:
            raise RecsvcError(
                f"source {self.source!r}: places of shape {self.places.shape} and scores of {self.scores.shape},"
                " both must be [c]"
            )
        if self.places.dtype.kind not in "iu" or self.scores.dtype.kind != "f":
            raise RecsvcError(
                f"source {self.source!r}: places are {self.places.dtype} and scores {self.scores.dtype},"
                " they must be integers and floats"
            )


@dataclass(frozen=True, slots=True)
class Share:
    """What a source may bring: its weight, at most ``budget`` candidates, and ``quota`` of them that cannot be cut."""

    weight: float = 1.0
    budget: int = 200
    quota: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise DefinitionError([f"weight {self.weight!r} of a source: must be at least 0, and finite"])
        if self.budget < 0 or self.quota < 0:
            raise DefinitionError([f"budget {self.budget} and quota {self.quota} of a source: must be at least 0"])


class Dropped(NamedTuple):
    """Candidates of one source that did not count."""

    rubbish: int = 0
    """No such place, a score that is no number, or a place named before."""
    masked: int = 0
    """Places that may not be shown."""


class Origin(NamedTuple):
    """A source that gave an item: the item's rank there, from 1 and among what counted, and the source's own score."""

    source: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Merged:
    """Candidates of all sources, each item once, best first; ties by place.

    ``places`` int64[m]; ``scores`` float64[m], the fused ones; ``ranks`` int32[m, s]: rank in each of ``sources``, from
    1, 0 where that source did not give it; ``source_scores`` float64[m, s], NaN there.
    """

    places: NDArray[np.int64]
    scores: NDArray[np.float64]
    sources: tuple[str, ...]
    ranks: NDArray[np.int32]
    source_scores: NDArray[np.float64]
    dropped: Mapping[str, Dropped]

    def origins(self, row: int) -> tuple[Origin, ...]:
        """Name the sources that gave the item of a row, by name."""
        return tuple(
            Origin(source, int(rank), float(score))
            for source, rank, score in zip(self.sources, self.ranks[row], self.source_scores[row], strict=True)
            if rank
        )

    def given_by(self, source: str) -> NDArray[np.bool_]:
        """Tell for each row whether `source` gave it: bool[m]; all False for a source that found nothing."""
        if source not in self.sources:
            return np.zeros(len(self.places), dtype=np.bool_)
        given: NDArray[np.bool_] = self.ranks[:, self.sources.index(source)] > 0
        return given


def fuse(found: Sequence[Candidates], shares: Mapping[str, Share], mask: NDArray[np.bool_], *, most: int) -> Merged:
    """Merge the lists of sources into the `most` best items that `mask` (bool[n], by place) lets through.

    The order in which the sources answered does not matter. Where `most` cuts, the best `quota` items of each source
    stay before others. Raises RecsvcError for a source without a share, or one that is there twice.
    """
    found = sorted(found, key=lambda candidates: candidates.source)
    sources = tuple(candidates.source for candidates in found)
    _check(sources, shares)
    dropped: dict[str, Dropped] = {}
    lists: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for candidates in found:
        places, scores, dropped[candidates.source] = usable(candidates, mask)
        budget = shares[candidates.source].budget
        lists.append((places[:budget], scores[:budget]))
    if len(lists) == 1 and shares[sources[0]].weight >= _PLAIN:
        return _alone(*lists[0], shares[sources[0]].weight, sources, dropped, most)
    items, ranks, source_scores = _table(lists)
    fused = _fused(ranks, np.array([shares[source].weight for source in sources]))
    reserved: NDArray[np.bool_] = (ranks > 0) & (
        ranks <= np.array([shares[source].quota for source in sources], dtype=np.int64)
    )
    keep = _best(fused, np.any(reserved, axis=1), most)
    return Merged(items[keep], fused[keep], sources, ranks[keep], source_scores[keep], dropped)


def _alone(  # noqa: PLR0913, PLR0917  # what a merged list has
    places: NDArray[np.int64],
    scores: NDArray[np.float64],
    weight: float,
    sources: tuple[str, ...],
    dropped: Mapping[str, Dropped],
    most: int,
) -> Merged:
    """Return the list of the only source: its order stays."""
    places, scores = places[:most], scores[:most]
    ranks = np.arange(1, len(places) + 1, dtype=np.int32)
    return Merged(places, weight / (K + ranks), sources, ranks[:, None], scores[:, None], dropped)


def _check(sources: Sequence[str], shares: Mapping[str, Share]) -> None:
    for before, source in zip((None, *sources), sources, strict=False):
        if source == before:
            raise RecsvcError(f"source {source!r} is there twice, its candidates must be one list")
        if source not in shares:
            raise RecsvcError(f"source {source!r} has no share; there are: {', '.join(sorted(shares)) or 'none'}")


def usable(candidates: Candidates, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64], Dropped]:
    """Take out what is rubbish or masked; the order stays: places int64[c], scores float64[c], what was dropped."""
    places, scores = candidates.places.astype(np.int64), candidates.scores.astype(np.float64)
    sound = np.isfinite(scores)
    sound[sound] = firsts(places[sound], len(mask))
    if not sound.all():
        places, scores = places[sound], scores[sound]
    shown = mask[places]
    rubbish, masked = len(candidates.places) - len(places), len(places) - int(np.count_nonzero(shown))
    return (places[shown], scores[shown], Dropped(rubbish, masked)) if masked else (places, scores, Dropped(rubbish))


def _table(
    lists: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Lay the lists side by side: items int64[m] by place, their ranks [m, s] and scores [m, s] in each list."""
    everything = [places for places, _ in lists]
    items = np.unique(np.concatenate(everything)) if everything else np.empty(0, dtype=np.int64)
    ranks = np.zeros((len(items), len(lists)), dtype=np.int32)
    source_scores = np.full((len(items), len(lists)), np.nan)
    for column, (places, scores) in enumerate(lists):
        rows = np.searchsorted(items, places)
        ranks[rows, column] = np.arange(1, len(places) + 1)
        source_scores[rows, column] = scores
    return items, ranks, source_scores


def _fused(ranks: NDArray[np.int32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    fused: NDArray[np.float64] = np.where(ranks > 0, weights / (K + ranks), 0.0).sum(axis=1)
    return fused


def _best(scores: NDArray[np.float64], reserved: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Choose rows, best first; a row's number breaks ties. Where not all fit, reserved ones go first."""
    order = np.argsort(-scores, kind="stable")
    if len(order) <= most:
        return order
    chosen = np.concatenate([order[reserved[order]], order[~reserved[order]]])[:most]
    return order[np.isin(order, chosen)]
