"""The candidate sources: each finds items of its own kind, among those that may come. They do not wait for anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from recsvc.errors import RecsvcError
from recsvc.recommend.catalogue import UNKNOWN
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.dictionary import Mask
from recsvc.recommend.filling import first_of
from recsvc.recommend.index.protocol import Allowed
from recsvc.recommend.item_column import NumberColumn
from recsvc.recommend.merge import Candidates
from recsvc.recommend.quality_factor import Narrowing
from recsvc.recommend.snapshot import Indexed, Snapshot
from recsvc.recommend.user_facts import UserFacts
from recsvc.registry.placement import CandidateSource, Nearest, Newest, Popular, SimilarToRecent, SimilarToSeeds


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

    ``narrowed``: there may be more of them that were not searched for.
    """

    candidates: Candidates
    like: Mapping[int, int] = field(default_factory=dict)
    narrowed: bool = False


def find(source: CandidateSource, query: Query) -> Found | None:
    """Return what a source finds; None where it has nothing to go by: no seeds, no vector, no recent items.

    Raises MissingIndexError, and whatever an index raises.
    """
    match source:
        case Nearest():
            return _nearest(source, query)
        case SimilarToSeeds():
            return _similar(source, source.index, query.seeds, query)
        case SimilarToRecent():
            recent = query.snapshot.catalogue.places(query.facts.items(source.recent)[: source.last])
            return _similar(source, source.index, recent[recent != UNKNOWN], query)
        case Popular():
            return _popular(source, query)
        case Newest():
            return _newest(source, query)


def _nearest(source: Nearest, query: Query) -> Found | None:
    vector = query.facts.vector(source.query)
    if vector is None:
        return None
    wanted = query.narrowing.of(source.candidates)
    hits = _index(query, source.index).search(vector, wanted, query.allowed)
    return Found(Candidates(source.name, hits.places, hits.scores), narrowed=len(hits) >= wanted < source.candidates)


def _similar(source: SimilarToSeeds | SimilarToRecent, index: str, anchors: Places, query: Query) -> Found | None:
    """Search around each anchor; of an item that is near several the best score counts."""
    if not len(anchors):
        return None
    indexed, wanted = _index(query, index), query.narrowing.of(source.candidates)
    vectors = indexed.vectors(anchors)
    found = [
        (indexed.search(vector, wanted, query.allowed), int(anchor))
        for anchor, vector in zip(anchors, vectors, strict=True)
        if np.isfinite(vector).all() and vector.any()
    ]
    if not found:
        return None
    places = np.concatenate([hits.places for hits, _ in found])
    scores = np.concatenate([hits.scores for hits, _ in found])
    like = np.concatenate([np.full(len(hits), anchor) for hits, anchor in found])
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isin(places[order], anchors)]
    _, first = np.unique(places[order], return_index=True)
    best = order[np.sort(first)][:wanted]
    pairs = zip(places[best].tolist(), like[best].tolist(), strict=True)
    narrowed = wanted < source.candidates and any(len(hits) >= wanted for hits, _ in found)
    return Found(Candidates(source.name, places[best], scores[best]), dict(pairs), narrowed=narrowed)


def _popular(source: Popular, query: Query) -> Found:
    """Draw without replacement, in proportion to popularity: the largest of log(weight) + Gumbel noise.

    The formula is that of W. Kool, H. van Hoof, M. Welling: Stochastic Beams and Where to Find Them, ICML 2019,
    section 2.3. The order of what was drawn is that of popularity.
    """
    catalogue = query.snapshot.catalogue
    pool = first_of(catalogue.ranked, query.allowed.mask, source.pool, among=_liked(source, query))
    weights = np.maximum(catalogue.popularity[pool], 0.0) + 1e-9
    noise = np.random.default_rng(query.seed).gumbel(size=len(pool))
    drawn = np.sort(np.argsort(-(np.log(weights) + noise), kind="stable")[: source.candidates])
    return Found(Candidates(source.name, pool[drawn], catalogue.popularity[pool[drawn]]))


def _liked(source: Popular, query: Query) -> Callable[[Places], Mask] | None:
    """Return what says which items are of the categories of recent ones; None where all may come."""
    catalogue = query.snapshot.catalogue
    recent = catalogue.places(query.facts.items(source.recent))
    if source.recent is None or not (recent != UNKNOWN).any():
        return None
    codes = catalogue.category_codes
    liked = np.unique(codes[recent[recent != UNKNOWN]])
    return lambda places: np.isin(codes[places], liked[liked != UNKNOWN], kind="table")


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
