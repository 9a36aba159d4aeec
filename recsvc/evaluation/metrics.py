"""What a slate is worth: recall, nDCG, reciprocal rank; of all slates: coverage, and how unlike their items are.

Slates are item numbers int64[q, k], best first, with NONE behind the last item of a short one. What is relevant is
bool[q, i]. Every query must have a relevant item: what to do with others is the protocol's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Slates = NDArray[np.int64]
Relevant = NDArray[np.bool_]
Floats = NDArray[np.float64]

NONE: Final = -1


@dataclass(frozen=True, slots=True)
class Scores:
    """What slates of k items are worth. ``recall``, ``ndcg`` and ``reciprocal_rank`` are per query, float64[q].

    ``coverage``: share of the items that could be recommended which are in a slate. ``diversity``: mean over slates of
    the intra-list diversity.
    """

    recall: Floats
    ndcg: Floats
    reciprocal_rank: Floats
    coverage: float
    diversity: float


def score(slates: Slates, relevant: Relevant, vectors: NDArray[np.floating], rankable: int) -> Scores:
    """Judge slates by all metrics; ``vectors``[i, d] are what items are compared by, ``rankable`` how many there are.

    Without a query, the means are NaN.
    """
    hits = found(slates, relevant)
    unlike = intra_list_diversity(slates, vectors)
    return Scores(
        recall=recall(hits, relevant.sum(axis=1)),
        ndcg=ndcg(hits, relevant.sum(axis=1)),
        reciprocal_rank=reciprocal_rank(hits),
        coverage=coverage(slates, rankable),
        diversity=float(np.nanmean(unlike)) if np.isfinite(unlike).any() else float("nan"),
    )


def found(slates: Slates, relevant: Relevant) -> Relevant:
    """Say which items of the slates are relevant: bool[q, k]."""
    there = slates != NONE
    hits: Relevant = np.take_along_axis(relevant, np.where(there, slates, 0), axis=1) & there
    return hits


def recall(hits: Relevant, relevant: NDArray[np.int64]) -> Floats:
    """Return the share of the relevant items that are in each slate; also where k is too small for all of them.

    Formula: C. D. Manning, P. Raghavan, H. Schütze: Introduction to Information Retrieval, 2008, section 8.3.
    """
    shares: Floats = hits.sum(axis=1) / relevant
    return shares


def ndcg(hits: Relevant, relevant: NDArray[np.int64]) -> Floats:
    """Return the nDCG of each slate for binary relevance: DCG over that of the best slate there can be.

    DCG = sum over ranks r of hit(r) / log2(1 + r); the best slate has min(k, number of relevant items) hits, all in
    front. Formula: K. Järvelin, J. Kekäläinen: Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS 20(4), 2002,
    with the discount log2(1 + r) that is usual since.
    """
    discounts = 1.0 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(relevant, hits.shape[1])]
    gains: Floats = (hits @ discounts) / ideal
    return gains


def reciprocal_rank(hits: Relevant) -> Floats:
    """Return 1 / rank of the first relevant item, 0 without one in the slate; its mean is the MRR (at k).

    Formula: E. M. Voorhees: The TREC-8 Question Answering Track Report, 1999.
    """
    ranks = np.argmax(hits, axis=1) + 1
    values: Floats = np.where(hits.any(axis=1), 1.0 / ranks, 0.0)
    return values


def coverage(slates: Slates, rankable: int) -> float:
    """Return the share of the items that could be recommended which are in one slate or more.

    Definition: J. L. Herlocker et al.: Evaluating Collaborative Filtering Recommender Systems, ACM TOIS 22(1), 2004,
    section 4.1.2.
    """
    return len(np.unique(slates[slates != NONE])) / rankable if rankable else float("nan")


def intra_list_diversity(slates: Slates, vectors: NDArray[np.floating]) -> Floats:
    """Return for each slate the mean of 1 - cosine over all pairs of its items, by ``vectors``[i, d]; float64[q].

    Items whose vector is zero are left out; NaN for a slate of fewer than two others. Formula: B. Smyth, P. McClave:
    Similarity vs. Diversity, ICCBR 2001.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    there = (slates != NONE) & (lengths[slates, 0] > 0)
    chosen = units[slates] * there[:, :, None]
    count = there.sum(axis=1)
    # The length of the sum of units, squared, is the sum over all ordered pairs and over each with itself.
    cosines = (chosen.sum(axis=1) ** 2).sum(axis=1) - count
    pairs = count * (count - 1)
    alike = np.divide(cosines, pairs, out=np.full(len(slates), np.nan), where=pairs > 0)
    values: Floats = 1.0 - alike
    return values
