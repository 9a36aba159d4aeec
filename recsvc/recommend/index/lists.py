"""The lists of an index: which of them to probe for a query, so that enough of the allowed vectors are looked at.

Lists are probed, the most promising first, until they hold a share of all *survivors*, not of all vectors: where a
filter passes only what lies far from the query, a fixed number of lists would hold next to nothing of it. And until
they hold that share of all vectors: where it passes only what lies near, the best are spread as without it. Survivors
per list are counted on a fixed sample of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.planner import Step

_AS_EXPECTED: Final = 0.75
"""A filter that has nothing to do with the vectors leaves near lists their share of survivors, give or take what a
sample tells. With less, what passes lies far from the query, where distances differ less and more must be looked at."""


@dataclass(frozen=True, slots=True)
class Lists:
    """``centroids`` float32[l, d], the ``sizes`` int64[l] of the lists, and a ``sample`` int64[s] of places.

    ``sample_lists`` int64[s] tells in which list each of the sample is, ``bonus`` float32[l] what is added to the
    product of point and centroid to order lists (see ``faiss_lists.list_bonus``).
    """

    centroids: NDArray[np.float32]
    sizes: NDArray[np.int64]
    sample: NDArray[np.int64]
    sample_lists: NDArray[np.int64]
    bonus: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"Lists({len(self.sizes)}, sizes {self.sizes.min()} to {self.sizes.max()}, sample {len(self.sample)})"

    def nearest(self, point: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return all lists int64[l], the most promising first: by product of centroid and point, plus the bonus."""
        return np.argsort(-(self.bonus + self.centroids @ point))

    def reach(self, order: NDArray[np.int64], allowed: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """Return which share of the survivors the lists hold up to each in ``order``: float64[l], from above 0 to 1."""
        if allowed is None:
            counts = self.sizes
        else:
            inside = self.sample_lists[allowed[self.sample]]
            counts = np.bincount(inside, minlength=len(self.sizes))
        held = np.cumsum(counts[order], dtype=np.float64)
        # Where the sample has no survivor nothing is known: only all lists are enough.
        return held / held[-1] if held[-1] else np.where(np.arange(len(order)) < len(order) - 1, 0.0, 1.0)

    def to_probe(self, point: NDArray[np.float32], allowed: NDArray[np.bool_] | None, step: Step) -> NDArray[np.int64]:
        """Return the nearest lists that together hold enough of all vectors, and of the survivors."""
        order = self.nearest(point)
        all_held = self.reach(order, None)
        enough = _first(all_held, step.share)
        if allowed is None:
            return order[: enough + 1]
        held = self.reach(order, allowed)
        lies_far = held[enough] < _AS_EXPECTED * step.share
        return order[: max(enough, _first(held, max(step.share, step.far) if lies_far else step.share)) + 1]


def _first(held: NDArray[np.float64], share: float) -> int:
    return len(held) - 1 if share >= 1.0 else int(np.searchsorted(held, share))
