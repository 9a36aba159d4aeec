"""Rankers: what they learn, that trees are what LightGBM has, and that bundles of them are served."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import FLOAT64, Entity, Feature, FeatureService, FeatureView, Registry
from recsvc.errors import ConfigError
from recsvc.recommend.ranking.bundle import load_bundle
from recsvc.recommend.ranking.card import ModelCard, ModelFeature
from recsvc.recommend.ranking.onnx_model import OnnxModel
from recsvc.training.bundles import write_ranker
from recsvc.training.errors import TrainingError
from recsvc.training.examples import Examples
from recsvc.training.linear import fit_linear
from recsvc.training.tree_graph import graph_of
from recsvc.training.trees import TreeParameters, fit_trees

FEATURES = ("film:good", "film:noise", "film:same")
ITEM = Entity("item", "item_id")
REGISTRY = Registry(
    views=[FeatureView("film", [ITEM], [Feature(name.partition(":")[2], FLOAT64) for name in FEATURES])],
    services=[FeatureService("ranking", list(FEATURES)), FeatureService("other", list(FEATURES[:2]))],
)
CARD = ModelCard("m", "1", "ranking", tuple(ModelFeature(name, FLOAT64) for name in FEATURES))
FEW = TreeParameters(trees=20, leaves=4, least=5)


def examples(requests: int = 60, rows: int = 20, missing: float = 0.1) -> Examples:
    """Return requests in which the chance to be taken grows with the first feature; some of it is missing."""
    rng = np.random.default_rng(5)
    n = requests * rows
    matrix = np.column_stack([rng.normal(size=n), rng.normal(size=n), np.full(n, 7.0)])
    labels = (rng.random(n) < 1 / (1 + np.exp(2.0 - 2.0 * matrix[:, 0]))).astype(np.float64)
    matrix[rng.random(n) < missing, 0] = np.nan
    groups = np.full(requests, rows)
    ranks = np.tile(np.arange(1.0, rows + 1), requests)
    return Examples(FEATURES, matrix, labels, groups, ranks, ["u"] * requests, ["i"] * n)


def booster(data: Examples, **settings: Any) -> lightgbm.Booster:  # noqa: ANN401  # LightGBM's
    """Train LightGBM's own model."""
    chosen = {"objective": "lambdarank", "num_leaves": 8, "min_data_in_leaf": 3, "verbosity": -1, "num_threads": 1}
    return lightgbm.train(chosen | settings, lightgbm.Dataset(data.matrix, data.labels, group=data.groups), 15)


def test_a_linear_ranker_weighs_what_counts() -> None:
    """The feature that decides gets the weight; noise gets little, and what is always the same nothing."""
    model = fit_linear(examples())
    good, noise, same = model.weights
    assert model.logistic
    assert good > 1.0
    assert abs(noise) < 0.3 * good
    assert same == pytest.approx(0.0, abs=1e-9)
    assert model.scales[2] == 1.0


def test_a_missing_value_is_as_good_as_the_mean() -> None:
    """What is not known is scored like an average row, in training and in serving."""
    ranker = fit_linear(examples()).ranker(CARD)
    means = np.array([fit_linear(examples()).means])
    unknown = np.full((1, 3), np.nan)
    assert ranker.rank(unknown, FEATURES) == pytest.approx(ranker.rank(means, FEATURES))


def test_trees_order_by_what_counts() -> None:
    """Trees put higher values of the deciding feature first; the same examples give the same graph."""
    model = fit_trees(examples(), FEW)
    grid = np.column_stack([np.linspace(-2, 2, 5), np.zeros(5), np.full(5, 7.0)])
    scores = model.ranker(CARD).rank(grid, FEATURES)
    assert scores[-1] > scores[2] > scores[0]
    assert model.graph == fit_trees(examples(), FEW).graph


