"""The metrics of an index, and the score of a vector by each: this is the definition, all back ends answer to it.

A score is computed in double precision and rounded to single; higher is better. So equal vectors have equal scores.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

LONGEST: Final = 1e15
"""Longest vector and query: the square of a distance between two of them still is a float32."""
_ROUNDING: Final = 2.0**-24
"""Relative error of one operation in single precision."""
_SMALLEST: Final = 2.0**-126
"""Below this a result may have become 0."""


class Metric(StrEnum):
    """How near a vector is to a query. COSINE of a vector of length zero is 0; L2 is minus the squared distance."""

    INNER_PRODUCT = "INNER_PRODUCT"
    COSINE = "COSINE"
    L2 = "L2"


def lengths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the length of each vector."""
    found: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return found


def directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit vectors of the same directions; vectors of length 0 stay as they are."""
    known = lengths(vectors)
    return np.ascontiguousarray(vectors / np.where(known > 0.0, known, 1.0)[:, None], dtype=np.float32)


def scores(metric: Metric, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the float32[m] scores of float32[m, d] vectors, which are unit vectors where the metric is COSINE."""
    exact, point = vectors.astype(np.float64), query.astype(np.float64)
    if metric is Metric.L2:
        exact -= point
        return _single(-np.einsum("ij,ij->i", exact, exact))
    # einsum goes row by row: unlike BLAS, it gives equal rows equal results wherever they stand.
    products = np.einsum("ij,j->i", exact, point)
    if metric is Metric.COSINE:
        length = float(np.sqrt(point @ point))
        products = np.clip(products / (length or 1.0), -1.0, 1.0)
    return _single(products)


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)


def rough_scores(metric: Metric, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores in single precision, at most `rough_error` off; for COSINE the query must be a unit vector."""
    if metric is Metric.L2:
        away = vectors - query
        rough: NDArray[np.float32] = -np.einsum("ij,ij->i", away, away)
        return rough
    product: NDArray[np.float32] = vectors @ query
    return product


def rough_error(metric: Metric, query_length: float, longest: float, dimension: int) -> float:
    """Bound the error of `rough_scores` for vectors no longer than ``longest``, with what rounding the score adds.

    The bound of a sum of products, n u / (1 - n u) times the sum of their sizes: Higham, "Accuracy and Stability of
    Numerical Algorithms", 2002, section 3.1; eight more operations stand for differences and roundings around it.
    """
    size = (query_length + longest) ** 2 if metric is Metric.L2 else query_length * longest
    steps = (dimension + 8) * _ROUNDING
    return size * steps / (1.0 - steps) + (dimension + 8) * _SMALLEST
