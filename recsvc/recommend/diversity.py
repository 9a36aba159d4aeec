"""Which candidate is to come next: the best ranked, or the one of maximal marginal relevance.

J. Carbonell, J. Goldstein: The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries,
SIGIR 1998: next is the item with the highest λ · relevance - (1 - λ) · (similarity to the nearest one chosen before).
Here λ = 1 - weight, similarity is the cosine of embeddings, and relevance the scores brought to 0 … 1, since the
formula adds the two up.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.slate_rules import Variety


class Preference(Protocol):
    """Says which of m ranked candidates comes next, in view of those chosen before."""

    def best(self, among: NDArray[np.bool_]) -> int:
        """Return the row that comes next of those marked, at least one, in bool[m]."""
        ...

    def choose(self, row: int) -> None:
        """Take notice that a row is in the slate."""
        ...

    def overruled(self, row: int, best: int) -> bool:
        """Tell whether the preference lost its say when `row` came next, where `best` was its own choice."""
        ...


def preference(scores: NDArray[np.floating], variety: Variety | None, rows: NDArray[np.int64]) -> Preference:
    """Build the preference among candidates with scores[m], whose vectors are `rows` int64[m] of variety's."""
    if variety is None or variety.weight <= 0:
        return InOrder()
    return MarginalRelevance(scores, variety.vectors[rows], variety.weight)


class InOrder:
    """Prefers candidates as they are ranked."""

    def __repr__(self) -> str:
        return "InOrder()"

    def best(self, among: NDArray[np.bool_]) -> int:
        """Return the first row of those marked."""
        return int(np.argmax(among))

    def choose(self, row: int) -> None:
        """Change nothing: the order stands."""

    def overruled(self, row: int, best: int) -> bool:  # noqa: ARG002 - the protocol's arguments
        """Tell that it did not: an order is no wish for variety."""
        return False


class MarginalRelevance:
    """Prefers candidates that are relevant and unlike those chosen; ties as they are ranked. O(m · d) for each choice.

    A candidate without an embedding is like no other.
    """

    def __init__(self, scores: NDArray[np.floating], vectors: NDArray[np.float32], weight: float) -> None:
        self._relevance = (1.0 - weight) * relevance(scores)
        self._weight = weight
        self._units = units(vectors)
        self._known: NDArray[np.bool_] = np.any(self._units, axis=1)
        self._nearest: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        state = "nothing chosen" if self._nearest is None else "some chosen"
        return f"MarginalRelevance({len(self._units)} candidates, weight={self._weight}, {state})"

    def best(self, among: NDArray[np.bool_]) -> int:
        """Return the row of maximal marginal relevance of those marked."""
        worth = self._relevance if self._nearest is None else self._relevance - self._weight * self._nearest
        return int(np.argmax(np.where(among, worth, -np.inf)))

    def choose(self, row: int) -> None:
        """Compare what comes next with this row too."""
        similarity = self._units @ self._units[row]
        self._nearest = similarity if self._nearest is None else np.maximum(self._nearest, similarity)

    def overruled(self, row: int, best: int) -> bool:
        """Tell whether another row came than the best, or one that has no embedding to compare."""
        return row != best or not bool(self._known[row])


def relevance(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Bring scores, best first, to 0 … 1; where they are not all finite, or spread too far, by rank instead."""
    wide = scores.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        low, span = wide.min(initial=np.inf), np.ptp(wide) if len(wide) else 0.0
    if not np.isfinite(span):
        return np.linspace(1.0, 0.0, len(wide))
    return (wide - low) / span if span > 0 else np.ones(len(wide))


def units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to length 1; rows that have no direction (zeros, NaN, infinite) become zeros."""
    largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
    usable = np.isfinite(largest) & (largest > 0)
    # By the largest part first: the square of a float32 beyond 1e19 is infinite, of one below 1e-23 zero.
    scaled = np.where(usable, vectors, 0) / np.where(usable, largest, 1)
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    result: NDArray[np.float32] = (scaled / np.where(usable, length, 1)).astype(np.float32)
    return result
