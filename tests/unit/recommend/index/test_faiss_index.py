"""The index over lists: that it probes, completes what is short, and fits its planner to what it measures."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.faiss_index import FaissIndex
from recsvc.recommend.index.fit import FitSettings, fit_gathering, item_queries
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.numbering import Numbering
from recsvc.recommend.index.planner import Planner, Step
from recsvc.recommend.index.protocol import Allowed, Basis, Hits, VectorIndex
from recsvc.recommend.index.table import VectorTable, question, vector_table
from tests.parts.vector_indexes import exact, planned, probing, queries_for
from tests.unit.recommend.index.lines import line_of_lists

N, D = 4_000, 6


def spread_table(metric: Metric) -> VectorTable:
    """Make vectors of spread lengths."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(N, D)) * np.exp(0.8 * rng.normal(size=(N, 1)))
    return vector_table([str(n) for n in range(N)], vectors, metric)


@pytest.mark.parametrize("metric", list(Metric))
def test_a_small_share_finds_less_and_is_still_full(metric: Metric, tmp_path: Path) -> None:
    """Searches do go through the lists: with few of them probed the answer is full, but not all of it is the best."""
    table = spread_table(metric)
    index = planned(table, tmp_path).with_planner(Planner(0, 1, 500, [Step(1.0, 1e-9, 1e-9), Step(1e-9, 1e-9, 1e-9)]))
    truth = exact(table, tmp_path)
    recall = []
    for query in queries_for(table, 30):
        hits, best = index.search(query, 10), truth.search(query, 10)
        assert len(hits) == 10
        recall.append(np.isin(best.places, hits.places).mean())
    assert 0.1 < np.mean(recall) < 0.9


