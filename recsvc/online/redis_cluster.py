"""Which node of a cluster has which keys: those of one hash tag share a slot, and so one command."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from redis.crc import key_slot

from recsvc.online.keys import by_tag

if TYPE_CHECKING:
    from redis.asyncio import RedisCluster
    from redis.asyncio.cluster import ClusterNode

TAGS_KEPT: Final = 65_536
"""Hash tags whose slot is remembered; a slot costs 1 µs to compute in Python."""

Group = Sequence[int]
"""Indices of keys of one hash tag, which one command may name."""


@dataclass(slots=True)
class Routes:
    """Where keys go: the groups of each node, and those of slots that no node has."""

    nodes: dict[ClusterNode, list[Group]] = field(default_factory=lambda: defaultdict(list))
    uncovered: list[Group] = field(default_factory=list)


class ClusterRouter:
    """Groups keys by hash tag and node, as the client knows the cluster now."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client
        self._slots: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"ClusterRouter({len(self._slots)} tags)"

    async def routes(self, keys: Sequence[bytes], *, most: int) -> Routes:
        """Return where ``keys`` go, at most ``most`` of them in a group. Raises what redis-py raises."""
        await self._client.initialize()
        routes = Routes()
        for tag, indices in by_tag(keys).items():
            groups = [indices[i : i + most] for i in range(0, len(indices), most)]
            node = self._owner(tag)
            if node is None:
                routes.uncovered += groups
            else:
                routes.nodes[node] += groups
        return routes

    def route(self, keys: Sequence[bytes]) -> tuple[dict[str, list[int]], list[int]]:
        """Return the names of nodes with the indices of their keys, and the indices of keys that no node has."""
        nodes: dict[str, list[int]] = defaultdict(list)
        uncovered: list[int] = []
        for tag, indices in by_tag(keys).items():
            node = self._owner(tag)
            if node is None:
                uncovered += indices
            else:
                nodes[node.name] += indices
        return nodes, uncovered

    def _owner(self, tag: bytes) -> ClusterNode | None:
        nodes = self._client.nodes_manager.slots_cache.get(self._slot(tag))
        return nodes[0] if nodes else None

    def _slot(self, tag: bytes) -> int:
        slot = self._slots.get(tag)
        if slot is None:
            if len(self._slots) >= TAGS_KEPT:
                self._slots.clear()
            slot = self._slots[tag] = key_slot(tag)
        return slot
