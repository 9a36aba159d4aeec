"""Judges slates: nothing that the server could know to be wrong may be in one, and none may be short without need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from recsvc.pb import serving_pb2 as pb
from tests.fault.slates_changes import Changes
from tests.fault.slates_definitions import CHEAP, PINS
from tests.fault.slates_world import Bools, World, item_number

FRESH_S: Final = 5.0
"""What was written longer ago the server must know, where it does not say that it does not."""
WRONG: Final = (
    "not available",
    "excluded",
    "seen",
    "repeated",
    "against a filter",
    "unknown",
    "rank",
    "pin",
    "empty",
    "short",
)
"""What may be wrong with a slate; all but the last four are counted by item."""
MINDFUL: Final = frozenset({"home", "varied", "pinned"})
"""Placements that mind what a user has seen."""
PINNED: Final = frozenset({"home", "pinned"})
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Ask:
    """What was asked. ``user`` and items are numbers, no user is None; ``passing``: what passes all of the filters."""

    placement: str
    user: int | None
    limit: int
    filters: Sequence[pb.Filter]
    passing: Bools
    exclude: Sequence[int]
    seeds: Sequence[int]
    explain: bool = False


@dataclass(slots=True)
class Counts:
    """What came of calls. ``unknowable``: seen items of which the slate said that it could not know."""

    calls: int = 0
    items: int = 0
    later_pages: int = 0
    flagged: int = 0
    unknowable: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    ranked_by: Counter[str] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)
    took: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def blame(self, what: str, text: str, count: int = 1) -> None:
        """Count what is wrong, and keep the first."""
        self.wrong[what] += count
        if len(self.examples) < _SHOWN:
            self.examples.append(f"{what}: {text}")

    def add(self, other: Counts) -> None:
        """Add what came of other calls."""
        for name in ("calls", "items", "later_pages", "flagged", "unknowable"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("wrong", "errors", "flags", "ranked_by"):
            getattr(self, name).update(getattr(other, name))
        self.versions |= other.versions
        self.took += other.took
        self.examples = (self.examples + other.examples)[:_SHOWN]


class Answer(NamedTuple):
    """A slate, when it was asked for, and the items of the pages before."""

    ask: Ask
    reply: pb.RecommendResponse
    sent: float
    before: Sequence[int] = ()

    def __str__(self) -> str:
        return f"{self.ask.placement}, user {self.ask.user}, limit {self.ask.limit}, from {len(self.before) + 1}"


class Judge:
    """Knows the shop and its changes. ``copies_s``: for how long a server may use copies of rows of users."""

    def __init__(self, world: World, changes: Changes, *, copies_s: float) -> None:
        self._world = world
        self._changes = changes
        self._copies_s = copies_s
        self._cheap = (world.price <= CHEAP) & world.has("price")

    def __repr__(self) -> str:
        return f"Judge({self._world!r}, {self._changes!r})"

    def judge(self, answer: Answer, into: Counts) -> list[int]:
        """Count what a slate has and what is wrong with it; return its items."""
        ask, reply, sent, before = answer
        views, window_s = self._flags(reply, into)
        into.items += len(reply.items)
        into.later_pages += bool(before)
        into.ranked_by[pb.RankedBy.Name(reply.ranked_by)] += 1
        into.versions.update(reply.index_versions.values())
        came = self._numbers(reply, into)
        _order(answer, into)
        items = np.array(came, np.int64)
        gone = self._changes.gone_at[items]
        wrong = {
            "not available": gone < sent - window_s,
            "excluded": np.isin(items, [*ask.exclude, *ask.seeds]),
            "against a filter": ~self._passes(ask)[items],
            "repeated": np.isin(items, before) | (np.bincount(items, minlength=1)[items] > 1),
        }
        for what, those in wrong.items():
            if those.any():
                lag = f", gone for {(sent - gone[those]).max():.1f} s" if what == "not available" else ""
                into.blame(what, f"{items[those][:5].tolist()} for {answer}{lag}", int(those.sum()))
        self._seen(answer, came, views, into)
        self._fullness(answer, came, sent - window_s, into)
        return came

    def _flags(self, reply: pb.RecommendResponse, into: Counts) -> tuple[set[str], float]:
        """Return the views that could not be read, and how long ago the items were as the server knows them."""
        into.flagged += bool(reply.degraded)
        views, window_s = set(), FRESH_S
        for flaw in reply.degraded:
            reason = pb.DegradationReason.Name(flaw.reason).removeprefix("DEGRADATION_REASON_")
            into.flags[f"{reason} {flaw.source or flaw.view}".strip()] += 1
            views.add(flaw.view.partition("@")[0])
            if flaw.reason == pb.DEGRADATION_REASON_METADATA_STALE:
                window_s = max(window_s, flaw.age_micros / 1e6 + 0.001)
        return views, window_s

    def _numbers(self, reply: pb.RecommendResponse, into: Counts) -> list[int]:
        names = [item.item_id for item in reply.items]
        right = [n for n in names if n[:1] == "i" and n[1:].isdecimal() and int(n[1:]) < self._world.items]
        if len(right) < len(names):
            into.blame("unknown", str(sorted({*names} - {*right})[:5]), len(names) - len(right))
        return [item_number(name) for name in right]

    def _seen(self, answer: Answer, came: Sequence[int], views: set[str], into: Counts) -> None:
        owned, pairs = self._known_as_seen(answer.ask, answer.sent - self._copies_s)
        for those, view in ((owned, "taste"), (pairs, "met")):
            found = {*came} & those
            if found and view in views:
                into.unknowable += len(found)
            elif found:
                into.blame("seen", f"{sorted(found)[:5]} by {view}, for {answer}", len(found))

    def _known_as_seen(self, ask: Ask, since: float) -> tuple[set[int], set[int]]:
        """Return what a user has, and has seen since before a time; nothing where the placement does not mind."""
        if ask.user is None or ask.placement not in MINDFUL:
            return set(), set()
        lately = {i for i, at in self._changes.seen_at.get(ask.user, {}).items() if at < since}
        if ask.user >= len(self._world.users):
            return set(), lately
        user = self._world.users[ask.user]
        return {*user.owned}, {*user.pairs, *lately}

    def _passes(self, ask: Ask) -> Bools:
        passing: Bools = ask.passing & self._cheap if ask.placement == "cheap" else ask.passing
        return passing

    def _fullness(self, answer: Answer, came: Sequence[int], since: float, into: Counts) -> None:
        """A slate is short, and the last page, only where nothing is left that has been there for sure."""
        ask, reply, _, before = answer
        if len(reply.items) >= ask.limit:
            return
        left = self._passes(ask) & (self._changes.back_at < since)
        owned, pairs = self._known_as_seen(ask, np.inf)
        left[[*came, *before, *ask.exclude, *ask.seeds, *owned, *pairs]] = False
        if left.any():
            into.blame("short" if reply.items else "empty", f"{int(left.sum())} more pass, for {answer}")


def _order(answer: Answer, into: Counts) -> None:
    """Judge whether ranks go on from the page before, and pins stand where they should, on the first page alone."""
    begun, items = len(answer.before), answer.reply.items
    ranks = [item.rank for item in items]
    if ranks != list(range(begun + 1, begun + len(items) + 1)):
        into.blame("rank", f"{ranks[:5]} for {answer}")
    pinned = {i.item_id: i.rank for i in items if pb.REASON_CODE_PINNED in {r.code for r in i.reasons}}
    may = PINS if answer.ask.placement in PINNED and not begun else {}
    if not pinned.items() <= may.items():
        into.blame("pin", f"{pinned} for {answer}")
