"""How many candidates are worth their time: fewer while slates are late, all again when they are not.

A step down is PERCENTILE / (1 - PERCENTILE) steps up, so the factor stands still where just that share of the slates is
in time: a stochastic approximation of a quantile (H. Robbins, S. Monro: A Stochastic Approximation Method, 1951).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PERCENTILE: Final = 0.95
"""Which share of slates is to be made within the target."""
STEP_UP: Final = 0.001
LEAST: Final = 0.1
"""Of the candidates, what is ranked however late slates are."""
BEGINS: Final = 0.9
"""From here on all candidates are looked for and ranked: some late slates, such as the first ones, mean nothing."""


class QualityFactor:
    """The part of the candidates that is ranked, from LEAST to 1. ``target_s``: how long a slate may take."""

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self.value = 1.0

    def __repr__(self) -> str:
        return f"QualityFactor({self.value:.3f}, target {self._target_s * 1e3:g} ms)"

    def took(self, seconds: float) -> None:
        """Take note how long a slate took."""
        step = STEP_UP if seconds <= self._target_s else -STEP_UP * PERCENTILE / (1 - PERCENTILE)
        self.value = min(1.0, max(LEAST, self.value + step))

    def gave_up(self, seconds: float) -> None:
        """Take note that nobody got a slate after so long: one that is late already counts, of others nobody knows."""
        if seconds > self._target_s:
            self.took(seconds)

    def narrowing(self, least: int) -> Narrowing:
        """Return what the factor is to a slate of ``least`` items that begins now."""
        return Narrowing(self.value if self.value < BEGINS else 1.0, least)


@dataclass(frozen=True, slots=True)
class Narrowing:
    """The part of the candidates that one slate looks for and ranks, and at least so many of them."""

    factor: float
    least: int

    def of(self, candidates: int) -> int:
        """Return how many of the candidates there are to be: at least ``least``, as many as the slate has."""
        return max(min(self.least, candidates), round(candidates * self.factor))

    @property
    def is_less(self) -> bool:
        """Whether there are to be fewer than all, which a slate says."""
        return self.factor < 1.0
