"""Masks of filters that were asked for before, kept as long as a snapshot of a catalogue is served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final

from recsvc.recommend.dictionary import Mask
from recsvc.registry.conditions import Condition

KEPT: Final = 8
"""Masks; each has a byte for every item."""
SEEN: Final = 256
"""Filters that are remembered as asked for once: their masks are kept when they come again."""
LONGEST: Final = 4_096
"""Characters of filters that may be remembered."""
Make = Callable[[Sequence[Condition]], Mask]


class Masks:
    """The masks of one snapshot, for any thread.

    The filters of placements are kept at once, together with those of a request when these come again.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Mask] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()  # not held while a mask is made: two threads may make the same one

    def __repr__(self) -> str:
        return f"Masks({len(self._kept)} kept)"

    def has(self, own: Sequence[Condition], asked: Sequence[Condition]) -> bool:
        """Say whether the mask of all these is kept, so that ``get`` need not make it."""
        return repr((*own, *asked)) in self._kept

    def get(self, own: Sequence[Condition], asked: Sequence[Condition], make: Make) -> Mask:
        """Return which places pass all conditions, ``own`` of a placement and ``asked``; the caller's to change.

        ``make`` returns it anew.
        """
        if not asked:
            return self.of(own, make).copy()
        key = repr((*own, *asked))
        found = self._find(key)
        if found is not None:
            return found.copy()
        passing = make(asked)
        if own:
            passing &= self.of(own, make)
        if len(key) <= LONGEST and self._again(key):
            self._keep(key, passing.copy())
        return passing

    def of(self, own: Sequence[Condition], make: Make) -> Mask:
        """Return which places pass the conditions of a placement: read-only, and kept."""
        key = repr((*own,))
        found = self._find(key)
        return self._keep(key, make(own)) if found is None else found

    def _find(self, key: str) -> Mask | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _keep(self, key: str, passing: Mask) -> Mask:
        passing.flags.writeable = False
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
