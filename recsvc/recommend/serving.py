"""Keeps what slates are made of up to date while a server runs: catalogues, vector indexes, models."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from recsvc.online.ended import ended
from recsvc.online.vector_store import VectorStores
from recsvc.online.whole_view import WholeView
from recsvc.recommend.asking import Executors
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.impression_files import ImpressionFiles
from recsvc.recommend.impression_queue import ImpressionQueue
from recsvc.recommend.index.published import reopen
from recsvc.recommend.mirrors import Mirrors
from recsvc.recommend.page_token import PageTokens
from recsvc.recommend.pipeline import TARGET_S, Recommender
from recsvc.recommend.ranking.guard import GuardedRanker
from recsvc.recommend.served_models import ServedModels
from recsvc.recommend.snapshot import Indexes, go_on, index_names
from recsvc.recommend.surroundings import Surroundings
from recsvc.registry.model import FeatureView
from recsvc.registry.placement import Placement
from recsvc.registry.registry import Registry
from recsvc.telemetry import metrics as m
from recsvc.telemetry.counters import Counters

log = logging.getLogger(__name__)

PAUSE_S: Final = 0.005
"""A thread that reads a new index, and finds its items, does so for one or two ms, and waits for so long."""
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
        stores: VectorStores | None = None,
        owner: str = "recsvc",
        target_s: float = TARGET_S,
    ) -> None:
        """Begin; ``owner`` names this process in files of impressions: not as its neighbours, always the same.

        ``stores`` opens the vectors of indexes that are in Redis.
        """
        self._places = places
        self._stores = stores
        self._target_s = target_s
        self._impressions: ImpressionQueue | None = None
        if places.impressions is not None:
            files = ImpressionFiles(places.impressions, owner=owner, clock_ms=lambda: now_micros() // 1_000)
            files.prepare()
            self._impressions = ImpressionQueue(files, monotonic=clock)
            self._impressions.start()
        self._tokens = tokens
        self._executors = [
            ThreadPoolExecutor(THREADS, thread_name_prefix=name) for name in ("search", "recommend", "rank")
        ]
        self._around = Surroundings(now_micros, clock, random, Executors(*self._executors), counters)
        self._indexes = Indexes({})
        self._mirrors = Mirrors(whole_view, self._around, self._indexes.prepare)
        self._models = ServedModels(places.models)
        self._placements: Sequence[Placement] = ()
        self._features = ""
        self._told: dict[str, str] = {}
        self._watch: asyncio.Task[None] | None = None
        self.recommender = self._recommender({})
        self._publish(counters.metrics)

    def __repr__(self) -> str:
        return f"Recommending({self.recommender!r})"

    def _publish(self, metrics: m.Metrics) -> None:
        """Let metrics read what is so at the time."""
        mirrors, queue = self._mirrors, self._impressions
        metrics[m.QUALITY].observe(lambda: self.recommender.factors())  # noqa: PLW0108  # of the one that serves then
        metrics[m.METADATA_AGE].observe(mirrors.ages)
        metrics[m.CATALOGUE_ITEMS].observe(mirrors.sizes)
        if queue is not None:
            metrics[m.IMPRESSIONS_DROPPED].observe(lambda: [((), queue.dropped + queue.failed)])

    async def adopt(self, registry: Registry) -> None:
        """Serve the placements of ``registry``. Indexes and models that cannot be had are logged; slates are flagged.

        Raises StoreUnavailableError, and serves what it served, where a catalogue that has changed cannot be read.
        """
        await self._mirrors.adopt(registry)
        serves, placements = self._watch is not None, list(registry.placements.values())
        if self._watch is not None:
            await ended([self._watch])
        self._indexes.serve([*self._placements, *placements])  # until the others take over, the old ones are asked
        for catalogue in self._catalogues():
            with _logged(f"the items of indexes cannot be found in catalogue {catalogue.name}"):
                await self._indexes.prepare(catalogue)
        names = sorted(set(index_names(placements)))
        kept = self.recommender.rankers if registry.features_fingerprint == self._features else {}
        rankers = await self._look(names, registry, _give_way if serves else go_on, kept)
        self.recommender = self._recommender(rankers)
        self._placements, self._features = placements, registry.features_fingerprint
        self._indexes.serve(placements)
        self._watch = asyncio.create_task(self._follow(names, registry))

    async def close(self) -> None:
        """End what runs."""
        await self._mirrors.close()
        if self._watch is not None:
            await ended([self._watch])
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)
        if self._impressions is not None:
            await self._impressions.close(grace_s=GRACE_S)

    def _recommender(self, rankers: Mapping[str, GuardedRanker]) -> Recommender:
        offer = None if self._impressions is None else self._impressions.offer
        return Recommender(
            self._mirrors.by_name,
            self._indexes,
            rankers,
            self._tokens,
            self._around,
            target_s=self._target_s,
            impressions=offer,
        )

    async def _follow(self, names: Sequence[str], registry: Registry) -> None:
        """Take other versions of indexes and models soon after they were published."""
        while True:
            await asyncio.sleep(INDEX_INTERVAL_S)
            self.recommender.rankers = await self._look(names, registry, _give_way, self.recommender.rankers)

    async def _look(
        self,
        names: Sequence[str],
        registry: Registry,
        pause: Callable[[], None],
        kept: Mapping[str, GuardedRanker],
    ) -> Mapping[str, GuardedRanker]:
        """Take the newest version of each index, and return the models; ``kept`` where these cannot be looked at.

        ``pause`` is called every few milliseconds by the thread that reads an index and finds its items.
        """
        for name in names:
            with _logged(f"index {name} cannot be looked at"):
                await self._reopen(name, pause)
        try:
            return await asyncio.to_thread(self._models.load, registry)
        except Exception:  # as of an index
            log.exception("models cannot be looked at")
            return kept

    async def _reopen(self, name: str, pause: Callable[[], None]) -> None:
        """Take the newest version of an index; where it is bad, the one that was good stays."""
        if self._places.indexes is None:
            self._tell(name, "there is no directory of indexes (--index-dir)")
            return
        root, serving = self._places.indexes / name, self._indexes.served.get(name)
        found = await asyncio.to_thread(reopen, root, serving, stores=self._stores, pause=pause)
        if found.problem is not None or found.index is None:
            self._tell(name, found.problem or f"nothing is published in {root}")
        if found.index is not None and found.index is not serving:
            await self._indexes.swap(name, found.index, self._catalogues, pause)
            self._told.pop(name, None)
            log.info("index %s: version %s is served", name, found.index.version)

    def _catalogues(self) -> list[Catalogue]:
        """Return the catalogues that are served now."""
        return [mirror.snapshot for mirror in self._mirrors.by_name.values()]

    def _tell(self, name: str, problem: str) -> None:
        """Log a problem once."""
        if self._told.get(name) != problem:
            self._told[name] = problem
            log.error("index %s: %s", name, problem)


def _give_way() -> None:
    """Let requests have most of the time: Python runs one thread at a time."""
    time.sleep(PAUSE_S)


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log what fails, and go on: what is served stays, and later versions are looked at."""
    try:
        yield
    except Exception:  # whatever was published: it costs no more than itself
        log.exception("%s", what)
