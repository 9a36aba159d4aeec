"""One fetch per key in flight, whoever waits for it; misses that come while all fetch slots are busy leave together.

A fetch belongs to no caller. It has a task of its own, and its timeout runs from its first miss; callers wait on
futures until their own deadlines, and when one goes, nothing happens to the fetch. All changes of state are made in
synchronous methods; ``_run`` is the only thing that waits for the store.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from recsvc.errors import StoreRefusedError, StoreUnavailableError
from recsvc.online.answer import UNREAD, Row, Unread
from recsvc.online.loop_turns import LOOK_TURNS, after_turns
from recsvc.online.parcels import Call, Parcel
from recsvc.online.reader import RowReader, Wanted
from recsvc.telemetry import metrics as m
from recsvc.telemetry.hop import COMMANDS, CURRENT, Hop, Place

log = logging.getLogger(__name__)

FULL: Final = 0.8
"""From this share of a bound on, new misses are not taken in any more: what is waiting has to get through."""
LEAST_SHARE: Final = 0.1
"""Of the timeout, what a fetch needs to be worth sending."""

Sink = Callable[[Sequence[bytes], Sequence[Row], float], None]
"""Takes keys, rows and when their fetch was sent."""


@dataclass(frozen=True, slots=True)
class CoalesceSettings:
    """Bounds of one coalescer, that is of one node.

    ``slots``: fetches in flight before misses gather, for up to ``gather_s``, then more are sent, up to ``fetches``.
    ``timeout_s``: how long a miss may wait and be fetched. ``waiting_*``: what may wait or be in flight at once.
    """

    slots: int = 4
    fetches: int = 64
    gather_s: float = 0.001
    keys_per_fetch: int = 512
    timeout_s: float = 0.05
    waiting_keys: int = 50_000
    waiting_bytes: int = 16_000_000
    waiting_calls: int = 5_000

    @property
    def latest_s(self) -> float:
        """How long a miss may wait to be sent: what would fail for want of time is not held against the store."""
        return self.timeout_s * (1 - LEAST_SHARE)

    @property
    def crowd(self) -> float:
        """The number of fetches in flight from which on new misses are shed; none where slots take most of them."""
        share = math.ceil(FULL * self.fetches)
        return share if share > self.slots else math.inf


class Coalescer:
    """Fetches rows through ``reader``, one fetch per key at a time. ``sink`` gets all rows that may be kept."""

    def __init__(
        self,
        reader: RowReader,
        settings: CoalesceSettings,
        sink: Sink,
        *,
        clock: Callable[[], float],
        metrics: m.Metrics | None = None,
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._sink = sink
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._queue: deque[Parcel] = deque()
        self._waiting: dict[bytes, Parcel] = {}  # keys of parcels that are not sent yet
        self._flying: dict[bytes, Parcel] = {}
        self._fetches: set[asyncio.Task[None]] = set()
        self._turn: asyncio.Handle | None = None
        self._more = False  # whether a call has come since the last turn of the loop
        self._timer: asyncio.TimerHandle | None = None
        self._calls = 0
        self._bytes = 0
        self.fetched = 0
        self.joined = 0
        self.shed = 0
        metrics = metrics or m.Metrics(enabled=False)
        self._widths = metrics[m.FETCH_KEYS].histogram()
        self._crowds = metrics[m.FETCH_CALLERS].histogram()

    def __repr__(self) -> str:
        return (
            f"Coalescer({self._calls} calls wait, {len(self._waiting)} keys gather, {len(self._flying)} keys in"
            f" {len(self._fetches)} fetches, {self.fetched} fetched, {self.joined} joined, {self.shed} shed,"
            f" {self._reader!r})"
        )

    async def fetch(self, wanted: Sequence[Wanted], until: float) -> list[Sequence[Row]]:
        """See Fetcher.fetch."""
        call = self.begin(wanted)
        await self.finish(call, until)
        return call.rows()

    def begin(self, wanted: Sequence[Wanted]) -> Call:
        """Take in what a call wants; ``finish`` waits for it.

        It is sent when a turn of the event loop has brought no other miss: that costs next to no time, and saves most
        of the commands under load, when every turn brings one.
        """
        now = self._clock()
        call = Call(self._loop.create_future(), now)
        if self._calls >= self._settings.waiting_calls:  # not even to join
            for want in wanted:
                self.shed += len(want.keys)
                call.wants.append((want.keys, [Unread.SATURATED] * len(want.keys)))
            return call
        refused = UNREAD if self._closed else self._reader.refuses()
        for want in wanted:
            call.wants.append((want.keys, self._place(call, want, refused)))
        self._more = True
        if self._queue and self._turn is None:
            self._turn = self._loop.call_soon(self._turn_over)
        call.counted = call.left > 0
        self._calls += call.counted
        if call.counted:
            call.begin_wait()
        return call

    async def finish(self, call: Call, until: float) -> None:
        """Wait until all that ``call`` wants is there, or ``until``."""
        timer = None
        if until <= self._clock():
            call.expire()
        elif call.left:
            # Whoever has more time than a fetch hears from it how it ended: it looks once more before it gives up.
            turns = 2 * LOOK_TURNS if until >= call.began_at + self._settings.timeout_s else 0
            timer = self._loop.call_at(until, after_turns, self._loop, turns, call.expire)
        try:
            if timer is not None:
                await call.future
        finally:
            if timer is not None:
                timer.cancel()
            self._count_out(call)

    def leave(self, call: Call) -> None:
        """Let go of a call that waits no longer, whether it was finished or not."""
        call.expire()
        self._count_out(call)

    def _count_out(self, call: Call) -> None:
        self._calls -= call.counted
        call.counted = False
        call.end_wait()

    async def close(self) -> None:
        """End all fetches, and send no more; whoever waits gets Unread."""
        self._closed = True
        tasks = list(self._fetches)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pump(self._clock())
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()

    @property
    def waiting(self) -> int:
        """How many rows wait to be fetched, or are in flight."""
        return len(self._waiting) + len(self._flying)

    @property
    def idle(self) -> bool:
        """Whether nothing is waiting or in flight."""
        return not (self._queue or self._waiting or self._flying or self._fetches or self._calls)

    def _place(self, call: Call, want: Wanted, refused: Unread | None) -> Parcel | list[Parcel | Unread]:
        """Return where the rows of a want will be: in flight already, in parcels still to be sent, or nowhere."""
        keys, waiting, flying = want.keys, self._waiting, self._flying
        if not (waiting or flying) or (flying.keys().isdisjoint(keys) and waiting.keys().isdisjoint(keys)):
            made = self._parcels(call, want, refused)
            if isinstance(made, Unread):
                return [made] * len(keys)
            return made[0] if len(made) == 1 else [p for p in made for _ in p.keys]
        return self._join(call, want, refused)

    def _join(self, call: Call, want: Wanted, refused: Unread | None) -> list[Parcel | Unread]:
        """Join what is under way where it will do, and fetch the rest."""
        held: dict[bytes, Parcel | Unread] = {}
        joined: dict[Parcel, None] = {}
        new: dict[Parcel | None, list[bytes]] = {}  # by the flight that they must wait for: one fetch per key at a time
        for key in want.keys:
            parcel = self._waiting.get(key)
            flying = self._flying.get(key) if parcel is None else None
            if flying is not None and flying.sent_at > want.since:
                parcel = flying
            if parcel is None:
                new.setdefault(flying, []).append(key)
            else:
                held[key] = parcel
                joined[parcel] = None
        for parcel in joined:
            call.wait_for(parcel)
        self.joined += len(held)
        for blocker, keys in new.items():
            made = self._parcels(call, Wanted(keys, want.since, want.keep), refused, blocker)
            if isinstance(made, Unread):
                held.update(dict.fromkeys(keys, made))
            else:
                for fresh in made:
                    held.update(dict.fromkeys(fresh.keys, fresh))
        return [held[key] for key in want.keys]

    def _parcels(
        self, call: Call, want: Wanted, refused: Unread | None, blocker: Parcel | None = None
    ) -> list[Parcel] | Unread:
        """Return new parcels of what is wanted, which wait to be sent; or why they are not taken in."""
        keys = want.keys
        size = sum(map(len, keys))
        refused = refused or self._full(len(keys), size)
        if refused is not None:
            if refused is Unread.SATURATED:
                self.shed += len(keys)
            return refused
        most = self._settings.keys_per_fetch
        pieces = [keys] if len(keys) <= most else [keys[i : i + most] for i in range(0, len(keys), most)]
        made = []
        for piece in pieces:
            parcel = Parcel(piece, call.began_at, sum(map(len, piece)), keep=want.keep)
            call.wait_for(parcel)
            self._bytes += parcel.size
            self._waiting.update(dict.fromkeys(piece, parcel))
            (self._queue if blocker is None else blocker.then).append(parcel)
            made.append(parcel)
        return made

    def _full(self, keys: int, size: int) -> Unread | None:
        """Say SATURATED where ``keys`` more would be too much."""
        limits = self._settings
        held = len(self._waiting) + len(self._flying)
        full = (
            len(self._fetches) >= limits.crowd
            or held >= FULL * limits.waiting_keys
            or held + keys > limits.waiting_keys
            or self._bytes >= FULL * limits.waiting_bytes
            or self._bytes + size > limits.waiting_bytes
            or self._calls >= FULL * limits.waiting_calls
        )
        return Unread.SATURATED if full else None

    def _pump(self, now: float) -> None:
        """Send what may be sent: all while a slot is free; else only what has gathered for long enough."""
        limits = self._settings
        while len(self._fetches) < limits.fetches and (first := self._next(now)) is not None:
            due = first.missed_at + limits.gather_s
            if len(self._fetches) >= limits.slots and now < due:
                if self._timer is None:
                    self._timer = self._loop.call_at(due, self._gathered)
                return
            self._send(self._take(now), now)

    def _turn_over(self) -> None:
        self._turn = None
        now = self._clock()
        if self._more and self._queue and now < self._queue[0].missed_at + self._settings.gather_s:
            self._more = False
            self._turn = self._loop.call_soon(self._turn_over)
        else:
            self._pump(now)

    def _gathered(self) -> None:
        self._timer = None
        self._pump(self._clock())

    def _next(self, now: float) -> Parcel | None:
        """Return the parcel whose turn it is. Those whose time is over, or that nobody waits for, are not sent."""
        queue = self._queue
        while queue:
            first = queue[0]
            if not self._closed and now < first.missed_at + self._settings.latest_s and first.wanted:
                return first
            self._land([queue.popleft()], None)
        return None

    def _take(self, now: float) -> list[Parcel]:
        """Take as many parcels as fit one fetch, in the order they came."""
        taken: list[Parcel] = []
        room = self._settings.keys_per_fetch
        while (first := self._next(now)) is not None and len(first.keys) <= room:
            room -= len(first.keys)
            taken.append(self._queue.popleft())
        return taken

    def _send(self, parcels: list[Parcel], now: float) -> None:
        for parcel in parcels:
            parcel.sent_at = now
            for key in parcel.keys:
                del self._waiting[key]
            self._flying.update(dict.fromkeys(parcel.keys, parcel))
        calls = dict.fromkeys(call for parcel in parcels for call in parcel.calls)
        # Commands are sent for the first sampled call that waits; all that wait have links to them.
        hop = next((call.hop for call in calls if call.hop is not None and not call.future.done()), None)
        commands: list[Place] = []
        for parcel in parcels:
            parcel.commands = commands
        self._widths.record(sum(len(parcel.keys) for parcel in parcels))
        until = parcels[0].missed_at + self._settings.timeout_s
        task = self._loop.create_task(self._run(parcels, until, hop, commands))
        self._fetches.add(task)
        task.add_done_callback(partial(self._ended, parcels))

    async def _run(self, parcels: list[Parcel], until: float, hop: Hop | None, commands: list[Place]) -> None:
        CURRENT.set(hop)  # what began this task is somebody's call, but not the one it is for
        COMMANDS.set(commands)
        keys = parcels[0].keys if len(parcels) == 1 else [k for p in parcels for k in p.keys]
        rows: Sequence[Row] = [UNREAD] * len(keys)
        try:
            rows = await self._reader.read(keys, until)
        except StoreRefusedError:
            rows = [Unread.REFUSED] * len(keys)
        except StoreUnavailableError:
            pass  # counted where it was noticed; its callers see rows that are Unread
        finally:
            self._land(parcels, rows)

    def _ended(self, parcels: list[Parcel], task: asyncio.Task[None]) -> None:
        CURRENT.set(None)
        self._fetches.discard(task)
        if parcels[0].rows is None:  # ended by close() before it began
            self._land(parcels, [UNREAD] * sum(len(p.keys) for p in parcels))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a fetch failed for a reason nobody thought of", exc_info=error)
        self._pump(self._clock())

    def _land(self, parcels: Sequence[Parcel], rows: Sequence[Row] | None) -> None:
        """Give parcels their rows, tell those who wait, and let go what was blocked; None: they were never sent."""
        if rows is not None:
            self._crowds.record(len({call for parcel in parcels for call in parcel.calls}))
        at = 0
        for parcel in parcels:
            end = at + len(parcel.keys)
            if rows is None:
                parcel.rows = [UNREAD] * len(parcel.keys)
                self._leave(self._waiting, parcel)
            else:
                parcel.rows = list(rows[at:end])
                self._leave(self._flying, parcel)
                self.fetched += len(parcel.keys)
                if parcel.keep:
                    self._sink(parcel.keys, parcel.rows, parcel.sent_at)
            at = end
            self._bytes -= parcel.size
            for call in parcel.calls:
                call.left -= 1
                if not call.left:
                    call.expire()
            self._queue.extend(parcel.then)

    def _leave(self, held: dict[bytes, Parcel], parcel: Parcel) -> None:
        for key in parcel.keys:
            del held[key]
