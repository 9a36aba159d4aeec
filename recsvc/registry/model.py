"""What users write: entities, features, views, on-demand features, services. Plain data; ``Registry`` checks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

import numpy as np

from recsvc.registry.types import STRING, FeatureType

if TYPE_CHECKING:
    from recsvc.registry.placement import Catalogue, Placement

MAX_ID_BYTES: Final = 512
"""The longest id of a STRING entity, in bytes of UTF-8."""


class Auto(Enum):
    """Stands for "derive it": see max_age, ttl, cache and stale_if_error of FeatureView."""

    AUTO = "auto"

    def __repr__(self) -> str:
        return "AUTO"

    def __str__(self) -> str:
        return "auto"


AUTO: Final = Auto.AUTO


class Sensitivity(Enum):
    """How carefully a feature is to be handled; SENSITIVE ones are left out of explanations."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    SENSITIVE = "sensitive"


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that features describe.

    ``join_key`` is the name of its id. ``key_type`` is STRING (1 to 512 bytes of UTF-8) or INT64. ``spread`` is for
    entities that a request names by the hundred (items): the rows are kept in that many buckets of the cluster
    instead of one per id, so that 500 items are ``spread`` commands and not 500. It decides where rows are, so it can
    never change.
    """

    name: str
    join_key: str
    key_type: FeatureType = STRING
    spread: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a feature's values should look like; for monitoring, never enforced on an answer."""

    min: float | None = None
    max: float | None = None
    mean: float | None = None
    null_share: float | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """One value of a view. ``default`` stands in where none is known; None: nothing stands in."""

    name: str
    type: FeatureType
    default: object = None
    description: str = ""
    owner: str = ""
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    expected: Expected | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a view's rows come from.

    ``query`` is SQL (DuckDB) that gives join keys, features and ``event_time`` as columns. Without a query, rows come
    from files given to ``recsvc load``. A view has one source; another one is allowed only as ``backfill`` of the same
    source, that is with the same name.
    """

    name: str
    query: str = ""
    event_time: str = "event_time"
    backfill: bool = False


@dataclass(frozen=True, slots=True)
class FeatureView:
    """Features of one entity (or of a pair of them) from one source, computed together at one pace.

    * ``freshness``: the promised interval between updates; for monitoring only.
    * ``max_age``: how old (answer time - event time) a row may be; older ones are answered as OUTSIDE_MAX_AGE. AUTO:
      twice the freshness, or no limit without one. None: no limit.
    * ``ttl``: when Redis forgets a row, counted from the write. AUTO: max age + freshness, or never where there is no
      max age. None: never.
    * ``cache``: how long a copy in the server's memory is fresh, counted from when its fetch was sent. AUTO: as the
      server is set (5 s). 0: every call reads the store.
    * ``stale_if_error``: how old a copy may be that stands in where the store cannot be read. AUTO: as the server is
      set. 0: none may.
    * ``serve_default``: whether defaults may stand in. False: a feature without a value has source NONE instead.
    * ``mirrored``: writes are announced on the change feed, for servers that keep the whole view in memory.

    Features can be appended without a new version. Any other change of them is a new ``version``, which lives beside
    the old one.
    """

    name: str
    entities: Sequence[Entity]
    features: Sequence[Feature]
    version: int = 1
    freshness: timedelta | None = None
    max_age: timedelta | Auto | None = AUTO
    ttl: timedelta | Auto | None = AUTO
    cache: timedelta | Auto = AUTO
    stale_if_error: timedelta | Auto = AUTO
    serve_default: bool = True
    source: Source | Sequence[Source] | None = None
    mirrored: bool = False
    description: str = ""
    owner: str = ""

    @property
    def label(self) -> str:
        """``name@vN``, as it stands in references and replies."""
        return f"{self.name}@v{self.version}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources, also where one was given bare."""
        if self.source is None:
            return ()
        return (self.source,) if isinstance(self.source, Source) else tuple(self.source)

    @property
    def live_source(self) -> Source | None:
        """The source that is not a backfill."""
        return next((s for s in self.sources if not s.backfill), None)

    @property
    def effective_max_age(self) -> timedelta | None:
        """The limit on a row's age, AUTO worked out."""
        if isinstance(self.max_age, Auto):
            return None if self.freshness is None else 2 * self.freshness
        return self.max_age

    @property
    def effective_ttl(self) -> timedelta | None:
        """When Redis forgets a row, AUTO worked out."""
        if not isinstance(self.ttl, Auto):
            return self.ttl
        max_age = self.effective_max_age
        return None if max_age is None else max_age + (self.freshness or timedelta(0))


OnDemandFunction = Callable[..., np.ndarray]
"""Takes one array of n values per input, by keyword; returns n values. The same function serves and trains."""


@dataclass(frozen=True, slots=True)
class OnDemandFeature:
    """A value computed at request time.

    ``inputs`` maps the function's parameters to references: stored features (``view:feature``), other on-demand
    features, or request context (``request:field``). The function gets numpy arrays of n rows (n × d for VECTOR;
    int64 µs for TIMESTAMP; object arrays for strings and lists), and returns n values of ``type``. In serving it gets
    only rows in which all inputs have a value, their own or a default; others have NaN, 0 or empty there.
    """

    name: str
    type: FeatureType
    inputs: Mapping[str, str]
    function: OnDemandFunction
    default: object = None
    description: str = ""
    owner: str = ""
    sensitivity: Sensitivity = Sensitivity.INTERNAL


@dataclass(frozen=True, slots=True)
class OnDemandView:
    """On-demand features under one name and version."""

    name: str
    features: Sequence[OnDemandFeature]
    version: int = 1
    description: str = ""
    owner: str = ""

    @property
    def label(self) -> str:
        """``name@vN``, as it stands in references and replies."""
        return f"{self.name}@v{self.version}"


@dataclass(frozen=True, slots=True)
class RequestField:
    """One field of the request context: what only the caller knows, such as the time of the request.

    Referred to as ``request:name``.
    """

    name: str
    type: FeatureType
    description: str = ""


@dataclass(frozen=True, slots=True)
class FeatureService:
    """What one model reads: references in the order of the model's inputs; ``view@v2:feature`` pins a version."""

    name: str
    features: Sequence[str]
    description: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything that a registry is made from."""

    views: Sequence[FeatureView] = ()
    on_demand: Sequence[OnDemandView] = ()
    services: Sequence[FeatureService] = ()
    request: Sequence[RequestField] = ()
    active: Mapping[str, int] = field(default_factory=dict)
    catalogues: Sequence[Catalogue] = ()
    placements: Sequence[Placement] = ()

    @property
    def all_views(self) -> tuple[FeatureView | OnDemandView, ...]:
        """Views of both kinds, the stored ones first."""
        return (*self.views, *self.on_demand)
