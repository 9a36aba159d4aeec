"""Schema records: which features the rows of each view have that are in the store. Writers keep them, servers look."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from recsvc.errors import DefinitionError
from recsvc.registry.compat import StoredSchemas, misfits
from recsvc.registry.model import FeatureView
from recsvc.registry.registry import Registry

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 1.0
"""How long it may take to read the records of all views."""


def record_key(view: FeatureView) -> str:
    """Return the key of the record of a view."""
    return f"fs:schema:{view.name}:v{view.version}"


def recorded(view: FeatureView, stored: bytes) -> list[str]:
    """Return the lines of a record, none where there is no record; raises DefinitionError where it is no such thing."""
    try:
        lines = json.loads(stored or b"[]")
    except ValueError:
        lines = None
    if not isinstance(lines, list):
        wrong = f"{record_key(view)} in the store is not a JSON list of 'name:TYPE'; delete it"
        raise DefinitionError([f"view {view.label}: {wrong}"])
    return lines


class SchemaCheck:
    """Compares views with the rows that are stored; needs no right but to read."""

    def __init__(self, client: Redis | RedisCluster) -> None:
        self._client: Any = client
        self._told: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"SchemaCheck({len(self._told)} told)"

    async def stored(self, views: Iterable[FeatureView]) -> StoredSchemas | None:
        """Return the records of those views that have one; None where the store does not answer.

        Raises DefinitionError where one is no record.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = [
                    (view, await self._client.get(record_key(view))) for view in views
                ]  # in a Cluster each has a node
        except (RedisError, RedisClusterException, OSError):  # TimeoutError is an OSError
            return None
        return {(view.name, view.version): lines for view, text in found if (lines := recorded(view, text))}

    async def tell(self, registry: Registry) -> bool:
        """Log each view that the store holds other rows of, once; False where the store does not answer."""
        try:
            stored = await self.stored(registry.views.values())
        except DefinitionError as error:
            wrong: Sequence[str] = error.problems
        else:
            if stored is None:
                return False
            wrong = [str(change) for change in misfits(registry, stored)]
        for problem in wrong:
            if problem not in self._told:
                log.error("stored rows cannot be served: %s", problem)
        self._told = wrong
        return True
