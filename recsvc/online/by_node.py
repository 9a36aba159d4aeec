"""Splits what a call wants over the nodes of a cluster; each node has fetch slots, retry and a breaker of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD, Row
from recsvc.online.coalesce import Coalescer
from recsvc.online.reader import RowReader, Wanted

Places = Mapping[str, Sequence[int]]
"""Indices of keys by the name of the node that has them."""


class Router(Protocol):
    """Knows which node has which keys."""

    def route(self, keys: Sequence[bytes]) -> tuple[Places, Sequence[int]] | None:
        """Return the places of keys by node, and those that no node has; None where that is not known yet."""
        ...

    async def ready(self, until: float) -> None:
        """Find out which node has what; raises StoreUnavailableError where that cannot be found out by ``until``."""
        ...

    def nodes(self) -> frozenset[str]:
        """Return the names of all nodes there are now."""
        ...

    def reader(self, name: str) -> RowReader:
        """Return what reads from a node: another reader than before where the node has left and come back."""
        ...


class ByNode:
    """A Fetcher over all nodes. ``lane`` makes what stands in front of one: it is called once per node."""

    def __init__(self, router: Router, lane: Callable[[str, RowReader], Coalescer]) -> None:
        self._router = router
        self._lane = lane
        self._closed = False
        self._lanes: dict[str, tuple[RowReader, Coalescer]] = {}
        self._left: list[Coalescer] = []  # of nodes that are gone, while something is under way
        self._shed = 0  # of nodes that are gone

    def __repr__(self) -> str:
        lanes = {name: lane for name, (_, lane) in self._lanes.items()}
        return f"ByNode({lanes!r}, {len(self._left)} left)"

    @property
    def waiting(self) -> int:
        """How many rows wait to be fetched, or are in flight, from all nodes."""
        return sum(lane.waiting for _, lane in list(self._lanes.values()))

    @property
    def shed(self) -> int:
        """How many rows were not fetched because too much was waiting."""
        return self._shed + sum(lane.shed for _, lane in list(self._lanes.values()))

    async def fetch(self, wanted: Sequence[Wanted], until: float) -> list[Sequence[Row]]:
        """See Fetcher.fetch."""
        found: list[list[Row]] = [[UNREAD] * len(want.keys) for want in wanted]  # those that no node has stay so
        routed = [self._router.route(want.keys) for want in wanted]
        if None in routed:
            try:
                await self._router.ready(until)
            except StoreUnavailableError:
                return list(found)
            routed = [self._router.route(want.keys) for want in wanted]
        if self._closed:
            return list(found)
        await self._fetch_all(wanted, [{} if r is None else r[0] for r in routed], found, until)
        return list(found)

    async def close(self) -> None:
        """End all fetches of all nodes, and begin no more."""
        self._closed = True
        lanes = [lane for _, lane in self._lanes.values()]
        await asyncio.gather(*(lane.close() for lane in [*lanes, *self._left]))

    async def _fetch_all(
        self, wanted: Sequence[Wanted], routed: Sequence[Places], found: Sequence[list[Row]], until: float
    ) -> None:
        """Begin on all nodes at once, then wait for one after the other; all have the same time."""
        parts = _by_node(wanted, routed)
        begun = []
        for name, of in parts.items():
            lane = self._of(name)
            begun.append((lane, lane.begin([want for _, want, _ in of]), of))
        try:
            for lane, call, _ in begun:
                await lane.finish(call, until)
        finally:
            for lane, call, _ in begun:
                lane.leave(call)
        for _, call, of in begun:
            for (index, _, places), rows in zip(of, call.rows(), strict=True):
                for place, row in zip(places, rows, strict=True):
                    found[index][place] = row

    def _of(self, name: str) -> Coalescer:
        reader = self._router.reader(name)
        known = self._lanes.get(name)
        if known is not None and known[0] is reader:
            return known[1]
        self._drop_gone(name)
        lane = self._lane(name, reader)
        self._lanes[name] = reader, lane
        return lane

    def _drop_gone(self, name: str) -> None:
        """Let go of nodes that have left the cluster, ``name`` among them; a new reader is when some may have."""
        there = self._router.nodes() - {name}
        for gone in [n for n in self._lanes if n not in there]:
            lane = self._lanes.pop(gone)[1]
            self._shed += lane.shed
            self._left.append(lane)
        self._left = [lane for lane in self._left if not lane.idle]


_Part = tuple[int, Wanted, Sequence[int]]
"""The index of a want, what of it one node has, and where those keys stand in it."""


def _by_node(wanted: Sequence[Wanted], routed: Sequence[Places]) -> dict[str, list[_Part]]:
    parts: dict[str, list[_Part]] = {}
    for index, (want, by_name) in enumerate(zip(wanted, routed, strict=True)):
        for name, places in by_name.items():
            # All on one node: as they are, for a router may name places in any order.
            whole = len(places) == len(want.keys)
            part = want if whole else Wanted([want.keys[i] for i in places], want.since, want.keep)
            parts.setdefault(name, []).append((index, part, range(len(want.keys)) if whole else places))
    return parts
