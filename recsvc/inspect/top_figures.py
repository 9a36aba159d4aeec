"""The figures that tell how servers are, as plain data. None stands for what has no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Number = float | None


@dataclass(frozen=True, slots=True)
class Method:
    """Calls of one method; ``failed``: the share that failed for a reason of the server's."""

    name: str
    per_s: float
    p50_s: Number
    p99_s: Number
    failed: Number


@dataclass(frozen=True, slots=True)
class HopTime:
    """One hop of all calls. ``busy``: seconds a second; ``share``: of the time of all calls, hops within hops too."""

    name: str
    per_s: float
    p50_s: Number
    p99_s: Number
    busy: float
    share: Number


@dataclass(frozen=True, slots=True)
class Store:
    """Commands to the store, and fetches; ``keys`` and ``callers`` are means of a fetch."""

    per_s: Number = None
    p50_s: Number = None
    p99_s: Number = None
    failed: Number = None
    keys: Number = None
    callers: Number = None
    waiting: Number = None
    shed_per_s: Number = None


@dataclass(frozen=True, slots=True)
class Cache:
    """Copies of rows. ``hit`` and ``stale`` are shares of ``per_s``, the rows that were looked up."""

    per_s: Number = None
    hit: Number = None
    stale: Number = None
    rows: Number = None
    bytes: Number = None
    dropped_per_s: Number = None


@dataclass(frozen=True, slots=True)
class Node:
    """A server of the store: its breaker as the servers see it, or what it says of itself.

    ``breaker``: 0 closed, 1 half-open, 2 open. ``changes``: of its state, since the servers began. ``memory`` and its
    ``limit`` are bytes; no limit: None.
    """

    name: str
    breaker: Number = None
    changes: Number = None
    memory: Number = None
    limit: Number = None
    evicted_per_s: Number = None
    hit: Number = None


@dataclass(frozen=True, slots=True)
class View:
    """Rows of one view. ``defaults`` is the share that had no values, ``usual`` that since the servers began.

    ``why``: the status of most of them. ``unavailable``: the share that could not be read. ``late``: the share of rows
    that are there and have missed an update.
    """

    name: str
    per_s: float
    defaults: Number
    usual: Number
    unavailable: Number
    why: str
    stale: Number
    age_s: Number
    freshness_s: Number
    late: Number


@dataclass(frozen=True, slots=True)
class Slates:
    """Slates of one placement; items and candidates are means."""

    name: str
    per_s: float
    items: Number
    candidates: Number
    short: Number
    empty: Number
    quality: Number
    rank_p99_s: Number


@dataclass(frozen=True, slots=True)
class Process:
    """The servers' own processes; ``used`` and ``idle`` are connections to the store."""

    active: Number = None
    lag_p99_s: Number = None
    used: Number = None
    idle: Number = None
    spans_per_s: Number = None
    spans_dropped_per_s: Number = None
    spans_failed_per_s: Number = None


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures, busiest first. ``statuses``: share of calls by status; ``degraded``: answers a second by reason."""

    calls_per_s: Number = None
    rows_per_s: Number = None
    methods: Sequence[Method] = ()
    statuses: Mapping[str, float] = field(default_factory=dict)
    degraded: Mapping[str, float] = field(default_factory=dict)
    hops: Sequence[HopTime] = ()
    store: Store = field(default_factory=Store)
    cache: Cache = field(default_factory=Cache)
    nodes: Sequence[Node] = ()
    views: Sequence[View] = ()
    slates: Sequence[Slates] = ()
    process: Process = field(default_factory=Process)
