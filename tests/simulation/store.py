"""Simulated nodes of the online store: they delay, fail, hang and answer out of order, and write down every read.

A row says which key it is of and which read brought it, so that every answer can be traced back.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD, Row, Unread
from recsvc.online.reader import RowReader

NO_ROW_OF: Final = 7
"""One in so many keys has no row."""
HOLE_IN: Final = 5
"""In a cluster with holes, one in so many keys is on no node."""


class Behaviour(StrEnum):
    """How a node answers."""

    HEALTHY = "healthy"
    SLOW = "slow"
    HANGING = "hanging"
    FAILING = "failing"
    FLAKY = "flaky"
    PARTIAL = "partial"
    LATE = "late"
    BROKEN = "broken"


LATENCY_S: Final[Mapping[Behaviour, tuple[float, float]]] = {
    Behaviour.HEALTHY: (0.0002, 0.003),
    Behaviour.SLOW: (0.01, 0.08),
    Behaviour.HANGING: (3_600.0, 3_600.0),
    Behaviour.FAILING: (0.0, 0.002),
    Behaviour.FLAKY: (0.0002, 0.02),
    Behaviour.PARTIAL: (0.0002, 0.01),
    Behaviour.LATE: (0.01, 0.3),
    Behaviour.BROKEN: (0.0, 0.002),
}
"""From, to. LATE keeps no deadline, as a node would if its timeout did not work; all others give up in time."""


class Phase(NamedTuple):
    """How a node answers from ``at`` seconds after the start on."""

    at: float
    behaviour: Behaviour


@dataclass(slots=True, eq=False)
class Read:
    """One command that a node got. ``unread``: keys that it gave no answer for (all, where it failed)."""

    number: int
    node: str
    keys: tuple[bytes, ...]
    sent_at: float
    until: float
    ended_at: float | None = None
    outcome: str = "under way"
    unread: frozenset[bytes] = frozenset()

    def brought(self, key: bytes) -> bool:
        """Say whether it told what there is of a key."""
        return self.outcome == "answered" and key in self.keys and key not in self.unread


class Watcher(Protocol):
    """Is told of every read when it begins and when it has ended."""

    def began(self, read: Read) -> None:
        """Take note of a read that begins."""
        ...

    def ended(self, read: Read) -> None:
        """Take note of a read that has ended."""
        ...


@dataclass(slots=True)
class Ledger:
    """All reads of all nodes, by number, and those under way."""

    clock: Callable[[], float]
    watcher: Watcher | None = None
    reads: list[Read] = field(default_factory=list)
    under_way: list[Read] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Ledger({len(self.reads)} reads, {len(self.under_way)} under way)"

    @contextmanager
    def entry(self, node: str, keys: Sequence[bytes], until: float) -> Iterator[Read]:
        """Write down a read from its begin to its end, however it ends."""
        read = Read(len(self.reads), node, tuple(keys), self.clock(), until)
        self.reads.append(read)
        self.under_way.append(read)
        if self.watcher is not None:
            self.watcher.began(read)
        try:
            yield read
            read.outcome = "answered"
        except asyncio.CancelledError:
            read.outcome = "cancelled"
            raise
        except ZeroDivisionError:
            read.outcome, read.unread = "broken", frozenset(keys)
            raise
        except StoreUnavailableError:
            read.outcome, read.unread = "failed", frozenset(keys)
            raise
        finally:
            read.ended_at = self.clock()
            self.under_way.remove(read)
            if self.watcher is not None:
                self.watcher.ended(read)


class SimulatedNode:
    """A RowReader that behaves as its ``phases`` say, which begin at ``start`` on the clock of ``ledger``."""

    def __init__(self, name: str, phases: Sequence[Phase], ledger: Ledger, rng: random.Random, *, start: float) -> None:
        self.name = name
        self._phases = phases
        self._ledger = ledger
        self._rng = rng
        self._start = start
        self._healed = False

    def __repr__(self) -> str:
        return f"SimulatedNode({self.name}: {self.behaviour})"

    @property
    def behaviour(self) -> Behaviour:
        """How it answers now."""
        if self._healed:
            return Behaviour.HEALTHY
        now = self._ledger.clock() - self._start
        return next((p.behaviour for p in reversed(self._phases) if p.at <= now), Behaviour.HEALTHY)

    def heal(self) -> None:
        """Be healthy from now on."""
        self._healed = True

    def refuses(self) -> Unread | None:
        """See RowReader.refuses: a store never does."""
        return None

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read."""
        with self._ledger.entry(self.name, keys, until) as read:
            behaviour = self.behaviour
            delay = self._rng.uniform(*LATENCY_S[behaviour])
            left = until - self._ledger.clock()
            if behaviour is not Behaviour.LATE and delay > left:
                await asyncio.sleep(max(left, 0.0))
                raise StoreUnavailableError("no answer in time")
            await asyncio.sleep(delay)
            if behaviour is Behaviour.BROKEN:
                raise ZeroDivisionError("a mistake in the store's code")
            if behaviour is Behaviour.FAILING or (behaviour is Behaviour.FLAKY and self._rng.random() < 0.5):
                raise StoreUnavailableError("connection lost")
            if behaviour is Behaviour.PARTIAL:
                read.unread = frozenset(k for k in keys if self._rng.random() < 0.3)
            return [UNREAD if k in read.unread else row_of(k, read.number) for k in read.keys]


