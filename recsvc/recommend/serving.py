"""Keeps what slates are made of up to date while a server runs: catalogues, vector indexes, models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from recsvc.errors import RecsvcError, StoreUnavailableError
from recsvc.online.whole_view import WholeView
from recsvc.recommend.asking import Executors
from recsvc.recommend.catalogue_builder import view_of
from recsvc.recommend.impression_files import ImpressionFiles
from recsvc.recommend.impression_queue import ImpressionQueue
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.published import reopen
from recsvc.recommend.mirror import CatalogueMirror, kept_references
from recsvc.recommend.page_token import PageTokens
from recsvc.recommend.pipeline import TARGET_S, Recommender
from recsvc.recommend.ranking.bundle import load_bundle
from recsvc.recommend.ranking.ranker import Ranker
from recsvc.recommend.snapshot import Indexes
from recsvc.recommend.surroundings import Surroundings
from recsvc.registry import placement
from recsvc.registry.fingerprint import facts
from recsvc.registry.model import FeatureView
from recsvc.registry.placement import Nearest, Placement, SimilarToRecent, SimilarToSeeds
from recsvc.registry.registry import Registry
from recsvc.telemetry.counters import Counters

log = logging.getLogger(__name__)

INDEX_INTERVAL_S: Final = 5.0
"""How often it is looked whether another version of an index was published."""
GRACE_S: Final = 5.0
"""How long impressions may take to be written when the server ends."""
THREADS: Final = 2
"""Searches and models at once; more would only wait for a core."""


@dataclass(frozen=True, slots=True)
class Directories:
    """Where indexes and models are (a directory for each, by its name) and impressions go; None: nowhere."""

    indexes: Path | None
    models: Path | None
    impressions: Path | None = None


class Recommending:
    """What makes slates now: ``recommender``; ``adopt`` fits it to other definitions.

    ``whole_view`` gives the rows of a view. ``now_micros`` is the wall clock, ``clock`` that of the chain.
    """

    def __init__(  # noqa: PLR0913  # what it works with, from outside
        self,
        places: Directories,
        tokens: PageTokens,
        whole_view: Callable[[FeatureView], WholeView],
        *,
        now_micros: Callable[[], int],
        clock: Callable[[], float],
        random: Random,
        counters: Counters,
        owner: str = "recsvc",
        target_s: float = TARGET_S,
    ) -> None:
        """Begin; ``owner`` names this process in files of impressions: not as its neighbours, always the same."""
        self._places = places
        self._target_s = target_s
        self._impressions: ImpressionQueue | None = None
        if places.impressions is not None:
            files = ImpressionFiles(places.impressions, owner=owner, clock_ms=lambda: now_micros() // 1_000)
            files.prepare()
            self._impressions = ImpressionQueue(files, monotonic=clock)
            self._impressions.start()
        self._tokens = tokens
        self._whole_view = whole_view
        self._executors = [ThreadPoolExecutor(THREADS, thread_name_prefix=name) for name in ("search", "recommend")]
        self._around = Surroundings(now_micros, clock, random, Executors(*self._executors), counters)
        self._mirrors: dict[str, tuple[object, CatalogueMirror, asyncio.Task[None]]] = {}
        self._serving: dict[str, VectorIndex] = {}
        self._told: dict[str, str] = {}
        self._indexes = Indexes({})
        self._watch: asyncio.Task[None] | None = None
        self.recommender = self._recommender({})

    def __repr__(self) -> str:
        return f"Recommending({self.recommender!r})"

    async def adopt(self, registry: Registry) -> None:
        """Serve the placements of ``registry``. What cannot be had is logged; slates are flagged then."""
        for name, definition in registry.catalogues.items():
            await self._mirror(name, definition, registry)
        for name in self._mirrors.keys() - registry.catalogues.keys():
            _, _, task = self._mirrors.pop(name)
            task.cancel()
        names = set(_index_names(registry.placements.values()))
        await self._reopen(names)
        rankers = await asyncio.to_thread(self._rankers, registry)
        self.recommender = self._recommender(rankers)
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.create_task(self._watch_indexes(names)) if names else None

    async def close(self) -> None:
        """End what runs."""
        tasks = [task for _, _, task in self._mirrors.values()] + ([] if self._watch is None else [self._watch])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)
        if self._impressions is not None:
            await self._impressions.close(grace_s=GRACE_S)

    def _recommender(self, rankers: dict[str, Ranker]) -> Recommender:
        mirrors = {name: mirror for name, (_, mirror, _) in self._mirrors.items()}
        offer = None if self._impressions is None else self._impressions.offer
        return Recommender(
            mirrors, self._indexes, rankers, self._tokens, self._around, target_s=self._target_s, impressions=offer
        )

    async def _mirror(self, name: str, definition: placement.Catalogue, registry: Registry) -> None:
        """Follow a catalogue, unless that is done already."""
        prefixes = {view_of(r) for r in kept_references(definition)}
        views = {prefix: registry.view(prefix) for prefix in prefixes}
        state = facts(definition), {p: (v.label, registry.schema(v)) for p, v in views.items()}
        known = self._mirrors.get(name)
        if known is not None and known[0] == state:
            return
        rows = {prefix: self._whole_view(view) for prefix, view in views.items()}
        around = self._around
        mirror = CatalogueMirror(
            definition, registry, rows, now_micros=around.now_micros, clock=around.clock, counters=around.counters
        )
        with suppress(StoreUnavailableError):  # it is tried again, and logged, by run()
            await mirror.refresh()
        if known is not None:
            known[2].cancel()
        task = asyncio.create_task(mirror.run())
        self._mirrors[name] = state, mirror, task

    def _rankers(self, registry: Registry) -> dict[str, Ranker]:
        rankers: dict[str, Ranker] = {}
        for name in sorted({p.ranker for p in registry.placements.values() if p.ranker is not None}):
            if self._places.models is None:
                log.error("ranker %s: there is no directory of models (--model-dir)", name)
                continue
            try:
                rankers[name] = load_bundle(self._places.models / name, registry)
            except RecsvcError as error:
                log.error("ranker %s is not served: %s", name, error)  # noqa: TRY400  # one line says it all
        return rankers

    async def _watch_indexes(self, names: Iterable[str]) -> None:
        while True:
            await asyncio.sleep(INDEX_INTERVAL_S)
            await self._reopen(names)

    async def _reopen(self, names: Iterable[str]) -> None:
        """Take the newest version of each index; where it is bad, the one that was good stays."""
        for name in names:
            if self._places.indexes is None:
                self._tell(name, "there is no directory of indexes (--index-dir)")
                continue
            root, serving = self._places.indexes / name, self._serving.get(name)
            found = await asyncio.to_thread(reopen, root, serving)
            if found.problem is not None or found.index is None:
                self._tell(name, found.problem or f"nothing is published in {root}")
            if found.index is not None and found.index is not serving:
                self._serving[name] = found.index
                self._indexes.swap(name, found.index)
                self._told.pop(name, None)
                log.info("index %s: version %s is served", name, found.index.version)

    def _tell(self, name: str, problem: str) -> None:
        """Log a problem once."""
        if self._told.get(name) != problem:
            self._told[name] = problem
            log.error("index %s: %s", name, problem)


def _index_names(placements: Iterable[Placement]) -> Iterable[str]:
    for of in placements:
        for source in of.sources:
            if isinstance(source, Nearest | SimilarToSeeds | SimilarToRecent):
                yield source.index
        if of.diversity is not None:
            yield of.diversity.index
