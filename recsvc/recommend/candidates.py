"""The candidate sources: each finds items of its own kind, among those that may come. They do not wait for anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.errors import RecsvcError
from recsvc.recommend.catalogue import UNKNOWN
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.filling import first_of, passing
from recsvc.recommend.index.protocol import Allowed, Hits
from recsvc.recommend.item_column import NumberColumn
from recsvc.recommend.merge import Candidates
from recsvc.recommend.places import firsts
from recsvc.recommend.quality_factor import Narrowing
from recsvc.recommend.snapshot import Indexed, Snapshot, Vector
from recsvc.recommend.user_facts import UserFacts, is_direction
from recsvc.registry.placement import CandidateSource, Nearest, Newest, Popular, SimilarToRecent, SimilarToSeeds

CATEGORIES: Final = 16
"""Of recent items, that popular ones are taken of: each has a pool of its own, and a slate has not room for more."""


class MissingIndexError(RecsvcError):
    """A vector index that a placement names is not there; ``name`` is the index."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no vector index {name!r}")


@dataclass(frozen=True, slots=True)
class Query:
    """What sources look at. ``allowed``: which places may come. ``seed``: of what is drawn at random.

    ``narrowing``: how much of what is wanted of an index is searched for.
    """

    snapshot: Snapshot
    allowed: Allowed
    facts: UserFacts
    seeds: Places
    seed: int
    now_micros: int
    created_at: str | None
    narrowing: Narrowing


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates, and for those that are like another item which place that one has.

    ``narrowed``: there may be more of them that were not searched for. ``late``: there was no time to search for all.
    ``by_category``: they are popular ones of their categories, not of all.
    """

    candidates: Candidates
    like: Mapping[int, int] = field(default_factory=dict)
    narrowed: bool = False
    late: bool = False
    by_category: bool = False


def _endless() -> float:
    return math.inf


def find(source: CandidateSource, query: Query, left_s: Callable[[], float] = _endless) -> Found | None:
    """Return what a source finds; None where it has nothing to go by: no seeds, no vector, no recent items.

    ``left_s``: how many seconds from now what is found is still of use. Raises MissingIndexError, and whatever an index
    raises.
    """
    match source:
        case Nearest():
            return _nearest(source, query)
        case SimilarToSeeds():
            return _similar(source, query.seeds, query, left_s)
        case SimilarToRecent():
            return _similar(source, _recent(query, source.recent, source.last), query, left_s)
        case Popular():
            return _popular(source, query)
        case Newest():
            return _newest(source, query)


def _nearest(source: Nearest, query: Query) -> Found | None:
    vector = _query_vector(source, query)
    if vector is None:
        return None
    wanted = query.narrowing.of(source.candidates)
    hits = _index(query, source.index).search(vector, wanted, query.allowed)
    return Found(Candidates(source.name, hits.places, hits.scores), narrowed=len(hits) >= wanted < source.candidates)


def _query_vector(source: Nearest, query: Query) -> Vector | None:
    """Return what the user likes: a feature, or the mean of the vectors that the index has of recent items."""
    if isinstance(source.query, str):
        return query.facts.vector(source.query)
    recent = _recent(query, source.query.recent, source.query.last)
    if not len(recent):
        return None
    vectors = _index(query, source.index).vectors(recent)  # unit vectors where the metric is COSINE
    known = vectors[np.isfinite(vectors).all(axis=1)]
    if not len(known):
        return None
    mean: Vector = known.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean if is_direction(mean) else None


def _recent(query: Query, reference: str | None, last: int | None = None) -> Places:
    """Return those of the ``last`` items (None: of all) in a list feature of the user that the catalogue has."""
    places = query.snapshot.catalogue.places(query.facts.items(reference)[:last])
    known: Places = places[places != UNKNOWN]
    return known


def _similar(
    source: SimilarToSeeds | SimilarToRecent, places: Places, query: Query, left_s: Callable[[], float]
) -> Found | None:
    """Search around each anchor, each once; of an item that is near several the best score counts.

    The first ones count where time is short: no search is begun that would not be over in half of what is left.
    """
    anchors = places[firsts(places, len(query.snapshot.catalogue))]
    if not len(anchors):
        return None
    indexed, wanted = _index(query, source.index), query.narrowing.of(source.candidates)
    vectors = indexed.vectors(anchors)
    directions = [i for i in range(len(anchors)) if is_direction(vectors[i])]
    found: list[tuple[Hits, int]] = []
    longest = 0.0
    for i in directions:
        left = left_s()
        if found and left < 2 * longest:
            break
        found.append((indexed.search(vectors[i], wanted, query.allowed), int(anchors[i])))
        longest = max(longest, left - left_s())
    if not found:
        return None
    candidates, like = _best(source.name, found, anchors, wanted)
    narrowed = wanted < source.candidates and any(len(hits) >= wanted for hits, _ in found)
    return Found(candidates, like, narrowed=narrowed, late=len(found) < len(directions))


def _best(
    source: str, found: Sequence[tuple[Hits, int]], anchors: Places, wanted: int
) -> tuple[Candidates, dict[int, int]]:
    """Return the best of what is near any anchor, without these, and which anchor each is nearest to."""
    places = np.concatenate([hits.places for hits, _ in found])
    scores = np.concatenate([hits.scores for hits, _ in found])
    like = np.concatenate([np.full(len(hits), anchor) for hits, anchor in found])
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isin(places[order], anchors)]
    _, first = np.unique(places[order], return_index=True)
    best = order[np.sort(first)][:wanted]
    pairs = zip(places[best].tolist(), like[best].tolist(), strict=True)
    return Candidates(source, places[best], scores[best]), dict(pairs)


def _popular(source: Popular, query: Query) -> Found:
    """Draw without replacement, in proportion to popularity: the largest of log(weight) + Gumbel noise.

    The formula is that of W. Kool, H. van Hoof, M. Welling: Stochastic Beams and Where to Find Them, ICML 2019,
    section 2.3. The order of what was drawn is that of popularity. Of several categories one after the other has its
    turn, so that each has as many as any, as far as it has items.
    """
    catalogue, random = query.snapshot.catalogue, np.random.default_rng(query.seed)
    liked, mask = _liked(source, query), query.allowed.mask
    pools = [passing(catalogue.by_category.places(code), mask, source.pool) for code in liked]
    pools = pools or [first_of(catalogue.ranked, mask, source.pool)]
    drawn = [pool[np.argsort(-_keys(catalogue.popularity[pool], random), kind="stable")] for pool in pools]
    turns = np.concatenate([np.arange(len(pool)) for pool in drawn])
    chosen = np.concatenate(drawn)[np.argsort(turns, kind="stable")[: source.candidates]]
    chosen = chosen[np.lexsort((chosen, -catalogue.popularity[chosen]))]
    return Found(Candidates(source.name, chosen, catalogue.popularity[chosen]), by_category=bool(liked))


def _keys(popularity: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    keys: NDArray[np.float64] = np.log(np.maximum(popularity, 0.0) + 1e-9) + random.gumbel(size=len(popularity))
    return keys


def _liked(source: Popular, query: Query) -> list[int]:
    """Return up to CATEGORIES of recent items, that of the newest first; none where all may come."""
    if source.recent is None:
        return []
    codes = query.snapshot.catalogue.category_codes[_recent(query, source.recent)]
    return list(dict.fromkeys(codes[codes != UNKNOWN].tolist()))[:CATEGORIES]


def _newest(source: Newest, query: Query) -> Found | None:
    created = query.snapshot.catalogue.created
    column = None if query.created_at is None else query.snapshot.catalogue.columns[query.created_at]
    if created is None or not isinstance(column, NumberColumn):
        return None
    since = query.now_micros - round(source.within.total_seconds() * 1e6)
    has_value = column.has_value
    low, high = float(since), float(query.now_micros)
    places = first_of(created, query.allowed.mask, source.candidates, low=low, high=high, among=has_value.__getitem__)
    return Found(Candidates(source.name, places, created.values[places]))


def _index(query: Query, name: str) -> Indexed:
    found = query.snapshot.indexes.get(name)
    if found is None:
        raise MissingIndexError(name)
    return found