class Places:
    """Which node has which key. A node may be replaced by another; with ``holes``, some keys are on no node."""

    def __init__(self, names: Sequence[str], *, holes: bool = False) -> None:
        self.names = list(names)
        self._holes = holes
        self._replaced: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Places({self.names}, replaced {self._replaced})"

    def of(self, key: bytes) -> str | None:
        """Return the node that has a key now; None: none has it."""
        mixed = zlib.crc32(key) // NO_ROW_OF
        return None if self._holes and mixed % HOLE_IN == 0 else self.names[mixed // HOLE_IN % len(self.names)]

    def ever(self, key: bytes) -> frozenset[str]:
        """Return all nodes that had a key at some time."""
        now = self.of(key)
        return frozenset(n for n in (now, self._replaced.get(now or "")) if n is not None)

    def replace(self, old: str, new: str) -> None:
        """Let ``new`` have the keys of ``old``, which is gone."""
        self.names[self.names.index(old)] = new
        self._replaced[new] = old


class SimulatedCluster:
    """A Router over the nodes that ``places`` names. Until ``known_at`` nobody knows which node has what.

    Where ``known_at`` is not before the deadline of who asks, it cannot be found out.
    """

    def __init__(
        self, nodes: Mapping[str, SimulatedNode], places: Places, clock: Callable[[], float], *, known_at: float
    ) -> None:
        self._nodes = nodes
        self._places = places
        self._clock = clock
        self._known_at = known_at

    def __repr__(self) -> str:
        return f"SimulatedCluster({[self._nodes[name] for name in self._places.names]})"

    def route(self, keys: Sequence[bytes]) -> tuple[Mapping[str, Sequence[int]], Sequence[int]] | None:
        """See Router.route."""
        if self._clock() < self._known_at:
            return None
        found: dict[str | None, list[int]] = {}
        for i, key in enumerate(keys):
            found.setdefault(self._places.of(key), []).append(i)
        nowhere = found.pop(None, [])
        return {name: indices for name, indices in found.items() if name is not None}, nowhere

    async def ready(self, until: float) -> None:
        """See Router.ready."""
        await asyncio.sleep(max(min(self._known_at, until) - self._clock(), 0.0))
        if self._clock() < self._known_at:
            raise StoreUnavailableError("the cluster's slots are not known")

    def nodes(self) -> frozenset[str]:
        """See Router.nodes."""
        return frozenset(self._places.names)

    def reader(self, name: str) -> RowReader:
        """See Router.reader."""
        return self._nodes[name]


def row_of(key: bytes, number: int) -> bytes | None:
    """Return the row that read ``number`` brings of a key; some keys have none."""
    mixed = zlib.crc32(key)
    if mixed % NO_ROW_OF == 0:
        return None
    return b"%s|%d|" % (key, number) + b"." * (mixed % 200)


def origin(row: bytes) -> tuple[bytes, int]:
    """Return the key that a row is of, and the number of the read that brought it."""
    key, number, _ = row.split(b"|")
    return key, int(number)
