"""Where the writer sends rows of a cluster: those of one hash tag share a slot, and so one command."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recsvc.online.keys import by_tag
from recsvc.online.redis_slots import TagSlots

if TYPE_CHECKING:
    from redis.asyncio import RedisCluster
    from redis.asyncio.cluster import ClusterNode

Group = Sequence[int]
"""Indices of keys of one hash tag, which one command may name."""


@dataclass(slots=True)
class Routes:
    """Where keys go: the groups of each node, and those of slots that no node has."""

    nodes: dict[ClusterNode, list[Group]] = field(default_factory=lambda: defaultdict(list))
    uncovered: list[Group] = field(default_factory=list)


class ClusterRouter:
    """Groups keys by hash tag and node, as redis-py's client knows the cluster now."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client
        self._tags = TagSlots()

    def __repr__(self) -> str:
        return f"ClusterRouter({self._tags!r})"

    async def routes(self, keys: Sequence[bytes], *, most: int) -> Routes:
        """Return where ``keys`` go, at most ``most`` of them in a group. Raises what redis-py raises."""
        await self._client.initialize()
        routes = Routes()
        for tag, indices in by_tag(keys).items():
            groups = [indices[i : i + most] for i in range(0, len(indices), most)]
            nodes = self._client.nodes_manager.slots_cache.get(self._tags.of(tag))
            if nodes:
                routes.nodes[nodes[0]] += groups
            else:
                routes.uncovered += groups
        return routes
