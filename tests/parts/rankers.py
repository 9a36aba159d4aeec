"""Models for tests of rankers: one of each kind, with the registry they were made for and rows to score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from recsvc import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    STRING,
    TIMESTAMP,
    VECTOR,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    Registry,
)
from recsvc.recommend.ranking.card import Floats, ModelCard, service_features
from recsvc.recommend.ranking.dot_product import DotProductModel
from recsvc.recommend.ranking.linear import LinearModel
from recsvc.recommend.ranking.models import Model
from recsvc.recommend.ranking.onnx_model import OnnxModel
from recsvc.recommend.ranking.ranker import Ranker
from tests.parts import missing

NUMBERS = "numbers"
VECTORS = "vectors"
DIMENSION = 4
TYPES = {"year": INT64, "price": FLOAT64, "rating": FLOAT32, "available": BOOL, "added": TIMESTAMP}
WEIGHTS = (0.5, -2.0, 1.5, 0.25, -1.0)
MEANS = (1990.0, 10.0, 3.5, 0.5, 1.7e15)
SCALES = (20.0, 4.0, 1.0, 0.5, 1e13)


@cache
def registry(extra: tuple[Feature, ...] = (), description: str = "") -> Registry:
    """Return definitions with services of numbers and of two vectors; ``extra`` features are in no service."""
    film = Entity("film", "film_id")
    views = [
        FeatureView("film", [film], [*(Feature(n, t) for n, t in TYPES.items()), Feature("title", STRING), *extra]),
        FeatureView("taste", [Entity("user", "user_id")], [Feature("embedding", VECTOR[DIMENSION])]),
        FeatureView("embeddings", [film], [Feature("embedding", VECTOR[DIMENSION])]),
    ]
    services = [
        FeatureService(NUMBERS, [f"film:{name}" for name in TYPES], description=description),
        FeatureService(VECTORS, ["taste:embedding", "embeddings:embedding"]),
        FeatureService("titles", ["film:title"]),
    ]
    return Registry(views=views, services=services)


@dataclass(frozen=True, slots=True)
class Example:
    """A model and the service it is for."""

    model: Model
    service: str = NUMBERS

    def card(self, version: str = "1") -> ModelCard:
        """Return the card of the model."""
        return ModelCard("example", version, self.service, service_features(registry(), self.service))

    def ranker(self) -> Ranker:
        """Return a ranker of the model."""
        return self.model.ranker(self.card())

    def rows(self, count: int, seed: int = 1) -> Floats:
        """Return rows as serving has them, a tenth of the values missing."""
        rng = np.random.default_rng(seed)
        width = self.card().width
        rows: Floats = rng.normal(size=(count, width))
        if self.service == NUMBERS:
            rows = rows * SCALES + MEANS
        rows[rng.random(rows.shape) < 0.1] = np.nan
        return rows


def linear(*, logistic: bool = False) -> LinearModel:
    """Return a linear model of the five numbers."""
    return LinearModel(0.75, WEIGHTS, MEANS, SCALES, logistic)


def onnx_linear() -> OnnxModel:
    """Return the linear model as a graph of doubles, which has to be told what stands in for missing values."""
    constants = {
        "means": np.array(MEANS),
        "weights": np.array([[w / s] for w, s in zip(WEIGHTS, SCALES, strict=True)]),
        "intercept": np.array([0.75]),
    }
    nodes = [
        ("Sub", ["x", "means"], ["centred"]),
        ("MatMul", ["centred", "weights"], ["products"]),
        ("Add", ["products", "intercept"], ["score"]),
    ]
    graph = onnx_graph(nodes, constants, [("score", "DOUBLE", ["n", 1])], of="DOUBLE")
    return OnnxModel(graph, missing=MEANS)


def onnx_trees() -> OnnxModel:
    """Return two trees of one split each, which send missing values to their right side."""
    splits: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2, 0, 1, 2],
        "nodes_featureids": [1, 0, 0, 2, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * 2,
        "nodes_values": [10.0, 0.0, 0.0, 3.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
        "nodes_missing_value_tracks_true": [0] * 6,
        "target_treeids": [0, 0, 1, 1],
        "target_nodeids": [1, 2, 1, 2],
        "target_ids": [0] * 4,
        "target_weights": [1.0, -1.0, 0.25, -0.25],
        "n_targets": 1,
    }
    node = ("TreeEnsembleRegressor", ["x"], ["score"], splits)
    return OnnxModel(onnx_graph([node], {}, [("score", "FLOAT", ["n", 1])]))


def onnx_graph(  # noqa: PLR0913  # what a graph is made of
    nodes: Sequence[tuple[Any, ...]],
    constants: Mapping[str, np.ndarray],
    outputs: Sequence[tuple[str, str, Sequence[int | str]]],
    *,
    of: str = "FLOAT",
    shape: Sequence[int | str] = ("n", len(TYPES)),
    opset: int = 18,
) -> bytes:
    """Return a graph with the input ``x``; nodes are (operator, inputs, outputs, attributes if it has any)."""
    try:  # here, for they are parts that may be missing
        import onnx  # noqa: PLC0415
        import onnxruntime  # noqa: F401, PLC0415  # whoever makes a graph is going to run it
        from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415
    except ModuleNotFoundError as error:
        missing(f"the package {error.name}")
    made = [
        helper.make_node(
            operator,
            inputs,
            given,
            domain="ai.onnx.ml" if operator.startswith("Tree") else "",
            **(rest[0] if rest else {}),
        )
        for operator, inputs, given, *rest in nodes
    ]
    graph = helper.make_graph(
        made,
        "example",
        [helper.make_tensor_value_info("x", getattr(TensorProto, of), shape)],
        [helper.make_tensor_value_info(name, getattr(TensorProto, kind), dims) for name, kind, dims in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    versions = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, ir_version=9, opset_imports=versions)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


EXAMPLES: Mapping[str, Callable[[], Example]] = {
    "dot_product": lambda: Example(DotProductModel(), VECTORS),
    "linear": lambda: Example(linear()),
    "logistic": lambda: Example(linear(logistic=True)),
    "onnx_linear": lambda: Example(onnx_linear()),
    "onnx_trees": lambda: Example(onnx_trees()),
}
"""One of each kind, made when asked for: those of ONNX want packages that may be missing."""
