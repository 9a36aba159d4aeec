"""A replica that pages are asked of: a Recommender over items and an index in memory, both changed as one likes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from random import Random
from typing import Any, Final, cast

import numpy as np

from recsvc import (
    BOOL,
    FLOAT64,
    STRING_LIST,
    Catalogue,
    Diversity,
    Entity,
    Feature,
    FeatureView,
    Pin,
    Placement,
    Popular,
    Registry,
    SimilarToSeeds,
)
from recsvc.online.features import FeatureReader
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Chain
from recsvc.recommend import catalogue as catalogues
from recsvc.recommend.asked import Asked, Recommendation
from recsvc.recommend.asking import Executors
from recsvc.recommend.catalogue_builder import CatalogueBuilder
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.table import vector_table
from recsvc.recommend.mirror import CatalogueMirror, feature_type, kept_references
from recsvc.recommend.page_token import PageTokens
from recsvc.recommend.pipeline import Recommender
from recsvc.recommend.snapshot import Indexes
from recsvc.recommend.surroundings import Surroundings
from recsvc.telemetry.counters import Counters

NOW: Final = 1_800_000_000_000_000
GENRES: Final = ("drama", "comedy", "crime")
PINS: Final = {"i3": 1, "i5": 2, "i8": 6}
"""Pinned items with their positions."""
ITEM: Final = Entity("item", "item_id")
FILM: Final = FeatureView(
    "film", [ITEM], [Feature("available", BOOL), Feature("genres", STRING_LIST[2, 16])], mirrored=True
)
COUNTS: Final = FeatureView("counts", [ITEM], [Feature("pop", FLOAT64)], mirrored=True)
FILMS: Final = Catalogue(
    "films", ITEM, "counts:pop", available="film:available", category="film:genres", filterable=["film:genres"]
)
_ALIKE: Final = SimilarToSeeds("alike", index="line", candidates=4, quota=1)
_POPULAR: Final = Popular("popular", pool=8, candidates=5)
REGISTRY: Final = Registry(
    views=[FILM, COUNTS],
    catalogues=[FILMS],
    placements=[
        Placement("plain", "films", [_POPULAR, _ALIKE]),
        Placement("pinned", "films", [_POPULAR, _ALIKE], pins=[Pin(*pin) for pin in PINS.items()], cap=2),
        Placement("varied", "films", [_ALIKE, _POPULAR], diversity=Diversity("line", 0.5), candidates=6, limit=2),
        Placement("without", "films", [SimilarToSeeds("lost", index="nowhere")]),
    ],
)


class Here(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401  # whatever it is
        """See Executor."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # as an executor does
            done.set_exception(error)
        return done


class Replica:
    """One server's part of it. ``items``: those that may be recommended, with the genre of each."""

    def __init__(self, seed: int) -> None:
        types = {r: feature_type(REGISTRY, r) for r in kept_references(FILMS)}
        self.items: dict[str, str] = {}
        self._builder = CatalogueBuilder(FILMS, types, spare=2)
        self._indexes = Indexes({}, REGISTRY.placements.values())
        self._versions = 0
        self._next: ExactIndex | None = None
        self._served: catalogues.Catalogue | None = None
        counters = Counters(monotonic=lambda: 0.0)
        here = Here()
        around = Surroundings(lambda: NOW, lambda: 0.0, Random(seed), Executors(here, here, here), counters)
        tokens = PageTokens([b"k" * 16])
        mirrors = {"films": cast("CatalogueMirror", self)}  # what is asked of one is a snapshot and its age
        self._recommender = Recommender(mirrors, self._indexes, {}, tokens, around)
        self._reader = FeatureReader(
            REGISTRY,
            cast("Chain", None),  # nothing of these placements is read
            counters,
            now_micros=lambda: NOW,
            max_keys=1_000,
            policy=ViewPolicy(0.0, 0.0),
        )

    def __repr__(self) -> str:
        return f"Replica({self._builder!r}, {self._indexes!r})"

    @property
    def snapshot(self) -> catalogues.Catalogue:
        """See CatalogueMirror."""
        return self._builder.snapshot()

    def age_s(self) -> float:
        """See CatalogueMirror."""
        return 0.0

    def put(self, number: int, *, available: bool, popularity: float) -> None:
        """Have an item."""
        name, genre = f"i{number}", GENRES[number % 3]
        self._builder.put("film", name, {"film:available": available, "film:genres": (genre,)})
        self._builder.put("counts", name, {"counts:pop": popularity})
        self.items.pop(name, None)
        if available:
            self.items[name] = genre

    def delete(self, number: int) -> None:
        """Have an item no more."""
        for view in ("film", "counts"):
            self._builder.delete(view, [f"i{number}"])
        self.items.pop(f"i{number}", None)

    def swap(self, numbers: Sequence[int]) -> None:
        """Take another index, of these items in this order, before the next page."""
        self._versions += 1
        vectors = np.stack([np.array(numbers, np.float64), np.ones(len(numbers))], axis=1)
        table = vector_table([f"i{n}" for n in numbers], vectors.reshape(len(numbers), 2), Metric.L2)
        self._next = ExactIndex(table, version=f"v{self._versions}")

    async def page(self, placement: str, limit: int, token: str, **asked: Any) -> Recommendation:  # noqa: ANN401  # fields
        """Return a page."""
        if self._next is not None:
            await self._indexes.swap("line", self._next, lambda: [self.snapshot])
        await self._indexes.prepare(self.snapshot, self._served)
        self._served, self._next = self.snapshot, None
        asking = Asked(REGISTRY.placements[placement], limit, page_token=token, **asked)
        return await self._recommender.recommend(asking, self._reader, 0.0, 10.0)

    def passing(self, genres: Iterable[str], gone: Iterable[str]) -> Mapping[str, str]:
        """Return the items that may come, of these genres, without those in ``gone``."""
        left = {name: genre for name, genre in self.items.items() if genre in genres}
        return {name: left[name] for name in left.keys() - {*gone}}
