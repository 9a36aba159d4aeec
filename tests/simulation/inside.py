"""Looks into the chain: the one place of the simulation that knows how the stages keep what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from recsvc.online.by_node import Router
from recsvc.online.cache import COPY_BYTES, RowCache
from recsvc.online.chain import ChainSettings, NamedStore, ReadChain, Surroundings
from recsvc.online.coalesce import Coalescer
from recsvc.online.reader import RowReader
from tests.simulation.store import Places


class Load(NamedTuple):
    """What a node's coalescer holds: keys that wait or are in flight, their bytes, calls that wait, fetches."""

    keys: int
    bytes: int
    calls: int
    fetches: int


class Copy(NamedTuple):
    """A row in the cache; ``sent_at`` is when it says that its fetch was sent."""

    key: bytes
    row: bytes | None
    sent_at: float
    bytes: int


class OpenChain(ReadChain):
    """A chain that keeps what it makes for each node in ``lanes``, also when the node is gone."""

    def __init__(self, settings: ChainSettings, around: Surroundings, store: NamedStore | Router) -> None:
        self.lanes: dict[str, Coalescer] = {}
        super().__init__(settings, around, store)

    def _lane(self, name: str, store: RowReader) -> Coalescer:
        lane = self.lanes[name] = super()._lane(name, store)
        return lane


class Inside:
    """The insides of a chain, and which node has which key; there may be no chain yet."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.chain: OpenChain | None = None

    def __repr__(self) -> str:
        return f"Inside({self.chain!r})"

    @property
    def open_chain(self) -> OpenChain:
        """The chain, once there is one."""
        assert self.chain is not None
        return self.chain

    @property
    def cache(self) -> RowCache:
        """The cache of the chain."""
        return self.open_chain._cache

    def lanes(self) -> Mapping[str, Coalescer]:
        """Return the coalescers by node, also those of nodes that are gone."""
        return {} if self.chain is None else self.chain.lanes

    def load(self, node: str) -> Load:
        """Return what a node's coalescer holds."""
        lane = self.lanes().get(node)
        return Load(0, 0, 0, 0) if lane is None else load(lane)

    def flight(self, node: str, key: bytes) -> object | None:
        """Return the flight that a key is on, if it is on one."""
        lane = self.lanes().get(node)
        return None if lane is None else lane._flying.get(key)

    def under_way(self, node: str, key: bytes) -> bool:
        """Say whether a key waits to be fetched or is in flight."""
        lane = self.lanes().get(node)
        return lane is not None and (key in lane._waiting or key in lane._flying)

    def copies(self) -> Iterator[Copy]:
        """Return all copies in the cache."""
        for key, (sent_at, _, row) in self.cache._copies.items():
            yield Copy(key, row, sent_at, COPY_BYTES + len(key) + len(row or b""))


def load(lane: Coalescer) -> Load:
    """Return what a coalescer holds."""
    return Load(len(lane._waiting) + len(lane._flying), lane._bytes, lane._calls, len(lane._fetches))
