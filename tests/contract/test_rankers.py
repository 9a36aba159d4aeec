"""What every ranker keeps to, whatever its model is, made in memory and loaded from its bundle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.recommend.ranking.bundle import load_bundle, write_bundle
from recsvc.recommend.ranking.errors import RankerError
from recsvc.recommend.ranking.manifest import ModelKind
from recsvc.recommend.ranking.models import kind_of
from recsvc.recommend.ranking.ranker import Explains, Ranker
from tests.parts.rankers import EXAMPLES, Example, registry

ROWS = 50


@pytest.fixture(params=list(EXAMPLES), scope="module")
def example(request: pytest.FixtureRequest) -> Example:
    """One model of each kind."""
    made: Example = EXAMPLES[request.param]()
    return made


@pytest.fixture(params=["made", "loaded"], scope="module")
def ranker(request: pytest.FixtureRequest, example: Example, tmp_path_factory: pytest.TempPathFactory) -> Ranker:
    """Its ranker, made in memory and loaded from a bundle."""
    if request.param == "made":
        return example.ranker()
    directory = tmp_path_factory.mktemp("models") / "example"
    write(example, directory)
    return load_bundle(directory, registry())


def write(example: Example, directory: Path) -> Ranker:
    """Write the bundle of an example."""
    return write_bundle(
        directory,
        example.model,
        name="example",
        version="1",
        service=example.service,
        registry=registry(),
        warm_up=example.rows(3, seed=9),
    )


def names(example: Example) -> tuple[str, ...]:
    """Return the names of the features."""
    return example.card().names


def test_every_kind_of_model_is_under_this_contract() -> None:
    """No kind of model can be added without an example here."""
    assert {kind_of(make().model) for make in EXAMPLES.values()} == set(ModelKind)


def test_a_ranker_says_who_it_is(example: Example, ranker: Ranker) -> None:
    """Name, version and service are those it was made with, and its repr shows them."""
    assert (ranker.name, ranker.version, ranker.service) == ("example", "1", example.service)
    assert "example 1" in repr(ranker)


@pytest.mark.parametrize("count", [0, 1, ROWS])
def test_there_is_a_finite_score_for_each_row(example: Example, ranker: Ranker, count: int) -> None:
    """As many float64 scores as rows, none of them NaN, though values are missing."""
    scores = ranker.rank(example.rows(count), names(example))
    assert scores.dtype == np.float64
    assert scores.shape == (count,)
    assert np.isfinite(scores).all()


def test_rows_of_missing_values_have_a_score(example: Example, ranker: Ranker) -> None:
    """A candidate of which nothing is known is scored like any other."""
    scores = ranker.rank(np.full((2, example.card().width), np.nan), names(example))
    assert np.isfinite(scores).all()
    assert scores[0] == scores[1]


def test_scores_tell_rows_apart(example: Example, ranker: Ranker) -> None:
    """The scores come from the rows: they are not all the same."""
    assert len(np.unique(ranker.rank(example.rows(ROWS), names(example)))) > 2


@settings(max_examples=30)
@given(seed=st.integers(0, 1_000), count=st.integers(1, 20), data=st.data())
def test_a_score_depends_on_its_own_row_alone(
    example: Example, ranker: Ranker, seed: int, count: int, data: st.DataObject
) -> None:
    """Whichever rows are asked about together, in whatever order, each has the score that it has alone."""
    rows = example.rows(count, seed)
    chosen = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=30))
    together = ranker.rank(rows[chosen], names(example))
    alone = [ranker.rank(rows[[place]], names(example))[0] for place in chosen]
    np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-12)


def test_the_matrix_is_left_as_it_was(example: Example, ranker: Ranker) -> None:
    """Impressions report the rows as ranked, so a ranker works on a matrix that nobody may write to."""
    rows = example.rows(ROWS)
    rows.flags.writeable = False
    ranker.rank(rows, names(example))
    ranker.contributions(rows, names(example))


def test_any_memory_layout_will_do(example: Example, ranker: Ranker) -> None:
    """A matrix by columns, or a view with strides, gives the scores of its copy by rows."""
    rows = example.rows(ROWS)
    expected = ranker.rank(rows, names(example))
    np.testing.assert_allclose(ranker.rank(np.asfortranarray(rows), names(example)), expected)
    np.testing.assert_allclose(ranker.rank(np.repeat(rows, 2, axis=0)[::2], names(example)), expected)


def test_other_features_are_refused(example: Example, ranker: Ranker) -> None:
    """Features in another order, or fewer of them, are never taken for the model's own."""
    rows, right = example.rows(1), names(example)
    for ask in (ranker.rank, ranker.contributions):
        with pytest.raises(RankerError, match="feature 0 is"):
            ask(rows, right[::-1])
        with pytest.raises(RankerError, match="there must be"):
            ask(rows, right[:-1])
        with pytest.raises(RankerError, match="a matrix of"):
            ask(rows[:, :-1], right)


def test_contributions_are_exact_or_not_there(example: Example, ranker: Ranker) -> None:
    """Base and contributions add up to the score (or its log-odds), or the ranker says that it has none."""
    rows = example.rows(ROWS)
    found = ranker.contributions(rows, names(example))
    if ranker.explains is Explains.NOTHING:
        assert found is None
        return
    assert found is not None
    scores = ranker.rank(rows, names(example))
    wanted = scores if ranker.explains is Explains.SCORE else np.log(scores / (1 - scores))
    assert found.values.shape == rows.shape
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), wanted, rtol=1e-6, atol=1e-9)


def test_a_missing_value_contributes_nothing(example: Example, ranker: Ranker) -> None:
    """What is not known moves a score neither up nor down."""
    rows = example.rows(ROWS)
    found = ranker.contributions(rows, names(example))
    assert found is None or (found.values[np.isnan(rows)] == 0).all()


def test_threads_may_share_a_ranker(example: Example, ranker: Ranker) -> None:
    """Calls at the same time do not get into each other's way."""
    batches = [example.rows(ROWS, seed) for seed in range(16)]
    expected = [ranker.rank(rows, names(example)) for rows in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda rows: ranker.rank(rows, names(example)), batches))
    np.testing.assert_array_equal(found, expected)


def test_a_bundle_scores_as_what_it_was_written_from(example: Example, tmp_path: Path) -> None:
    """Nothing of a model is lost on the way through a bundle: not a bit of a score differs."""
    written = write(example, tmp_path / "example")
    loaded = load_bundle(tmp_path / "example", registry())
    rows = example.rows(ROWS)
    np.testing.assert_array_equal(loaded.rank(rows, names(example)), written.rank(rows, names(example)))
