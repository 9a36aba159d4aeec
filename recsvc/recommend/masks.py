"""Masks of filters that were asked for before, kept as long as a snapshot of a catalogue is served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
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
    """The masks of one snapshot, for one thread at a time.

    The filters of placements are kept at once, together with those of a request when these come again.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Mask] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"Masks({len(self._kept)} kept)"

    def get(self, own: Sequence[Condition], asked: Sequence[Condition], make: Make) -> Mask:
        """Return which places pass all conditions, ``own`` of a placement and ``asked``; the caller's to change.

        ``make`` returns it anew.
        """
        if not asked:
            return self._of(own, make).copy()
        key = repr((*own, *asked))
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found.copy()
        passing = make(asked)
        if own:
            passing &= self._of(own, make)
        if len(key) <= LONGEST and self._again(key):
            self._keep(key, passing.copy())
        return passing

    def _of(self, own: Sequence[Condition], make: Make) -> Mask:
        key = repr((*own,))
        found = self._kept.get(key)
        if found is None:
            return self._keep(key, make(own))
        self._kept.move_to_end(key)
        return found

    def _keep(self, key: str, passing: Mask) -> Mask:
        passing.flags.writeable = False
        self._kept[key] = passing
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return passing

    def _again(self, key: str) -> bool:
        """Remember a key, and say whether it was known."""
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return False
