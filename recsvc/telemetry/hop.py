"""The hops of a call while it is on its way: what it did one after the other, and side by side.

A hop is a span to be; of a call that is not sampled only the times are kept, as plain numbers. ``CURRENT`` is the hop
that the code which runs now belongs to: None where nothing is measured. Hops are made of it in three ways:

* ``lap`` says that what was done since the last one is done: so the hops of a call leave no gap between them;
* ``stage`` is a lap with hops of its own;
* ``open`` is for what runs beside others, or must be known by its id before it ends.

Times are seconds of the monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from random import Random
from typing import Final, NamedTuple

from recsvc.telemetry.names import HOP_US
from recsvc.telemetry.trace_context import NO_CARRIER, Carrier, Parent

SHORT_S: Final = 20e-6
"""What is shorter is an attribute of its parent and no span."""
HIT_HOPS: Final = 2
"""Hops of a call that did not wait for anything which are spans beside its own; those that took longest."""
_TRIES: Final = 3
_CLOSE_NS: Final = 5_000
HOPS_KEPT: Final = 200
"""Spans of one call: a slate has some twenty."""

Scalar = str | bool | int | float
Attribute = Scalar | tuple[str, ...]
_ids = Random()  # noqa: S311  # names spans, keeps no secret


class Kind(Enum):
    """Which side of a call a span is."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


class Place(NamedTuple):
    """Where a span is."""

    trace_id: int
    span_id: int


_NO_LAP: Final = (0.0, "")


class Event(NamedTuple):
    """Something that happened at a moment."""

    name: str
    at: float
    attributes: Mapping[str, Attribute]


