"""The read path in one place: fallback( cache( [by node:] coalesce( retry( breaker( store ))))).

Each stage is a file of its own and knows nothing but the protocol of the next; here is their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final
from weakref import WeakValueDictionary

from recsvc.online.breaker import Breaker, BreakerSettings, Change, State
from recsvc.online.by_node import ByNode, Router
from recsvc.online.cache import CachingReader, RowCache
from recsvc.online.coalesce import Coalescer, CoalesceSettings
from recsvc.online.fallback import FallbackReader
from recsvc.online.guard import Guarded
from recsvc.online.reader import RowReader, Span, ViewRows
from recsvc.online.retry import Retrying
from recsvc.telemetry import metrics as m
from recsvc.telemetry.series import Point

SLACK_S: Final = 0.002
"""How long a call waits beyond the time that a fetch has: the fetch knows better how it ended."""


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """The bounds of all stages. ``cache_bytes`` counts keys, rows and what it takes to keep them."""

    cache_entries: int = 500_000
    cache_bytes: int = 256_000_000
    coalesce: CoalesceSettings = field(default_factory=CoalesceSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What comes in from outside: the event loop's clock, chance, and who is told of a breaker's change."""

    clock: Callable[[], float]
    rng: Random
    on_change: Callable[[Change], None]
    metrics: m.Metrics = field(default_factory=lambda: m.Metrics(enabled=False))


@dataclass(frozen=True, slots=True)
class NamedStore:
    """A single server: what it is called in logs, and what reads from it."""

    name: str
    reader: RowReader


class ReadChain:
    """Reads rows of any view: see Chain. ``close`` ends what is under way."""

    def __init__(self, settings: ChainSettings, around: Surroundings, store: NamedStore | Router) -> None:
        """Read from one store, or from the nodes that a router knows."""
        self._settings = settings
        self._around = around
        self._breakers: WeakValueDictionary[str, Breaker] = WeakValueDictionary()
        self._cache = RowCache(max_entries=settings.cache_entries, max_bytes=settings.cache_bytes, rng=around.rng)
        self._fetcher = self._lanes(store)
        caching = CachingReader(self._cache, self._fetcher, clock=around.clock)
        self._first = FallbackReader(caching, self._cache, clock=around.clock)
        self._publish(around.metrics, caching)

    def __repr__(self) -> str:
        return f"ReadChain({self._first!r})"

    def hit(self, spans: Sequence[Span], now: float) -> list[ViewRows] | None:
        """See Chain.hit."""
        return self._first.hit(spans, now)

    async def read(self, spans: Sequence[Span], came: float, until: float) -> list[ViewRows]:
        """See Chain.read. However much time a caller has, it waits no longer than a fetch may take."""
        latest = self._around.clock() + self._settings.coalesce.timeout_s + SLACK_S
        return await self._first.read(spans, came, min(until, latest))

    def forget(self, key: bytes, row: bytes) -> None:
        """See Chain.forget."""
        self._cache.forget(key, row)

    async def close(self) -> None:
        """End all fetches; whoever still waits gets Unread."""
        await self._fetcher.close()

    def _publish(self, metrics: m.Metrics, caching: CachingReader) -> None:
        """Let metrics read what all stages count."""
        cache, first, fetcher = self._cache, self._first, self._fetcher
        metrics[m.CACHE_LOOKUPS].observe(
            lambda: [(("hit",), caching.hits), (("miss",), caching.misses), (("stale",), first.stale)]
        )
        metrics[m.CACHE_EVICTIONS].observe(lambda: [((), cache.evictions)])
        metrics[m.CACHE_ROWS].observe(lambda: [((), len(cache))])
        metrics[m.CACHE_BYTES].observe(lambda: [((), cache.bytes)])
        metrics[m.FETCH_WAITING].observe(lambda: [((), fetcher.waiting)])
        metrics[m.FETCH_SHED].observe(lambda: [((), fetcher.shed)])
        metrics[m.BREAKER_STATE].observe(self._states)

    def _states(self) -> list[Point]:
        now, order = self._around.clock(), [State.CLOSED, State.HALF_OPEN, State.OPEN]
        return [((name,), order.index(breaker.state(now))) for name, breaker in self._breakers.copy().items()]

    def _lanes(self, store: NamedStore | Router) -> Coalescer | ByNode:
        if isinstance(store, NamedStore):
            return self._lane(store.name, store.reader)
        return ByNode(store, self._lane)

    def _lane(self, name: str, store: RowReader) -> Coalescer:
        """Return what stands in front of one node, or of the only server."""
        around = self._around
        breaker = Breaker(name, self._settings.breaker, random=around.rng, on_change=around.on_change)
        guarded = Guarded(store, breaker, now=around.clock)
        retrying = Retrying(
            guarded,
            random=around.rng,
            may_retry=lambda: breaker.state(around.clock()) is State.CLOSED,
            now=around.clock,
        )
        self._breakers[name] = breaker
        for state in State:  # from the start at 0, so that the first change is seen as one
            around.metrics[m.BREAKER_CHANGES].count(name, state)
        settings = self._settings.coalesce
        return Coalescer(retrying, settings, self._cache.keep, clock=around.clock, metrics=around.metrics)
