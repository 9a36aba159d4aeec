"""Reads what one request needs of the store: facts of the user, and features of the items that may be shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from recsvc.online.answer import Answer, Column, Request, ServedView
from recsvc.online.features import FeatureReader
from recsvc.recommend.asked import Asked, Degradation, Explain
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.copy_on_write import Places
from recsvc.recommend.item_rows import ItemRows
from recsvc.recommend.user_facts import UserFacts, references
from recsvc.registry.placement import Placement
from recsvc.registry.plan import ReadPlan
from recsvc.registry.registry import Registry
from recsvc.telemetry import hop, names


class Times(NamedTuple):
    """When a request came, and by when it must be answered, of the chain's clock."""

    came: float
    until: float


class ItemReader:
    """Reads for one request. ``rows`` are the items read so far; what did not work goes to ``flaw``.

    ``title``: the feature that says what items are called, where that is asked. ``service``: the features that rank,
    nothing where they cannot be read: some are of the user, and nobody knows whom.
    """

    def __init__(  # what it reads by
        self,
        reader: FeatureReader,
        placement: Placement,
        asked: Asked,
        times: Times,
        flaw: Callable[[Degradation], None],
    ) -> None:
        self._reader = reader
        self._placement = placement
        catalogue = reader.registry.catalogues[placement.catalogue]
        self._item = catalogue.item
        self.title = catalogue.title if asked.explain >= Explain.REASONS else None
        self._asked = asked
        self._times = times
        self._flaw = flaw
        self._user_views: list[ServedView] = []
        self.rows = ItemRows()
        self.service = _outputs(reader.registry, placement.service)
        self.pairs = () if placement.allow_seen else tuple(placement.seen_pairs)
        titles = () if self.title is None else (self.title,)
        self._shown = (*asked.features, *self.pairs, *titles)
        self._named = tuple(dict.fromkeys((*self.service, *self._shown)))
        if placement.user is None or asked.user is None:
            alone = {name for name in self._named if _of_items(reader.registry, name, self._item.join_key)}
            self._named = tuple(name for name in self._named if name in alone)
            self.service = self.service if alone.issuperset(self.service) else ()
            self.pairs = ()

    def rank_nothing(self) -> None:
        """Leave out what ranks items: there are none to be ranked."""
        shown = set(self._shown)
        self._named, self.service = tuple(name for name in self._named if name in shown), ()

    @property
    def registry(self) -> Registry:
        """The definitions that answer this request."""
        return self._reader.registry

    def __repr__(self) -> str:
        return f"ItemReader({list(self._named)}, {self.rows!r})"

    @property
    def views(self) -> list[ServedView]:
        """The views that were read, each once, without times."""
        return list({(v.name, v.version): v for v in (*self._user_views, *self.rows.views)}.values())

    async def facts(self) -> UserFacts:
        """Return what the placement wants to know of the user."""
        named, placement = references(self._placement), self._placement
        if not named or placement.user is None or self._asked.user is None:
            return UserFacts(None)
        ids = {placement.user.join_key: [self._asked.user]}
        answer = await self._read(self._reader.registry.plan(named), 1, ids, {})
        self._user_views = [ServedView(view.name, view.version, view.event_micros[:0]) for view in answer.views]
        return UserFacts(answer)

    async def read(self, catalogue: Catalogue, places: Places) -> Places:
        """Read items, and return which of them the user has seen."""
        if not self._named or not len(places):
            return places[:0]
        plan = self._reader.registry.plan(self._named)
        # More items than a call may have rows of the store are read in parts, at the same time.
        size = max(1, (self._reader.max_keys - len(plan.reads)) // max(len(plan.reads), 1))
        parts = [places[start : start + size] for start in range(0, len(places), size)]
        if len(parts) == 1:
            answers = [await self._read_items(plan, catalogue, places)]
        else:
            answers = await asyncio.gather(*(self._read_part(plan, catalogue, part) for part in parts))
        for part, answer in zip(parts, answers, strict=True):
            self.rows.add(part, answer)
        seen = [s for part, answer in zip(parts, answers, strict=True) for s in self._seen(part, answer)]
        return np.concatenate(seen) if seen else places[:0]

    async def _read_part(self, plan: ReadPlan, catalogue: Catalogue, places: Places) -> Answer:
        with hop.stage(names.PART, beside=True):
            return await self._read_items(plan, catalogue, places)

    async def _read_items(self, plan: ReadPlan, catalogue: Catalogue, places: Places) -> Answer:
        ids: dict[str, Sequence[str]] = {self._item.join_key: catalogue.id_texts(places)}
        if self._placement.user is not None and self._asked.user is not None:
            ids[self._placement.user.join_key] = [self._asked.user]
        return await self._read(plan, len(places), ids, self._asked.context)

    async def _read(
        self, plan: ReadPlan, rows: int, ids: Mapping[str, Sequence[str]], context: Mapping[str, Column]
    ) -> Answer:
        request = Request(rows, ids, context, self._asked.max_staleness_s)
        answer = await self._reader.read(plan, request, *self._times)
        for reason, view in answer.degraded:
            self._flaw(Degradation(reason, view=view))
        return answer

    def _seen(self, places: Places, answer: Answer) -> Iterator[Places]:
        for name, column, _ in answer.columns:
            if name in self.pairs:
                yield places[np.broadcast_to(column.values & column.has_value(), len(places))]


def _outputs(registry: Registry, service: str | None) -> tuple[str, ...]:
    return () if service is None else tuple(name for name, _ in registry.service_plan(service).outputs)


def _of_items(registry: Registry, reference: str, join_key: str) -> bool:
    """Say whether a feature depends on the item alone."""
    return registry.plan((reference,)).join_keys <= {join_key}