def test_what_the_lists_find_too_little_of_is_completed(tmp_path: Path) -> None:
    """Where the probed lists hold fewer survivors than the sample made believe, the answer is the exact one."""
    table = spread_table(Metric.COSINE)
    index = planned(table, tmp_path).with_planner(Planner(0, 1, 500, [Step(1.0, 1e-9, 1e-9), Step(1e-9, 1e-9, 1e-9)]))
    truth, query = exact(table, tmp_path), queries_for(table, 1)[0]
    order = truth.search(query, N).places
    allowed = np.zeros(N, dtype=np.bool_)
    allowed[order[[0, *range(N // 2, N)]]] = True
    index._lists = replace(index._lists, sample=np.full_like(index._lists.sample, order[0]))
    index._own = Numbering.own(index._lists.members, index._lists.sample)
    asked = question(table, query, 600, allowed)
    assert index._probe(asked, index._own) is None
    assert index.search(query, 600, allowed).places.tolist() == truth.search(query, 600, allowed).places.tolist()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_other_numbers_find_the_same(data: st.DataObject) -> None:
    """By numbers of any order, some places without one and some numbers without a place, a search finds the same."""
    index, numbers = _small(), np.random.default_rng(data.draw(st.integers(0, 99))).permutation(SMALL + 50)[:SMALL]
    numbers[: data.draw(st.integers(0, 300))] = -1
    rows = np.full(SMALL + 50, -1)
    rows[numbers[numbers >= 0]] = np.flatnonzero(numbers >= 0)
    share, k = data.draw(st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0])), data.draw(st.sampled_from([0, 1, 20, 700]))
    allowed = np.random.default_rng(data.draw(st.integers(0, 99))).random(len(rows)) < share
    query = queries_for(index.table, 1, seed=data.draw(st.integers(0, 9)))[0]
    found = index.renumbered(numbers, rows).search(query, k, Allowed.by(allowed))
    plain = index.search(query, k, allowed[numbers] & (numbers >= 0))
    assert found.places.tolist() == numbers[plain.places].tolist()
    assert found.scores.tolist() == plain.scores.tolist()


def test_what_is_known_of_a_mask_does_for_those_made_of_it() -> None:
    """After some were taken out the best of the rest are found, whether these were many, few, or what was nearest."""
    index, truth = _small(), ExactIndex(_small().table, version="truth")
    numbers = np.arange(SMALL)[::-1].copy()
    numbers[7] = -1
    rows = np.full(SMALL, -1)
    rows[numbers[numbers >= 0]] = np.flatnonzero(numbers >= 0)
    renumbered = index.renumbered(numbers, rows)
    rng = np.random.default_rng(11)
    basis = Basis.of(rng.random(SMALL) < 0.8)
    found_of_best = []
    for query in queries_for(index.table, 30, seed=12):
        for taken in (0, 3, 40, 200):
            mask = basis.mask.copy()
            own = mask[numbers] & (numbers >= 0)
            nearest = truth.search(query, 2 * taken, own).places
            mask[numbers[rng.choice(nearest, taken, replace=False)]] = False
            allowed = Allowed(mask, int(mask.sum()), basis)
            found = renumbered.search(query, 60, allowed).places
            assert mask[found].all()
            best = truth.search(query, 60, mask[numbers] & (numbers >= 0)).places
            assert len(found) == len(best) == len(set(found.tolist()))
            found_of_best.append(len(np.intersect1d(found, numbers[best])) / len(best))
    assert np.mean(found_of_best) > 0.9
    assert len(renumbered._known) == 1
    few = np.zeros(SMALL, np.bool_)
    few[:9] = True
    assert len(renumbered.search(query, 60, Allowed(few, 9, Basis.of(few.copy())))) == 9


SMALL = 1_500


@cache
def _small() -> FaissIndex:
    """Return a small index that never gathers."""
    rng = np.random.default_rng(8)
    vectors = rng.normal(size=(SMALL, D)) * np.exp(rng.normal(size=(SMALL, 1)))
    table = vector_table([str(n) for n in range(SMALL)], vectors, Metric.INNER_PRODUCT)
    return probing(table, Path())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.data())
def test_positions_are_those_of_the_lists(sizes: list[int], data: st.DataObject) -> None:
    """The members of some lists stand one list after another, and each place knows its list."""
    starts, n = np.concatenate([[0], np.cumsum(sizes)]), sum(sizes)
    members = np.random.default_rng(1).permutation(n).astype(np.int32)
    lists = line_of_lists(sizes, members)
    some = data.draw(st.lists(st.integers(0, len(sizes) - 1), unique=True))
    wanted = [members[p] for number in some for p in range(starts[number], starts[number + 1])]
    assert members[lists.positions(np.array(some, np.int64))].tolist() == wanted
    assert all(lists.owners[members[starts[number]]] == number for number in range(len(sizes)))


def test_shares_grow_as_fewer_pass(tmp_path: Path) -> None:
    """Fitted shares never fall with the pass rate, the far ones are no smaller, and the planner has no problem."""
    planner = planned(spread_table(Metric.L2), tmp_path).planner
    shares = [step.share for step in planner.steps]
    assert planner.problem() is None
    assert shares == sorted(shares)
    assert all(step.far >= step.share for step in planner.steps)


class Timed:
    """An exact index whose searches take as long as they are told to, on a clock of its own."""

    def __init__(self, inner: ExactIndex, clock: list[float], per_survivor_s: float, base_s: float) -> None:
        self._inner, self._clock, self._cost = inner, clock, (per_survivor_s, base_s)
        self.ids, self.dimension, self.metric, self.version = inner.ids, inner.dimension, inner.metric, inner.version
        self.vectors = inner.vectors

    def __len__(self) -> int:
        return len(self._inner)

    def search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """Search, and let the time go by that it costs."""
        passing = len(self) if allowed is None else int(np.count_nonzero(allowed))
        self._clock[0] += self._cost[0] * passing + self._cost[1]
        return self._inner.search(query, k, allowed)


@pytest.mark.parametrize(
    ("base_s", "least", "most"),
    [
        pytest.param(0.0, 0, 0, id="lists always faster"),
        pytest.param(0.1, 300, 500, id="lists faster from a tenth on"),
        pytest.param(9.0, N, N, id="lists never faster"),
    ],
)
def test_gathering_ends_where_lists_are_faster(base_s: float, least: int, most: int) -> None:
    """The threshold is the most survivors, of those tried, that are scored no slower than lists are probed."""
    table = spread_table(Metric.L2)
    inner, clock = ExactIndex(table, version="v"), [0.0]
    scoring: VectorIndex = Timed(inner, clock, 2e-4, 1e-9)
    lists: VectorIndex = Timed(inner, clock, 0.0, base_s)
    rng = np.random.default_rng(4)
    found = fit_gathering(
        scoring, lists, queries_for(table, 3), settings=FitSettings(), rng=rng, clock=lambda: clock[0]
    )
    assert least <= found <= most


def test_a_build_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """Nothing in a build is random but what comes from its generator."""
    table = spread_table(Metric.COSINE)
    assert repr(planned(table, tmp_path)) == repr(planned(table, tmp_path))


def test_item_queries_are_vectors_of_the_index() -> None:
    """For want of real queries, some of the items stand in; never more than there are."""
    table = spread_table(Metric.L2)
    queries = item_queries(table, 10, np.random.default_rng(5))
    assert queries.shape == (10, D)
    assert all((table.vectors == query).all(axis=1).any() for query in queries)
    assert len(item_queries(table, 2 * N, np.random.default_rng(5))) == N


def test_with_planner_leaves_the_first_as_it_was(tmp_path: Path) -> None:
    """An index does not change: another planner is another index."""
    index = planned(spread_table(Metric.L2), tmp_path)
    before = index.planner
    other = index.with_planner(replace(before, depth=7))
    assert (index.planner, other.planner.depth) == (before, 7)
