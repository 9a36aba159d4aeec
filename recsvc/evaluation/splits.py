"""Parts a data set into what may be learnt and what is asked for: at random per rating, or at one moment for all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsvc.errors import ConfigError

Mask = NDArray[np.bool_]


class Split(NamedTuple):
    """Which ratings are in which part: bool[n] each. A rating may be in neither, never in both."""

    train: Mask
    test: Mask


def random_split(among: Mask, share: float, rng: np.random.Generator) -> Split:
    """Put ``share`` of the ratings that ``among`` marks into the test part, each as likely as any other."""
    places = np.flatnonzero(among)
    test = np.zeros_like(among)
    test[rng.permutation(places)[: round(share * len(places))]] = True
    return _checked(among & ~test, test, "a random split")


def temporal_split(among: Mask, times: NDArray[np.float64], quantile: float) -> Split:
    """Put what was rated from one moment on into the test part: that of the ``quantile`` of times of ``among``.

    One moment for all users: nothing is learnt from anybody's future. Of equal times all are in one part.
    """
    cut = np.quantile(times[among], quantile) if among.any() else 0.0
    return _checked(among & (times < cut), among & (times >= cut), f"a cut at the {quantile:.0%} quantile of time")


def time_windows(among: Mask, times: NDArray[np.float64], quantiles: Sequence[float]) -> list[Split]:
    """Cut at several moments: what is before each is one training part, what comes until the next its test part.

    The last window goes to the end of what ``among`` marks.
    """
    cuts = [*np.quantile(times[among], quantiles), np.inf]
    return [
        _checked(
            among & (times < cut),
            among & (times >= cut) & (times < until),
            f"a window from the {quantile:.0%} quantile of time",
        )
        for quantile, (cut, until) in zip(quantiles, pairwise(cuts), strict=True)
    ]


def _checked(train: Mask, test: Mask, name: str) -> Split:
    if not train.any() or not test.any():
        raise ConfigError(
            f"data: {name} leaves {np.count_nonzero(train)} ratings to learn from and {np.count_nonzero(test)} to"
            " ask for; both parts need some: take more ratings, of more than one moment"
        )
    return Split(train, test)
