"""Asks a server for candidates and their features, as of a time before anybody took any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.client import AsyncClient, ContextValue, Explain, FeatureBatch, ServedView, Slate
from recsvc.errors import ConfigError
from recsvc.recommend.ranking.card import service_features
from recsvc.registry.model import Entity
from recsvc.registry.registry import Registry
from recsvc.training.errors import LeakError, TrainingError
from recsvc.training.examples import Examples, Floats, Found, check_features, floats, labelled

TRIES: Final = 5
"""How often a candidate list is asked for until nothing of it is degraded."""
MERGE: Final = "merge"
"""The stage whose score orders candidates as they were found."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a server: candidates of ``placement``, with the features of ``service``.

    ``limit``: how many candidates of each user, at most 500. ``concurrency``: how many calls are in flight.
    """

    placement: str
    service: str
    limit: int = 500
    concurrency: int = 2
    context: Mapping[str, ContextValue] | None = None


def whom(registry: Registry, name: str) -> tuple[Entity, Entity]:
    """Return the user and the item of a placement; raises ConfigError where there is no such placement, or no user."""
    placement = registry.placements.get(name)
    if placement is None:
        known = ", ".join(sorted(registry.placements)) or "none"
        raise ConfigError(f"there is no placement {name!r}; there is {known}")
    if placement.user is None:
        raise ConfigError(f"placement {name!r} knows no users: nobody can say what they took")
    return placement.user, registry.catalogues[placement.catalogue].item


async def gather(  # noqa: PLR0913, PLR0917  # whom it asks for what, and who wants to know how far it is
    client: AsyncClient,
    registry: Registry,
    wanted: Wanted,
    taken: Mapping[str, Collection[str]],
    since_micros: int,
    step: Callable[[int, int], None] = lambda _done, _of: None,
) -> Examples:
    """Ask for candidates for each user in ``taken``: by user id the ids of items taken, ``since_micros`` or later.

    Candidates and features come from one reply each, so they are the rows that would be ranked. The placement should
    have no ranker, diversity or cap of its own. ``step`` gets how many users are done.

    Raises LeakError for a feature whose event time is not before ``since_micros``, TrainingError where replies are
    degraded time and again or do not belong to ``registry``, ConfigError, UnknownNameError and ClientError.
    """
    asker = _Asker(client, registry, wanted, since_micros)
    gate, done = asyncio.Semaphore(wanted.concurrency), 0

    async def one(user: str) -> Found:
        nonlocal done
        async with gate:
            found = await asker.found(user)
        done += 1
        step(done, len(taken))
        return found

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(user)) for user in taken]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the others were cancelled, or say it too
    return labelled(asker.features, [task.result() for task in tasks], taken)


class _Asker:
    """Asks for one user at a time."""

    def __init__(self, client: AsyncClient, registry: Registry, wanted: Wanted, since_micros: int) -> None:
        features = service_features(registry, wanted.service)
        check_features(wanted.service, features)
        self.features = tuple(feature.name for feature in features)
        self._client = client
        self._wanted = wanted
        self._since = since_micros
        self._fingerprint = registry.fingerprint
        self._user_key, self._item_key = (entity.join_key for entity in whom(registry, wanted.placement))

    def __repr__(self) -> str:
        return f"_Asker({self._wanted.placement}, {len(self.features)} features)"

    async def found(self, user: str) -> Found:
        """Return the candidates of a user."""
        slate = await self._slate(user)
        # What fills a slate was not found by anything: it has no sources, and would not have been ranked.
        places = [place for place, item in enumerate(slate) if item.sources]
        fused = np.array([_merge_score(slate.message.items[place]) for place in places])
        rows = np.array(places, np.intp)[np.argsort(-fused, kind="stable")]
        items = [slate[row].id for row in rows.tolist()]
        if not items:
            return Found(user, [], np.empty((0, len(self.features))))
        whole = {name: floats(slate.columns[name], len(slate)) for name in self.features}
        matrix = np.column_stack([whole[name][rows] for name in self.features])
        await self._check(user, items, matrix)
        return Found(user, items, matrix)

    async def _slate(self, user: str) -> Slate:
        wanted = self._wanted
        for _ in range(TRIES):
            slate = await self._client.recommend(
                wanted.placement,
                user,
                limit=wanted.limit,
                service=wanted.service,
                context=wanted.context,
                explain=Explain.DIAGNOSTICS,
            )
            if slate.registry_fingerprint != self._fingerprint:
                raise TrainingError(
                    f"the server has the definitions {slate.registry_fingerprint}, the ones given here are"
                    f" {self._fingerprint}: give those that it serves"
                )
            if not slate.degraded:
                return slate
        flaws = ", ".join(dict.fromkeys(f"{f.reason.name} {f.view or f.source}".strip() for f in slate.degraded))
        raise TrainingError(f"user {user}: {TRIES} times the candidates were degraded ({flaws}): mend that first")

    async def _check(self, user: str, items: Sequence[str], matrix: Floats) -> None:
        """Look at when the features of candidates are from, which a slate does not tell."""
        batch = await self._client.get_features_batch(
            {self._user_key: user, self._item_key: items},
            service=self._wanted.service,
            context=self._wanted.context,
            event_times=True,
        )
        for view in batch.views:
            self._check_times(view, user, items, batch)
        changed = _changed(matrix, np.column_stack([floats(batch[name], len(items)) for name in self.features]))
        if changed.any():
            names = ", ".join(compress(self.features, changed.tolist()))
            why = "so nobody knows when it is from: write nothing meanwhile"
            raise TrainingError(f"user {user}: {names} changed while it was read, {why}")

    def _check_times(self, view: ServedView, user: str, items: Sequence[str], batch: FeatureBatch) -> None:
        late = np.flatnonzero(view.event_times >= np.datetime64(self._since, "us"))
        if not len(late):
            return
        row = int(late[0])
        whose = f"user {user}" if len(view.event_times) == 1 else f"user {user} and item {items[row]}"
        read = [name for name in batch.names if name.partition(":")[0] == view.view] or ["an input of others on demand"]
        since = np.datetime64(self._since, "us")
        raise LeakError(
            f"{view.view} ({', '.join(read)}) of {whose} is from {view.event_times[row]}Z, not before {since}Z, when"
            " items began to be taken: the model would be told what it is to predict"
        )


def _changed(left: Floats, right: Floats) -> npt.NDArray[np.bool_]:
    """Return which columns of two matrices differ; NaN is like NaN."""
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.asarray(~same.all(axis=0))


def _merge_score(item: Any) -> float:  # noqa: ANN401  # a message of the twin
    """Return what an item had before it was ranked."""
    score: float = next(stage.score for stage in item.stage_scores if stage.stage == MERGE)
    return score
