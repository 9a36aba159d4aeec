"""Lists of an index whose centroids stand on a line, for tests of what is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.lists import SAMPLED, Lists
from recsvc.recommend.index.metric import Metric

SPREAD = 0.1


def line_of_lists(sizes: Sequence[int], members: NDArray[np.int32] | None = None) -> Lists:
    """Make lists whose centroids stand at 0, 1, 2 … on a line, with places in their order where no others are given."""
    count = len(sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    members = np.arange(starts[-1], dtype=np.int32) if members is None else members
    sample = np.array([np.resize(members[a:b], SAMPLED) for a, b in pairwise(starts)], np.int64)
    stats = np.zeros((2, count), np.float32)
    stats[0] = SPREAD
    centroids = np.arange(count, dtype=np.float32)[:, None]
    return Lists(Metric.INNER_PRODUCT, centroids, starts, members, stats, np.ones((1, 1), np.float32), sample)
