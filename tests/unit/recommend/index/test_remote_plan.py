"""What a server that keeps vectors is asked for: the cheapest way, and never without end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.remote import Facts, RemoteIndex
from recsvc.recommend.index.remote_plan import Way, first_k, more_k, way
from recsvc.recommend.index.table import VectorTable, vector_table

COUNT = 40_000
Places = NDArray[np.int64]


class Distances:
    """A store that compares by distance, in memory. It notes what it is asked, and finds a ``share`` of the nearest."""

    def __init__(self, table: VectorTable, share: float = 1.0) -> None:
        self._table = table
        self._share = share
        self.asked: list[tuple[str, int]] = []

    def __repr__(self) -> str:
        return f"Distances({self.asked})"

    def nearest(self, point: NDArray[np.float32], k: int) -> Places:
        """See VectorStore."""
        self.asked.append(("nearest", k))
        return self._order(point, np.arange(len(self._table)), int(k * self._share))

    def nearest_among(self, point: NDArray[np.float32], among: Places, k: int) -> Places:
        """See VectorStore."""
        self.asked.append(("among", len(among)))
        return self._order(point, among, k)

    def vectors(self, places: Places) -> NDArray[np.float32]:
        """See VectorStore."""
        self.asked.append(("vectors", len(places)))
        return self._table.vectors[places]

    def _order(self, point: NDArray[np.float32], among: Places, k: int) -> Places:
        away = ((self._table.vectors[among] - point) ** 2).sum(axis=1)
        return among[np.argsort(away, kind="stable")[:k]]


@pytest.fixture(scope="module")
def table() -> VectorTable:
    """Many vectors of few components."""
    vectors = np.random.default_rng(1).normal(size=(COUNT, 4))
    return vector_table([str(n) for n in range(COUNT)], vectors, Metric.L2)


@pytest.mark.parametrize(
    ("rate", "first"),
    [
        pytest.param(1.0, "nearest", id="all"),
        pytest.param(0.9, "nearest", id="nearly all"),
        pytest.param(0.05, "among", id="some"),
        pytest.param(0.005, "vectors", id="few"),
    ],
)
def test_what_is_asked_for_depends_on_what_passes(table: VectorTable, rate: float, first: str) -> None:
    """Of nearly all the nearest are asked for, of some those, of few all; the answer is the exact one each time."""
    store, rng = Distances(table), np.random.default_rng(2)
    index = RemoteIndex(Facts.of(table, graph=True), store, version="v")
    allowed, query = rng.random(COUNT) < rate, rng.normal(size=4).astype(np.float32)
    hits, truth = index.search(query, 300, allowed), ExactIndex(table, version="v").search(query, 300, allowed)
    assert hits.places.tolist() == truth.places.tolist()
    assert hits.scores.tolist() == truth.scores.tolist()
    assert store.asked[0][0] == first


@pytest.mark.parametrize("share", [1.0, 0.4, 0.0])
def test_a_short_answer_is_completed(table: VectorTable, share: float) -> None:
    """Where the nearest do not pass, or too few are found, more is asked for, and in the end of all that pass."""
    store = Distances(table, share)
    index = RemoteIndex(Facts.of(table, graph=True), store, version="v")
    query = np.full(4, 0.3, dtype=np.float32)
    order = ExactIndex(table, version="v").search(query, COUNT).places
    allowed = np.zeros(COUNT, dtype=np.bool_)
    allowed[order[COUNT // 2 :]] = True
    hits = index.search(query, 300, allowed)
    assert hits.places.tolist() == ExactIndex(table, version="v").search(query, 300, allowed).places.tolist()
    assert [name for name, _ in store.asked][-2:] == ["among", "vectors"]
    assert len(store.asked) <= 8


@given(
    st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
    st.integers(1, 600),
    st.booleans(),
    st.floats(0.0, 1.0),
)
def test_growth_ends(counts: tuple[int, int], wanted: int, graph: bool, share: float) -> None:  # noqa: FBT001  # drawn
    """Asking for more comes to an end after a few rounds, whatever was found, and never for more than there is."""
    count, passing = counts
    enough = min(wanted, passing)
    k, rounds = first_k(enough, passing, count), 0
    while way(enough, passing, count, k, graph=graph) is Way.NEAREST:
        assert enough <= k <= count
        k = more_k(k, int(share * (enough - 1)), enough, count)
        rounds += 1
        assert rounds <= 22
