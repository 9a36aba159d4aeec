"""What users write for Recommend: catalogues, placements, candidate sources, experiments. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from recsvc.registry.conditions import Condition
from recsvc.registry.model import Entity

BUCKETS: Final = 10_000
"""How finely the shares of an experiment are cut."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The items that may be recommended: every id that a row of one of its views names.

    All features are references (``view:feature``) of mirrored views of ``item`` alone; of all of them, and of those in
    ``filterable``, each server keeps columns in memory.

    * ``popularity``: a number, higher is more popular; the order of last resort.
    * ``available``: BOOL; an item where it is not true is never recommended. None: all are available.
    * ``created_at``: TIMESTAMP, for the source Newest.
    * ``category``: STRING or STRING_LIST, for caps and for popularity by category. The first of a list is the item's.

    ``title``: STRING, what people call an item: slates that explain themselves have it. Its view need not be mirrored.
    """

    name: str
    item: Entity
    popularity: str
    available: str | None = None
    created_at: str | None = None
    category: str | None = None
    filterable: Sequence[str] = ()
    title: str | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        """The features that servers keep of its items, each once: what filters can name."""
        named = (self.popularity, self.available, self.created_at, self.category, *self.filterable)
        return tuple(dict.fromkeys(name for name in named if name is not None))


@dataclass(frozen=True, slots=True)
class MeanOfRecent:
    """What a user likes: the mean of the embeddings of the ``last`` items met; ``recent`` is a list, newest first."""

    recent: str
    last: int = 10


@dataclass(frozen=True, slots=True)
class Nearest:
    """Items whose embeddings are nearest to the user's: ``query`` is a VECTOR feature of the user, or MeanOfRecent.

    The embeddings that a mean is of are those of ``index``, brought to one length where it is by COSINE; items that it
    has not do not count.
    """

    name: str
    index: str
    query: str | MeanOfRecent
    weight: float = 1.0
    candidates: int = 200
    quota: int = 0
    timeout: timedelta = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class SimilarToSeeds:
    """Items near those that the request names as seeds."""

    name: str
    index: str
    weight: float = 1.0
    candidates: int = 200
    quota: int = 0
    timeout: timedelta = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class SimilarToRecent:
    """Items near the ``last`` ones that the user met: ``recent`` is a list feature of the user, newest first."""

    name: str
    index: str
    recent: str
    last: int = 10
    weight: float = 1.0
    candidates: int = 200
    quota: int = 0
    timeout: timedelta = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Popular:
    """Popular items, drawn in proportion to their popularity from the ``pool`` most popular, so that slates differ.

    With ``recent``, a list feature of the user: from the ``pool`` of each category that those items have (the 16 of the
    newest), as many from each as far as there are; from all where there is no such item.
    """

    name: str
    pool: int = 1_000
    recent: str | None = None
    weight: float = 0.5
    candidates: int = 100
    quota: int = 0
    timeout: timedelta = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Newest:
    """The items created last, not longer ago than ``within``."""

    name: str
    within: timedelta = timedelta(days=30)
    weight: float = 0.25
    candidates: int = 50
    quota: int = 0
    timeout: timedelta = timedelta(milliseconds=50)


CandidateSource = Nearest | SimilarToSeeds | SimilarToRecent | Popular | Newest


@dataclass(frozen=True, slots=True)
class Pin:
    """``item`` stands at ``position`` (from 1) of the first page, where it passes the filters."""

    item: str
    position: int


@dataclass(frozen=True, slots=True)
class Boost:
    """Items that meet ``when`` stand ``positions`` higher than they were ranked; below 0: lower.

    Boosts of one item add up. They move candidates among each other, before pins, caps, quotas and diversity.
    """

    when: Condition
    positions: int


@dataclass(frozen=True, slots=True)
class Diversity:
    """Maximal marginal relevance on the embeddings of ``index``; ``weight`` 0: relevance alone, 1: difference alone.

    ``timeout``: how long the index may take for the embeddings of the candidates.
    """

    index: str
    weight: float = 0.3
    timeout: timedelta = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Variant:
    """One arm of an experiment, for units in ``buckets``: ranges [begin, end) of 0 to BUCKETS, of no other variant.

    ``placement`` stands for the one that has the experiment; None: that one itself.
    """

    name: str
    buckets: Sequence[tuple[int, int]]
    placement: str | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """Variants by the bucket of a unit. Buckets of no variant have the control: the placement as it is.

    Shares are ranges of buckets, so a variant that grows into free ones moves nobody but from the control.
    """

    name: str
    salt: str
    variants: Sequence[Variant]


class WhenStale(Enum):
    """What a placement does when the metadata of items could not be brought up to date for too long."""

    SERVE = "serve"
    LEAVE_OUT = "leave_out"


@dataclass(frozen=True, slots=True)
class Placement:
    """One place where slates are shown, and how they are made.

    * ``sources``: where candidates come from; ``candidates``: how many of them are ranked, at most.
    * ``filters``: what every item must meet; a request can add to them.
    * ``service``: the feature service whose values rank the candidates. ``ranker``: name of the model bundle, which may
      take ``ranker_timeout`` for its scores.
    * ``seen``: list features of the user, items that do not come again; ``seen_pairs``: BOOL features of user and item,
      where true the item does not come. ``allow_seen`` turns both off.
    * ``cap``: how many items of one category a page has at most.
    * ``stale_after``: how old the metadata of items may be, before ``when_stale`` decides.
    """

    name: str
    catalogue: str
    sources: Sequence[CandidateSource]
    user: Entity | None = None
    candidates: int = 500
    limit: int = 10
    filters: Sequence[Condition] = ()
    service: str | None = None
    ranker: str | None = None
    ranker_timeout: timedelta = timedelta(milliseconds=50)
    seen: Sequence[str] = ()
    seen_pairs: Sequence[str] = ()
    allow_seen: bool = False
    diversity: Diversity | None = None
    cap: int | None = None
    boosts: Sequence[Boost] = ()
    pins: Sequence[Pin] = ()
    experiments: Sequence[Experiment] = ()
    stale_after: timedelta = timedelta(minutes=10)
    when_stale: WhenStale = WhenStale.SERVE