def test_steps_of_trees_are_told() -> None:
    """Each tree is told, with how many there are."""
    steps: list[tuple[int, int]] = []
    fit_trees(examples(), FEW, lambda *at: steps.append(at))
    assert steps == [(n, 20) for n in range(1, 21)]


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_the_graph_scores_as_lightgbm_does(missing: float) -> None:
    """On all rows, on rows just at thresholds and beside them, on infinities and on NaN, met in training or not."""
    data = examples(missing=missing)
    trained = booster(data)
    ranker = OnnxModel(graph_of(trained.dump_model(), 3)).ranker(CARD)
    at = np.array([t for tree in trained.dump_model()["tree_info"] for t in thresholds(tree["tree_structure"])])
    edges = np.concatenate([at, np.nextafter(at, -np.inf), np.nextafter(at, np.inf), [np.nan, np.inf, -np.inf, 0.0]])
    rows = np.concatenate([data.matrix, np.repeat(edges[:, None], 3, axis=1)])
    assert ranker.rank(rows, FEATURES) == pytest.approx(trained.predict(rows), abs=1e-12)


def thresholds(tree: dict[str, Any]) -> list[float]:
    """Return the thresholds of a tree."""
    if "threshold" not in tree:
        return []
    return [tree["threshold"], *thresholds(tree["left_child"]), *thresholds(tree["right_child"])]


@given(values=st.lists(st.floats(width=64), min_size=3, max_size=3))
def test_any_row_scores_as_lightgbm_does(values: list[float]) -> None:
    """Whatever doubles a row has."""
    trained, ranker = TRAINED
    row = np.array([values])
    assert ranker.rank(row, FEATURES) == pytest.approx(trained.predict(row), abs=1e-12)


def _trained() -> tuple[lightgbm.Booster, Any]:
    trained = booster(examples())
    return trained, OnnxModel(graph_of(trained.dump_model(), 3)).ranker(CARD)


TRAINED = _trained()


def test_a_model_without_a_split_is_a_constant() -> None:
    """Where nothing is worth a split, all rows score the same."""
    trained = booster(examples(requests=3), min_data_in_leaf=1_000)
    scores = OnnxModel(graph_of(trained.dump_model(), 3)).ranker(CARD).rank(examples().matrix, FEATURES)
    assert scores == pytest.approx(trained.predict(examples().matrix), abs=1e-12)


@pytest.mark.parametrize("fit", [fit_linear, fit_trees])
def test_what_teaches_nothing_is_refused(fit: Any) -> None:  # noqa: ANN401  # one of two functions
    """Without a hit, or with hits alone, there is nothing to learn."""
    none = examples()
    none.labels[:] = 0.0
    with pytest.raises(TrainingError, match="none of 1,200 candidates was taken"):
        fit(none)
    none.labels[:] = 1.0
    with pytest.raises(TrainingError, match="nothing to tell apart"):
        fit(none)


@pytest.mark.parametrize(("fit", "package"), [(fit_linear, "sklearn.linear_model"), (fit_trees, "lightgbm")])
def test_a_missing_package_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
    fit: Any,  # noqa: ANN401  # one of two functions
    package: str,
) -> None:
    """Without the extra, the error is the pip command."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'recsvc\[train\]'"):
        fit(examples())


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"leaves": 1}, {"rate": 0.0}, {"rate": 2.0}, {"seed": -1}])
def test_parameters_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    """A parameter out of its range is refused."""
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        TreeParameters(**wrong)  # type: ignore[arg-type]  # of the field's type, or worse


@pytest.mark.parametrize("kind", ["linear", "trees"])
def test_what_is_written_is_what_a_server_loads(tmp_path: Path, kind: str) -> None:
    """A bundle of each kind is loaded, warm-up rows with missing values included, and scores as the one written."""
    data = examples()
    model = fit_linear(data) if kind == "linear" else fit_trees(data, FEW)
    written = write_ranker(tmp_path / kind, model, data, REGISTRY, name=kind, service="ranking", version="1")
    loaded = load_bundle(tmp_path / kind, REGISTRY)
    assert (loaded.name, loaded.version, loaded.service) == (kind, "1", "ranking")
    assert np.array_equal(loaded.rank(data.matrix, FEATURES), written.rank(data.matrix, FEATURES))


def test_a_ranker_of_other_features_is_not_written(tmp_path: Path) -> None:
    """Examples of one service make no bundle of another."""
    data = examples()
    with pytest.raises(TrainingError, match="service 'other' gives"):
        write_ranker(tmp_path / "m", fit_linear(data), data, REGISTRY, name="m", service="other", version="1")
    assert not (tmp_path / "m").exists()
