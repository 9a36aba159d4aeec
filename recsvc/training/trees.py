"""A ranker of gradient-boosted trees, fitted by LightGBM to order the candidates of each request, as an ONNX graph.

C. Burges: From RankNet to LambdaRank to LambdaMART: An Overview, Microsoft Research MSR-TR-2010-82, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recsvc.errors import ConfigError
from recsvc.recommend.ranking.onnx_model import OnnxModel
from recsvc.training.errors import TrainingError
from recsvc.training.examples import Examples
from recsvc.training.linear import learnable


@dataclass(frozen=True, slots=True)
class TreeParameters:
    """How to boost. ``positions``: how many places from the top the order counts. ``least``: rows of a leaf."""

    trees: int = 100
    leaves: int = 15
    rate: float = 0.05
    least: int = 50
    positions: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, lowest in (("trees", 1), ("leaves", 2), ("least", 1), ("positions", 1), ("seed", 0)):
            if getattr(self, name) < lowest:
                raise TrainingError(f"{name} {getattr(self, name)}: must be at least {lowest}")
        if not 0 < self.rate <= 1:
            raise TrainingError(f"rate {self.rate}: must be above 0 and at most 1")


def fit_trees(
    examples: Examples,
    parameters: TreeParameters = TreeParameters(),
    step: Callable[[int, int], None] = lambda _done, _of: None,
) -> OnnxModel:
    """Fit on the requests that have a hit; ``step`` gets how many of all trees there are.

    The graph reads doubles and NaN, and gives what LightGBM itself would. The same examples and seed give the same
    graph. Raises TrainingError and ConfigError as `fit_linear` does.
    """
    try:
        import lightgbm  # noqa: PLC0415  # of an extra

        from recsvc.training.tree_graph import graph_of  # noqa: PLC0415  # needs onnx
    except ModuleNotFoundError as error:
        raise ConfigError(f"this needs {error.name}, which is not installed: pip install 'recsvc[train]'") from None
    rows = learnable(examples)
    data = lightgbm.Dataset(rows.matrix, rows.labels, group=rows.groups, params={"verbosity": -1})
    total = parameters.trees
    booster = lightgbm.train(
        _settings(parameters), data, total, callbacks=[lambda state: step(state.iteration + 1, total)]
    )
    return OnnxModel(graph_of(booster.dump_model(), rows.matrix.shape[1]))


def _settings(parameters: TreeParameters) -> dict[str, object]:
    return {
        "objective": "lambdarank",
        "num_leaves": parameters.leaves,
        "learning_rate": parameters.rate,
        "min_data_in_leaf": parameters.least,
        "lambdarank_truncation_level": parameters.positions,
        "seed": parameters.seed,
        # The same result in every run.
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
