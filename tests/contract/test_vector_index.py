"""What holds for every vector index: who may be in an answer, in which order, and how much of the truth is in it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recsvc.recommend.index.errors import BadQueryError
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric, scores
from recsvc.recommend.index.protocol import Hits, VectorIndex
from recsvc.recommend.index.table import VectorTable, vector_table
from tests.parts.vector_indexes import IN_REDIS, INDEXES, VERSION, BuildIndex, queries_for

N, D, K = 3_000, 8, 200
RECALL = 0.95
"""Planners are fitted to .99 on 40 queries; the rest is what so few of them do not tell."""
Mask = NDArray[np.bool_]
Make = Callable[[VectorTable], VectorIndex]


@pytest.fixture(params=[*INDEXES, *IN_REDIS], scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    """Each implementation, one after another."""
    name: str = request.param
    return name


@pytest.fixture(params=list(Metric), scope="module")
def metric(request: pytest.FixtureRequest) -> Metric:
    """Each metric, one after another."""
    chosen: Metric = request.param
    return chosen


@pytest.fixture(scope="module")
def build(kind: str, request: pytest.FixtureRequest) -> BuildIndex:
    """How to build this kind of index over a table, in a directory."""
    if kind in INDEXES:
        return INDEXES[kind]
    url = request.getfixturevalue("redis_search").url
    return lambda table, directory: IN_REDIS[kind](table, directory, url)


@pytest.fixture
def make(build: BuildIndex, tmp_path: Path) -> Make:
    """How to build it in a directory that is there already."""
    return lambda table: build(table, tmp_path / "indexes")


@pytest.fixture(scope="module")
def table(metric: Metric) -> VectorTable:
    """Clustered vectors of widely spread lengths, as matrix factorization makes them; some stand there twice."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(20, D))
    vectors = centres[rng.integers(20, size=N)] + 0.5 * rng.normal(size=(N, D))
    vectors *= np.exp(0.8 * rng.normal(size=N))[:, None]
    vectors[N // 2 : N // 2 + 100] = vectors[:100]
    vectors[17] = 0.0
    return vector_table([f"film-{place}" for place in range(N)], vectors, metric)


@pytest.fixture(scope="module")
def index(build: BuildIndex, table: VectorTable, tmp_path_factory: pytest.TempPathFactory) -> VectorIndex:
    """The index under test, over the table."""
    return build(table, tmp_path_factory.mktemp("indexes") / "root")


def check(table: VectorTable, query: NDArray[np.float32], k: int, allowed: Mask | None, hits: Hits) -> None:
    """Assert all that holds for any answer, whatever was found."""
    passing = np.ones(len(table), dtype=np.bool_) if allowed is None else allowed
    assert hits.places.dtype == np.int64
    assert hits.scores.dtype == np.float32
    assert len(hits.places) == len(hits.scores) == min(k, np.count_nonzero(passing))
    assert len(np.unique(hits.places)) == len(hits)
    assert np.all(hits.places >= 0)
    assert passing[hits.places].all()
    assert np.isfinite(hits.scores).all()
    assert np.array_equal(np.lexsort((hits.places, -hits.scores)), np.arange(len(hits)))
    expected = scores(table.metric, query, table.at(hits.places))
    np.testing.assert_allclose(hits.scores, expected, rtol=1e-6, atol=1e-6)


def masks(table: VectorTable, query: NDArray[np.float32]) -> dict[str, Mask | None]:
    """Make filters of all kinds: none, at random, and of what lies near to the query and far from it."""
    rng = np.random.default_rng(2)
    order = ExactIndex(table, version="truth").search(query, len(table)).places
    near, far = np.zeros((2, len(table)), dtype=np.bool_)
    near[order[: len(table) // 5]] = True
    far[order[-len(table) // 5 :]] = True
    shares = (0.999, 0.5, 0.1, 0.01)
    return {"none": None, "near": near, "far": far, **{f"{s}": rng.random(len(table)) < s for s in shares}}


def test_an_answer_has_the_best_of_what_is_allowed(index: VectorIndex, table: VectorTable) -> None:
    """Under every filter an answer is full, in order, of allowed places, and holds the true best hundred."""
    truth = ExactIndex(table, version="truth")
    found: dict[str, list[float]] = {}
    for query in queries_for(table, 20, seed=3):
        for name, allowed in masks(table, query).items():
            hits = index.search(query, K, allowed)
            check(table, query, K, allowed, hits)
            best = truth.search(query, 100, allowed).places
            found.setdefault(name, []).append(float(np.isin(best, hits.places).mean()))
    assert {name: mean for name, part in found.items() if (mean := float(np.mean(part))) < RECALL} == {}


@pytest.mark.parametrize("k", [0, 1, 7, N - 1, N, 2 * N])
@pytest.mark.parametrize("passing", [0, 1, 5, 600, N])
def test_an_answer_is_short_only_where_few_are_allowed(
    index: VectorIndex, table: VectorTable, k: int, passing: int
) -> None:
    """It has k places, or all that are allowed where those are fewer."""
    allowed = np.zeros(N, dtype=np.bool_)
    allowed[np.random.default_rng(4).permutation(N)[:passing]] = True
    for query in queries_for(table, 3):
        check(table, query, k, allowed, index.search(query, k, allowed))


def test_a_query_of_zeros_has_an_answer(index: VectorIndex, table: VectorTable) -> None:
    """A query without direction gives finite scores; where all are alike the first places come first."""
    query = np.zeros(D, dtype=np.float32)
    hits = index.search(query, K)
    check(table, query, K, None, hits)
    if table.metric is not Metric.L2:
        assert hits.places.tolist() == list(range(K))


@pytest.mark.parametrize("size", [1e-20, 1e-3, 1e3, 1e9])
def test_the_length_of_a_query_does_not_spoil_the_answer(index: VectorIndex, table: VectorTable, size: float) -> None:
    """Short and long queries find what the exact scan finds."""
    truth = ExactIndex(table, version="truth")
    for direction in queries_for(table, 5):
        query = (direction * size).astype(np.float32)
        best, hits = truth.search(query, 50), index.search(query, K)
        assert np.isin(best.scores, hits.scores).mean() >= 0.9


def test_equal_vectors_stand_by_place(make: Make, metric: Metric) -> None:
    """Where all vectors are the same, the answer is the first allowed places."""
    table = vector_table([str(n) for n in range(500)], np.ones((500, 3)), metric)
    index, allowed = make(table), np.arange(500) % 3 == 1
    query = np.array([1.0, 2.0, -0.5], dtype=np.float32)
    hits = index.search(query, 500, allowed)
    assert hits.places.tolist() == np.flatnonzero(allowed).tolist()
    assert len(set(hits.scores.tolist())) == 1


def test_an_index_of_one_vector_of_zeros_answers(make: Make, metric: Metric) -> None:
    """The smallest index, whose only vector has no length, gives its place and a finite score."""
    table = vector_table(["only"], np.zeros((1, 2)), metric)
    query = np.array([3.0, 4.0], dtype=np.float32)
    hits = make(table).search(query, 5)
    assert hits.places.tolist() == [0]
    assert hits.scores.tolist() == [-25.0 if metric is Metric.L2 else 0.0]


def test_an_index_knows_what_it_is(index: VectorIndex, table: VectorTable) -> None:
    """Ids, dimension, metric, version and size are those it was built with, and its repr shows them."""
    assert (len(index), index.dimension, index.metric, index.version) == (N, D, table.metric, VERSION)
    assert list(index.ids) == list(table.ids)
    assert index.ids[17] == "film-17"
    assert VERSION in repr(index)
    assert str(table.metric) in repr(index)


def test_vectors_come_by_place(index: VectorIndex, table: VectorTable) -> None:
    """Vectors stand in the order asked for, of unit length for COSINE, also none of them."""
    places = np.array([5, 2_999, 5, 0])
    assert np.array_equal(index.vectors(places), table.vectors[places])
    assert index.vectors(np.empty(0, dtype=np.int64)).shape == (0, D)
    if table.metric is Metric.COSINE:
        np.testing.assert_allclose(np.linalg.norm(index.vectors(places), axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("place", [-1, N])
def test_a_place_outside_is_refused(index: VectorIndex, place: int) -> None:
    """A place that the index does not have is no vector from the other end."""
    with pytest.raises(BadQueryError, match="places 0 to 2999"):
        index.vectors(np.array([1, place]))


@pytest.mark.parametrize(
    ("query", "k", "allowed", "message"),
    [
        pytest.param(np.full(D, np.nan), 5, None, "length nan: it must be finite", id="NaN"),
        pytest.param(np.full(D, np.inf), 5, None, "length inf: it must be finite", id="infinite"),
        pytest.param(np.full(D, 1e30), 5, None, "at most 1e", id="too long"),
        pytest.param(np.ones(D + 1), 5, None, "takes \\(8,\\)", id="dimension"),
        pytest.param(np.ones((1, D)), 5, None, "takes \\(8,\\)", id="two dimensions"),
        pytest.param(np.ones(D), -1, None, "k is -1", id="negative k"),
        pytest.param(np.ones(D), 5, np.ones(N - 1, dtype=np.bool_), "takes bool \\(3000,\\)", id="short mask"),
        pytest.param(np.ones(D), 5, np.ones(N, dtype=np.int8), "takes bool \\(3000,\\)", id="mask of numbers"),
    ],
)
def test_a_search_that_does_not_fit_is_refused(
    index: VectorIndex, query: NDArray[np.float32], k: int, allowed: Mask | None, message: str
) -> None:
    """A query, k or mask that does not fit gives an error that says what would, and no rubbish."""
    with pytest.raises(BadQueryError, match=message):
        index.search(query.astype(np.float32), k, allowed)


def test_threads_search_at_the_same_time(index: VectorIndex, table: VectorTable) -> None:
    """Searches from four threads, each with its own filter, find what they find one after the other."""
    rng = np.random.default_rng(8)
    asked = [(query, rng.random(N) < 0.3) for query in queries_for(table, 40)]
    alone = [index.search(query, K, allowed) for query, allowed in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: index.search(one[0], K, one[1]), asked))
    assert [hits.places.tolist() for hits in together] == [hits.places.tolist() for hits in alone]
