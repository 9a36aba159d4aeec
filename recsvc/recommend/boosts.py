"""Moves candidates up or down by positions: a boost means the same whatever the scores of a ranker are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def boosted(by: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the new order of candidates of which each is to stand ``by`` positions higher (below 0: lower).

    Of two that want the same position the one that moves up more stands first, then the one that was first.
    """
    wanted = np.arange(len(by)) - by
    return np.lexsort((np.arange(len(by)), -by, wanted))