class Hop:
    """One hop. ``attributes``, ``events`` and ``links`` are those of its span.

    ``mark``: when its last lap ended; ``shown``: up to when its laps are spans; ``longest``: of those since then, in s,
    with its name.
    """

    __slots__ = (
        "_call",
        "attributes",
        "began",
        "ended",
        "error",
        "events",
        "id",
        "kind",
        "links",
        "longest",
        "mark",
        "name",
        "parent",
        "shown",
    )

    def __init__(self, call: CallHop | None, name: str, began: float, parent: int, kind: Kind = Kind.INTERNAL) -> None:
        self._call = call
        self.name = name
        self.kind = kind
        self.began = self.mark = self.shown = began
        self.longest: tuple[float, str] = _NO_LAP
        self.ended: float | None = None
        self.id = _ids.getrandbits(64)
        self.parent = parent
        self.attributes: dict[str, Attribute] = {}
        self.events: list[Event] = []
        self.links: list[Place] = []
        self.error = ""

    def __repr__(self) -> str:
        state = "open" if self.ended is None else f"{(self.ended - self.began) * 1e6:.0f} us"
        return f"Hop({self.name!r}, {state})"

    @property
    def call(self) -> CallHop:
        """The call that it belongs to."""
        if self._call is None:
            raise AssertionError("only a call has none")
        return self._call

    def lap(self, name: str) -> None:
        """Say that what was done since the last lap is done."""
        call, began = self.call, self.mark
        self.mark = now = call.clock()
        call.laps.append((name, now - began))
        if call.sampled:
            self._show(name, now - began, now)

    def _show(self, name: str, took: float, now: float) -> None:
        """Make a span of a lap, once it and those before it are long enough to be seen: by the name of the longest."""
        longest_s, longest = self.longest
        if now - self.shown < SHORT_S:
            self.tell(name, took)
            if took > longest_s:
                self.longest = took, name
            return
        if took < longest_s:
            self.tell(longest, -longest_s)
            self.tell(name, took)
            name = longest
        self.call.keep(Hop(self.call, name, self.shown, self.id), now)
        self.begin_at(now)

    def begin_at(self, now: float) -> None:
        """Let the next lap begin ``now``."""
        self.mark = self.shown = now
        self.longest = _NO_LAP

    def tell(self, name: str, seconds: float) -> None:
        """Say in an attribute how long a hop took that is no span; those of one name add up."""
        key = HOP_US.replace("*", name.removeprefix("recsvc."))
        before = self.attributes.get(key, 0.0)
        self.attributes[key] = took = round((before if isinstance(before, float) else 0.0) + seconds * 1e6, 1)
        if seconds < 0 and not took:
            del self.attributes[key]

    def add(self, name: str, count: int) -> None:
        """Count in an attribute: what is done in several steps adds up."""
        before = self.attributes.get(name, 0)
        self.attributes[name] = (before if isinstance(before, int) else 0) + count

    def open(self, name: str) -> Hop | None:
        """Return a hop that begins where the last lap ended; None where the call is not sampled."""
        self.begin_at(self.mark)
        return Hop(self.call, name, self.mark, self.id) if self.call.sampled else None

    def close(
        self, made: Hop | None, name: str, began: float, *, ended: float | None = None, follows: bool = True
    ) -> None:
        """End what was opened here and ``began`` then; ``follows``: the next lap begins where it ends.

        ``ended``: when that was, where it was before now.
        """
        call = self.call
        call.is_hit = False
        now = call.clock() if ended is None else ended
        call.laps.append((name, now - began))
        if made is not None:
            call.keep(made, now)
        if follows:
            self.begin_at(max(self.mark, now))

    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Say that something has happened."""
        if self.call.sampled and len(self.events) < HOPS_KEPT:
            self.events.append(Event(name, self.call.clock(), attributes))


class CallHop(Hop):
    """A call: its hop is the server's span. ``carrier`` and ``came_from`` say whose trace it continues.

    ``dropped``: hops that are no spans, for there were too many.
    """

    __slots__ = (
        "_offset",
        "came_from",
        "carrier",
        "clock",
        "degraded",
        "dropped",
        "hops",
        "is_hit",
        "laps",
        "method",
        "sampled",
        "trace_id",
    )

    def __init__(  # noqa: PLR0913  # each is a fact of a call
        self,
        method: str,
        began: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        sampled: bool,
        trace_id: int = 0,
        came_from: Parent | None = None,
        carrier: Carrier = NO_CARRIER,
    ) -> None:
        super().__init__(None, method, began, 0 if came_from is None else came_from.span_id, Kind.SERVER)
        self.method = method
        self.clock = clock
        self.sampled = sampled
        self.trace_id = trace_id
        self.came_from = came_from
        self.carrier = carrier
        self.laps: list[tuple[str, float]] = []
        self.hops: list[Hop] = []
        self.dropped = 0
        self.degraded: dict[tuple[str, str], None] = {}
        """What did not work: reason, and of what."""
        self._offset: int | None = None
        self.is_hit = True
        """Whether it did all by itself, one thing after the other."""

    def __repr__(self) -> str:
        return f"CallHop({self.method!r}, {'sampled' if self.sampled else 'not sampled'}, {len(self.laps)} laps)"

    @property
    def call(self) -> CallHop:
        """Itself; kept nowhere, for a circle would be garbage that every call leaves."""
        return self

    @property
    def offset(self) -> int:
        """What makes ns since 1970 of monotonic ns; one for all that belongs to the call."""
        if self._offset is None:
            self._offset = wall_offset()
        return self._offset

    def condense(self) -> None:
        """Make attributes of all but the longest hops, where there is little to see: of a hit."""
        if self.is_hit and len(self.hops) > HIT_HOPS:
            by_length = sorted(self.hops, key=lambda hop: hop.began - (hop.ended or hop.began))
            self.hops = sorted(by_length[:HIT_HOPS], key=lambda hop: hop.began)
            for hop in by_length[HIT_HOPS:]:
                self.tell(hop.name, (hop.ended or hop.began) - hop.began)

    def keep(self, hop: Hop, now: float) -> None:
        """Take a hop that ended ``now``."""
        hop.ended = now
        if len(self.hops) < HOPS_KEPT:
            self.hops.append(hop)
        else:
            self.dropped += 1


def wall_offset() -> int:
    """Return the wall clock less the monotonic one, in ns; read again where something came in between."""
    for _ in range(_TRIES):
        before = time.monotonic_ns()
        wall = time.time_ns()
        if time.monotonic_ns() - before < _CLOSE_NS:
            break
    return wall - before


CURRENT: Final[ContextVar[Hop | None]] = ContextVar("recsvc_hop", default=None)
COMMANDS: Final[ContextVar[list[Place] | None]] = ContextVar("recsvc_commands", default=None)
"""Where the commands of a fetch are noted, for the links of all that wait for it; None where no fetch is made."""


def lap(name: str) -> None:
    """See Hop.lap; of the current hop, where there is one."""
    hop = CURRENT.get()
    if hop is not None:
        hop.lap(name)


def resume() -> None:
    """Let the next lap begin now: what was done since the last one was told by hops of its own."""
    hop = CURRENT.get()
    if hop is not None:
        hop.begin_at(hop.call.clock())


def sampled() -> Hop | None:
    """Return the current hop, where it is of a call that is sampled: for attributes that take time to find."""
    hop = CURRENT.get()
    return hop if hop is not None and hop.call.sampled else None


def event(name: str, attributes: Mapping[str, Attribute]) -> None:
    """See Hop.event; of the current hop, where there is one."""
    hop = CURRENT.get()
    if hop is not None:
        hop.event(name, attributes)


def degraded(reason: str, what: str) -> None:
    """Say that the answer of the current call is not what it should be."""
    hop = CURRENT.get()
    if hop is not None:
        hop.call.degraded[reason, what] = None


@contextmanager
def stage(name: str, *, beside: bool = False) -> Iterator[Hop | None]:
    """Make what is done inside a hop of its own, and yield it where its call is sampled.

    ``beside``: others run at the same time, and the laps of the current hop go on for themselves.
    """
    outer = CURRENT.get()
    if outer is None:
        yield None
        return
    began = outer.mark
    inner = outer.open(name)
    token = CURRENT.set(inner if inner is not None else _unsampled(outer))
    try:
        yield inner
    finally:
        CURRENT.reset(token)
        outer.close(inner, name, began, follows=not beside)


def _unsampled(outer: Hop) -> Hop:
    """Return a hop whose laps are those of the call, and which is no span."""
    return Hop(outer.call, outer.name, outer.mark, outer.id)
