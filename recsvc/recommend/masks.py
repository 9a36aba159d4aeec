"""Keeps what filters pass: those of placements come with every request, those of requests again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final
from weakref import WeakKeyDictionary

from recsvc.recommend.dictionary import Mask
from recsvc.recommend.index.protocol import Basis
from recsvc.registry.conditions import AllOf, AnyOf, Condition, NoneOf

KEPT: Final = 32
"""Masks of one snapshot: as many bytes each as there are items."""
SEEN: Final = 1_024
"""Filters of requests that are remembered: what comes once may come again."""
LONGEST: Final = 1_024
"""Filters with more text than that are not remembered."""
MOST_VALUES: Final = 256
"""Nor are those with more values: to spell out 32,000 of them takes long."""
SPARE: Final = 4
"""Copies of a mask that wait to be used again."""
Make = Callable[[Sequence[Condition]], Mask]


class Masks:
    """The masks of one snapshot, for any thread.

    The filters of placements are kept at once, together with those of a request when these come again.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Basis] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._spare: WeakKeyDictionary[Basis, list[Mask]] = WeakKeyDictionary()
        self._lock = Lock()  # not held while a mask is made: two threads may make the same one

    def __repr__(self) -> str:
        return f"Masks({len(self._kept)} kept)"

    def has(self, own: Sequence[Condition], asked: Sequence[Condition]) -> bool:
        """Say whether the mask of all these is kept, so that ``get`` need not make it."""
        return (not own and not asked) or (not _is_long(asked) and repr((*own, *asked)) in self._kept)

    def get(self, own: Sequence[Condition], asked: Sequence[Condition], make: Make) -> Basis:
        """Return which places pass all conditions, ``own`` of a placement and ``asked``; ``make`` makes a mask anew."""
        if not asked:
            return self.of(own, make)
        key = "" if _is_long(asked) else repr((*own, *asked))
        found = self._find(key)
        if found is not None:
            return found
        passing = make(asked)
        if own:
            passing &= self.of(own, make).mask
        made = Basis.of(passing)
        return self._keep(key, made) if 0 < len(key) <= LONGEST and self._again(key) else made

    def of(self, own: Sequence[Condition], make: Make) -> Basis:
        """Return which places pass the conditions of a placement; it is kept."""
        key = repr((*own,))
        found = self._find(key)
        return self._keep(key, Basis.of(make(own))) if found is None else found

    def copy(self, basis: Basis) -> Mask:
        """Return a copy of a mask, the caller's to change; to be given back as it came."""
        with self._lock:
            spare = self._spare.get(basis)
            return spare.pop() if spare else basis.mask.copy()

    def give_back(self, basis: Basis, mask: Mask) -> None:
        """Take a copy of a mask that is as it was: to write a million bytes for each request takes long."""
        with self._lock:
            spare = self._spare.setdefault(basis, [])
            if len(spare) < SPARE:
                spare.append(mask)

    def _find(self, key: str) -> Basis | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _keep(self, key: str, passing: Basis) -> Basis:
        with self._lock:
            self._kept[key] = passing
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return passing

    def _again(self, key: str) -> bool:
        """Remember a key, and say whether it was known."""
        with self._lock:
            if key in self._seen:
                return True
            self._seen[key] = None
            if len(self._seen) > SEEN:
                self._seen.popitem(last=False)
            return False


def _is_long(asked: Sequence[Condition]) -> bool:
    given = (c.predicate for c in asked)
    return sum(len(p.values) for p in given if isinstance(p, AnyOf | AllOf | NoneOf)) > MOST_VALUES
