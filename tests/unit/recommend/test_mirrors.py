"""The catalogues that are followed are those of the definitions, and what follows others ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from recsvc import Registry
from recsvc.errors import StoreUnavailableError
from recsvc.online.whole_view import Written
from recsvc.recommend.asking import Executors
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.mirrors import Mirrors
from recsvc.recommend.surroundings import Surroundings
from recsvc.registry import placement
from recsvc.registry.model import FeatureView
from recsvc.telemetry.counters import Counters
from tests.parts.waiting import eventually
from tests.unit.recommend.memory_view import COUNTS, FILM, FILMS, NOW, MemoryView, counts, film
from tests.unit.recommend.replica import Here

OTHERS = replace(FILMS, name="others")
CHANGED = replace(FILMS, filterable=["film:out"])


class Deaf(MemoryView):
    """A view whose client swallows a cancellation that comes while it waits, as wait_for of Python 3.11 can do."""

    def __init__(self, **rows: bytes) -> None:
        super().__init__(**rows)
        self.waits = 0

    async def since(self, position: bytes) -> Written:
        """See WholeView; waits until somebody cancels it."""
        self.waits += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.waits > 1:
                raise
        return await super().since(position)


def mirrors_of(views: Mapping[str, MemoryView]) -> Mirrors:
    """Return what follows catalogues in these views."""

    def whole_view(view: FeatureView) -> MemoryView:
        return views[view.name]

    async def prepare(_snapshot: Catalogue, _served: Catalogue) -> None:
        pass

    here = Here()
    around = Surroundings(
        lambda: NOW, lambda: 0.0, Random(1), Executors(here, here, here), Counters(monotonic=lambda: 0.0)
    )
    return Mirrors(whole_view, around, prepare)


def registry(*catalogues: placement.Catalogue) -> Registry:
    """Return definitions with these catalogues."""
    return Registry(views=[FILM, COUNTS], catalogues=catalogues)


async def test_what_follows_other_catalogues_ends_though_a_cancellation_is_lost() -> None:
    """A catalogue that is defined no more, or otherwise, is followed by nobody as soon as the new ones are adopted."""
    deaf = Deaf(a=film())
    mirrors = mirrors_of({"film": deaf, "counts": MemoryView(a=counts(1.0))})
    await mirrors.adopt(registry(FILMS))
    (old,) = mirrors._followed.values()
    await eventually(lambda: deaf.waits)
    await mirrors.adopt(registry(CHANGED))
    assert old.task.done()
    assert mirrors.by_name["films"] is not old.mirror
    await mirrors.adopt(registry())
    assert not mirrors.by_name
    await mirrors.close()


async def test_what_has_not_changed_goes_on() -> None:
    """Where definitions cannot be adopted all is followed as before, and what had begun of the new ones ends."""
    films = MemoryView(a=film())
    mirrors = mirrors_of({"film": films, "counts": MemoryView(a=counts(1.0))})
    await mirrors.adopt(registry(FILMS))
    before = mirrors.by_name["films"]
    films.down = True
    tasks = asyncio.all_tasks()
    with pytest.raises(StoreUnavailableError, match="catalogue films has changed, and cannot be read: down"):
        await mirrors.adopt(registry(OTHERS, CHANGED))
    assert mirrors.by_name == {"films": before}
    assert asyncio.all_tasks() == tasks
    films.down = False
    await mirrors.adopt(registry(FILMS, OTHERS))
    assert mirrors.by_name["films"] is before
    assert mirrors.by_name.keys() == {"films", "others"}
    await mirrors.close()
