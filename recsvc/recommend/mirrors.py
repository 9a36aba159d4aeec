"""The catalogues that a server keeps in memory: those that its definitions have, each followed by a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from recsvc.errors import StoreUnavailableError
from recsvc.online.ended import ended
from recsvc.online.whole_view import WholeView
from recsvc.recommend.catalogue import Catalogue as SnapshotOfItems
from recsvc.recommend.catalogue_builder import view_of
from recsvc.recommend.mirror import CatalogueMirror, kept_references
from recsvc.recommend.surroundings import Surroundings
from recsvc.registry.fingerprint import facts
from recsvc.registry.model import FeatureView
from recsvc.registry.placement import Catalogue
from recsvc.registry.registry import Registry
from recsvc.telemetry.series import Point

log = logging.getLogger(__name__)


class Followed(NamedTuple):
    """A catalogue that is followed. ``state``: what of the definitions decides what it is."""

    state: object
    mirror: CatalogueMirror
    task: asyncio.Task[None]


class Mirrors:
    """Follows catalogues; ``whole_view`` gives the rows of a view, ``prepare`` snapshots before they are served."""

    def __init__(
        self,
        whole_view: Callable[[FeatureView], WholeView],
        around: Surroundings,
        prepare: Callable[[SnapshotOfItems, SnapshotOfItems], Awaitable[object]],
    ) -> None:
        self._whole_view = whole_view
        self._around = around
        self._prepare = prepare
        self._followed: dict[str, Followed] = {}

    def __repr__(self) -> str:
        return f"Mirrors({[followed.mirror for followed in self._followed.values()]})"

    @property
    def by_name(self) -> Mapping[str, CatalogueMirror]:
        """The mirrors of now."""
        return {name: followed.mirror for name, followed in self._followed.items()}

    def ages(self) -> list[Point]:
        """Return how long ago each catalogue was known to be up to date, for metrics."""
        ages = {name: followed.mirror.age_s() for name, followed in self._followed.copy().items()}
        return [((name,), age) for name, age in ages.items() if age is not None]

    def sizes(self) -> list[Point]:
        """Return how many items each catalogue has, for metrics."""
        return [((name,), len(followed.mirror.snapshot)) for name, followed in self._followed.copy().items()]

    async def adopt(self, registry: Registry) -> None:
        """Follow the catalogues of ``registry``, and no others.

        Raises StoreUnavailableError, and follows what it did before, where a catalogue is defined otherwise than before
        and its items cannot be read: it would be empty, and the old one is not. A new one may be empty at first.
        """
        fresh: dict[str, Followed] = {}
        try:
            for name, definition in registry.catalogues.items():
                fresh[name] = await self._following(name, definition, registry)
        except BaseException:
            await ended(_tasks(fresh, self._followed))
            raise
        before, self._followed = self._followed, fresh
        await ended(_tasks(before, fresh))

    async def _following(self, name: str, definition: Catalogue, registry: Registry) -> Followed:
        views = {prefix: registry.view(prefix) for prefix in map(view_of, kept_references(definition))}
        state = facts(definition), {p: (v.label, registry.schema(v)) for p, v in views.items()}
        known = self._followed.get(name)
        if known is not None and known.state == state:
            return known
        rows = {prefix: self._whole_view(view) for prefix, view in views.items()}
        around = self._around
        mirror = CatalogueMirror(
            definition,
            registry,
            rows,
            now_micros=around.now_micros,
            clock=around.clock,
            counters=around.counters,
            prepare=self._prepare,
        )
        try:
            await mirror.refresh()
        except StoreUnavailableError as error:
            if known is not None:
                raise StoreUnavailableError(f"catalogue {name} has changed, and cannot be read: {error}") from error
            log.warning("catalogue %s is empty as yet: %s", name, error)
        return Followed(state, mirror, asyncio.create_task(mirror.run()))

    async def close(self) -> None:
        """End what runs."""
        await ended(followed.task for followed in self._followed.values())


def _tasks(followed: Mapping[str, Followed], but: Mapping[str, Followed]) -> list[asyncio.Task[None]]:
    """Return the tasks of what is followed, without those that are in ``but`` too."""
    return [of.task for name, of in followed.items() if but.get(name) is not of]
