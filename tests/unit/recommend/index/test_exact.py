"""The exact index against sorting everything, and what its parts promise each other."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsvc.recommend.index.exact import BLOCK, FEW, ExactIndex
from recsvc.recommend.index.leaders import Leaders
from recsvc.recommend.index.metric import Metric, rough_error, rough_scores, scores
from recsvc.recommend.index.table import vector_table


def sorted_out(metric: Metric, query: NDArray[np.float32], vectors: NDArray[np.float32], k: int) -> list[int]:
    """Score each vector by itself and sort: the plainest search there is."""
    each = [float(scores(metric, query, vectors[place : place + 1])[0]) for place in range(len(vectors))]
    return sorted(range(len(vectors)), key=lambda place: (-each[place], place))[:k]


@given(
    metric=st.sampled_from(Metric),
    count=st.integers(0, 3 * BLOCK // 2),
    k=st.integers(0, 700),
    rate=st.sampled_from([0.0, 0.01, 0.2, 0.31, 0.7, 1.0]),
    values=st.sampled_from([2, 5, 1_000]),
    size=st.sampled_from([1e-22, 1.0, 1e14]),
    seed=st.integers(0, 2**32 - 1),
)
@example(metric=Metric.L2, count=BLOCK + 1, k=3, rate=1.0, values=2, size=1e-22, seed=0)
def test_a_search_is_what_sorting_everything_gives(  # noqa: PLR0913, PLR0917 - hypothesis gives each by itself
    metric: Metric, count: int, k: int, rate: float, values: int, size: float, seed: int
) -> None:
    """Whatever the filter, the number of equal scores and the size of the numbers, to the last place."""
    rng = np.random.default_rng(seed)
    vectors = (rng.integers(-values, values + 1, size=(count, 3)) * size / 2_000).astype(np.float32)
    query = (rng.integers(-values, values + 1, size=3) * size / 2_000).astype(np.float32)
    allowed = rng.random(count) < rate
    table = vector_table([str(n) for n in range(count)], vectors, metric)
    hits = ExactIndex(table, version="v").search(query, k, allowed)
    places = np.flatnonzero(allowed)
    exact = scores(metric, _unit(query) if metric is Metric.COSINE else query, table.vectors[places])
    order = np.lexsort((places, -exact))[:k]
    assert hits.places.tolist() == places[order].tolist()
    assert hits.scores.tolist() == exact[order].tolist()


def _unit(query: NDArray[np.float32]) -> NDArray[np.float32]:
    exact = query.astype(np.float64)
    length = float(np.sqrt(exact @ exact))
    return (exact / (length or 1.0)).astype(np.float32)


@given(metric=st.sampled_from(Metric), seed=st.integers(0, 2**32 - 1), k=st.integers(1, 20))
def test_a_score_does_not_hang_on_its_neighbours(metric: Metric, seed: int, k: int) -> None:
    """A vector scored alone and one scored among others have the same score, to the last bit."""
    rng = np.random.default_rng(seed)
    vectors, query = rng.normal(size=(50, 7)).astype(np.float32), rng.normal(size=7).astype(np.float32)
    vectors[25:] = vectors[:25]
    table = vector_table([str(n) for n in range(50)], vectors, Metric.L2 if metric is Metric.L2 else metric)
    asked = _unit(query) if metric is Metric.COSINE else query
    hits = ExactIndex(table, version="v").search(query, k)
    assert hits.places.tolist() == sorted_out(metric, asked, table.vectors, k)


@given(metric=st.sampled_from(Metric), dimension=st.integers(1, 200), seed=st.integers(0, 2**32 - 1))
def test_rough_scores_are_within_their_error(metric: Metric, dimension: int, seed: int) -> None:
    """The rough pass is never further off than it says, so it drops nothing that belongs to the answer."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(40, dimension)) * np.exp(3.0 * rng.normal(size=(40, 1)))
    table = vector_table([str(n) for n in range(40)], vectors, metric)
    query = _unit(rng.normal(size=dimension).astype(np.float32))
    error = rough_error(metric, 1.0, table.longest, dimension)
    off = rough_scores(metric, query, table.vectors).astype(np.float64) - scores(metric, query, table.vectors)
    assert np.abs(off).max() <= error


@given(
    parts=st.lists(st.lists(st.integers(-20, 20), max_size=30), max_size=12),
    k=st.integers(1, 15),
    margin=st.integers(0, 4),
)
def test_leaders_keep_all_that_is_near_enough_to_the_best(parts: list[list[int]], k: int, margin: int) -> None:
    """However scores come in, none that is within the margin of the k-th best is lost."""
    leaders = Leaders(k, margin=float(margin))
    start = 0
    for part in parts:
        found = np.array(part, dtype=np.float32)
        chosen = np.flatnonzero(found >= leaders.floor)
        leaders.add(chosen + start, found[chosen])
        start += len(part)
    everything = [score for part in parts for score in part]
    kept = set(leaders.places().tolist())
    kth = sorted(everything, reverse=True)[k - 1] if len(everything) >= k else -np.inf
    assert kept == {place for place, score in enumerate(everything) if score >= kth - margin}


def test_a_scan_where_all_are_equal_keeps_the_first() -> None:
    """With nothing to tell vectors apart over many blocks, the answer still is the first places."""
    count = 5 * BLOCK
    table = vector_table([str(n) for n in range(count)], np.ones((count, 2)), Metric.INNER_PRODUCT)
    hits = ExactIndex(table, version="v").search(np.ones(2, dtype=np.float32), 10)
    assert hits.places.tolist() == list(range(10))
    assert count > FEW
