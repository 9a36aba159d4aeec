"""Composes a slate from ranked candidates: full, nothing twice, nothing masked, and the rules as far as they go.

Items are chosen in four rounds, and stand in that order around the pins: candidates under the cap, popular items under
the cap, candidates over it, popular items over it. So the cap gives way last, and only to a slate that would be short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.errors import RecsvcError
from recsvc.recommend.caps import Room
from recsvc.recommend.diversity import InOrder, preference
from recsvc.recommend.filling import Filler
from recsvc.recommend.places import firsts
from recsvc.recommend.quotas import Reserve
from recsvc.recommend.slate_rules import CategoryCap, Ranked, Rule, Rules, Slate, Standing

NO_RULES: Final = Rules()


def compose(
    ranked: Ranked, mask: NDArray[np.bool_], limit: int, *, filler: NDArray[np.int64], rules: Rules = NO_RULES
) -> Slate:
    """Compose a slate of `limit` items, of fewer only where `mask` (bool[n], by place) lets fewer through.

    `filler`: places int64 by popularity, for where candidates do not suffice. Raises RecsvcError where arrays of
    `rules`, `ranked` and `mask` do not fit together, or a pin has a position below 1.
    """
    _check(ranked, rules, len(mask))
    size = min(limit, int(np.count_nonzero(mask)))
    pins = standing_pins(rules.pins, mask, size)
    draft = _Draft(ranked, mask, rules, pins.values())
    draft.choose(size - len(pins), filler)
    pinned = np.zeros(size, dtype=np.bool_)
    pinned[list(pins)] = True
    places, rows = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    places[list(pins)] = draft.pins
    rows[list(pins)] = draft.pinned_rows
    places[~pinned], rows[~pinned] = draft.places, draft.rows
    standings = np.where(pinned, Standing.PINNED, np.where(rows >= 0, Standing.RANKED, Standing.FILLED))
    scores = np.full(size, np.nan)
    scores[rows >= 0] = ranked.scores[rows[rows >= 0]]
    relaxed = set(_relaxed(places, rows, limit, rules)) | ({Rule.DIVERSITY} if draft.overruled else set())
    return Slate(places, scores, rows, standings.astype(np.int8), frozenset(relaxed))


def compose_among(  # noqa: PLR0913  # as compose, and who may be in it
    known: NDArray[np.int64],
    ranked: Ranked,
    mask: NDArray[np.bool_],
    limit: int,
    *,
    filler: NDArray[np.int64],
    rules: Rules = NO_RULES,
) -> Slate:
    """Compose what ``compose`` does where only ``known`` places (all of ``ranked`` and ``filler`` are) may be shown.

    It costs by the number of those, not by that of all items. No item is ranked twice.
    """
    if not rules.pins and len(known) == len(ranked.places):  # nothing but what is ranked, in that order
        own = replace(rules, cap=None if rules.cap is None else _among(rules.cap, ranked.places))
        numbered = Ranked(np.arange(len(known)), ranked.scores)
        slate = compose(numbered, mask[ranked.places], limit, filler=filler[:0], rules=own)
        return replace(slate, places=ranked.places[slate.places])
    places = np.unique(known)
    own = replace(
        rules,
        pins={_number(places, place, -1 - index): at for index, (place, at) in enumerate(rules.pins.items())},
        cap=None if rules.cap is None else _among(rules.cap, places),
    )
    own_ranked = Ranked(np.searchsorted(places, ranked.places), ranked.scores)
    own_filler = np.searchsorted(places, filler)
    slate = compose(own_ranked, mask[places], limit, filler=own_filler, rules=own)
    return replace(slate, places=places[slate.places])


def _number(places: NDArray[np.int64], place: int, otherwise: int) -> int:
    number = int(np.searchsorted(places, place))
    return number if number < len(places) and places[number] == place else otherwise


def _among(cap: CategoryCap, places: NDArray[np.int64]) -> CategoryCap:
    codes = cap.codes[places]
    return CategoryCap(codes, int(codes.max(initial=-1)) + 1, cap.most)


def _check(ranked: Ranked, rules: Rules, items: int) -> None:
    count = len(ranked.places)
    lengths = [("scores", len(ranked.scores), count)]
    lengths += [(f"flags of the items of {quota.source!r}", len(quota.given), count) for quota in rules.quotas]
    lengths += [("vectors", len(rules.variety.vectors), count)] if rules.variety else []
    lengths += [("category codes", len(rules.cap.codes), items)] if rules.cap else []
    for name, length, right in lengths:
        if length != right:
            raise RecsvcError(f"slate: {length} {name}, there must be {right}, one for each")
    for place, position in rules.pins.items():
        if position < 1:
            raise RecsvcError(f"slate: place {place} is pinned to position {position}, the first is 1")


def standing_pins(pins: Mapping[int, int], mask: NDArray[np.bool_], size: int) -> dict[int, int]:
    """Say which place is pinned to which position, from 0: the first of `pins` at each that can stand there."""
    standing: dict[int, int] = {}
    for place, position in pins.items():
        if 1 <= position <= size and 0 <= place < len(mask) and mask[place]:
            standing.setdefault(position - 1, place)
    return standing


class _Draft:
    """The items of a slate beside its pins, as far as chosen: ``places`` and their ``rows``, -1 for fillers."""

    def __init__(self, ranked: Ranked, mask: NDArray[np.bool_], rules: Rules, pins: Iterable[int]) -> None:
        self.pins = np.fromiter(pins, dtype=np.int64)
        self.places = self.rows = np.empty(0, dtype=np.int64)
        self.overruled = False
        self._mask, self._cap = mask, rules.cap
        self._diverse = rules.variety is not None and rules.variety.weight > 0
        usable = np.flatnonzero(firsts(ranked.places, len(mask)))
        # From here on the candidates are those that may be shown, under numbers of their own.
        self._numbers = usable[mask[ranked.places[usable]]]
        self._candidates = ranked.places[self._numbers]
        self._open = ~np.isin(self._candidates, self.pins)
        self._reserve = Reserve([(quota.least, quota.given[self._numbers]) for quota in rules.quotas])
        self._prefer = preference(ranked.scores[self._numbers], rules.variety, self._numbers)
        self.pinned_rows = np.array([self._row(pin) for pin in self.pins.tolist()], dtype=np.int64)

    def __repr__(self) -> str:
        open_ = int(np.count_nonzero(self._open))
        return f"_Draft(pins={self.pins.tolist()}, places={self.places.tolist()}, {open_} candidates open)"

    def choose(self, count: int, popular: NDArray[np.int64]) -> None:
        """Choose `count` items in the order in which they are to stand."""
        filler: Filler | None = None
        for cap in [None] if self._cap is None else [self._cap, None]:
            room = Room(cap)
            room.take(self.pins)
            picked = self._pick(count - len(self.places), room)
            self._add(self._candidates[picked], self._numbers[picked])
            if len(self.places) == count:
                return
            filler = filler or Filler(popular, self._mask)
            filler.exclude(np.concatenate([self.pins, self.places]))
            filled = filler.take(count - len(self.places), room)
            self._add(filled, np.full(len(filled), -1, dtype=np.int64))
            self.overruled |= self._diverse and len(filled) > 0

    def _add(self, places: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        self.places = np.concatenate([self.places, places])
        self.rows = np.concatenate([self.rows, rows])

    def _pick(self, slots: int, room: Room) -> list[int]:
        """Pick up to `slots` candidates that have room."""
        picked: list[int] = []
        categories = room.categories(self._candidates)
        self._reserve.hold(self._open, categories, room.left, slots)
        if room.is_endless and not self._reserve.held and isinstance(self._prefer, InOrder):
            picked = np.flatnonzero(self._open)[:slots].tolist()
            self._open[picked] = False
            for row in picked:
                self._take(row)
            return picked
        while len(picked) < slots:
            may = self._open & (room.left[categories] > 0)
            if not may.any():
                break
            row = self._next(may, slots - len(picked), room)
            picked.append(row)
            room.left[categories[row]] -= 1
            self._open[row] = False
            self._take(row)
        return picked

    def _next(self, may: NDArray[np.bool_], slots: int, room: Room) -> int:
        best = self._prefer.best(may)
        row = self._prefer.best(self._reserve.narrow(may, slots, room.left)) if self._reserve.held else best
        self.overruled |= self._prefer.overruled(row, best)
        return row

    def _take(self, row: int) -> None:
        self._reserve.took(row)
        self._prefer.choose(row)

    def _row(self, pin: int) -> int:
        """Count a pin that is a candidate too, and find its row in the ranked ones; -1: it is none."""
        found = np.flatnonzero(self._candidates == pin).tolist()
        for number in found:
            self._take(number)
        return int(self._numbers[found[0]]) if found else -1


def _relaxed(places: NDArray[np.int64], rows: NDArray[np.int64], limit: int, rules: Rules) -> Iterable[Rule]:
    """Name the rules, diversity aside, that a slate does not keep: judged by the slate itself, not by how it came."""
    for place, position in rules.pins.items():
        if position <= limit and (position > len(places) or places[position - 1] != place):
            yield Rule.PINS
    if rules.cap is not None:
        room = Room(rules.cap)
        room.take(places)
        if (room.left < 0).any():
            yield Rule.CAPS
    ranked = rows[rows >= 0]
    if any(int(np.count_nonzero(quota.given[ranked])) < quota.least for quota in rules.quotas):
        yield Rule.QUOTAS
