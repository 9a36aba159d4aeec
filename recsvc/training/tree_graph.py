"""LightGBM's trees as an ONNX graph that decides and adds up in doubles, so that it scores as LightGBM does.

The converters there are write thresholds in single precision: a value next to a threshold then goes the other way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recsvc.training.errors import TrainingError

OPSET: Final = 19
TREES_OPSET: Final = 5
"""The first with TreeEnsemble, which knows doubles."""
_LESS_OR_EQUAL: Final = 0
"""The mode of a node that asks whether the feature is at most the split, as BRANCH_LEQ of the operator."""
_SUM: Final = 1
_NO_TRANSFORM: Final = 0
_Tree = Mapping[str, Any]


@dataclass(slots=True)
class _Nodes:
    """The attributes of TreeEnsemble: of each node, and of each leaf."""

    features: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    missing_left: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    left_is_leaf: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    right_is_leaf: list[int] = field(default_factory=list)
    leaves: list[float] = field(default_factory=list)

    def leaf(self, value: float) -> int:
        """Take a leaf, and return its number."""
        self.leaves.append(value)
        return len(self.leaves) - 1

    def node(self, tree: _Tree) -> int:
        """Take a node whose children are to come, and return its number."""
        if tree["decision_type"] != "<=":
            raise TrainingError(f"a tree decides by {tree['decision_type']!r}: features are numbers, not categories")
        self.features.append(int(tree["split_feature"]))
        self.splits.append(float(tree["threshold"]))
        self.missing_left.append(int(_missing_goes_left(tree)))
        for numbers in (self.left, self.left_is_leaf, self.right, self.right_is_leaf):
            numbers.append(0)
        return len(self.features) - 1

    def add(self, root: _Tree) -> int:
        """Take a tree and return the number of its root."""
        if "split_index" not in root:  # nothing was worth a split: both ways lead to the same leaf
            return self._constant(float(root["leaf_value"]))
        first = self.node(root)
        waiting = [(first, root)]
        while waiting:
            number, tree = waiting.pop()
            for child, places, flags in (
                (tree["left_child"], self.left, self.left_is_leaf),
                (tree["right_child"], self.right, self.right_is_leaf),
            ):
                is_leaf = "split_index" not in child
                places[number] = self.leaf(float(child["leaf_value"])) if is_leaf else self.node(child)
                flags[number] = int(is_leaf)
                if not is_leaf:
                    waiting.append((places[number], child))
        return first

    def _constant(self, value: float) -> int:
        number = self.node({"decision_type": "<=", "split_feature": 0, "threshold": 0.0, "missing_type": "None"})
        self.left[number] = self.right[number] = self.leaf(value)
        self.left_is_leaf[number] = self.right_is_leaf[number] = 1
        return number


def _missing_goes_left(tree: _Tree) -> bool:
    """Say where LightGBM sends NaN: where it has met none in training, NaN is 0 to it."""
    if tree["missing_type"] == "NaN":
        return bool(tree["default_left"])
    if tree["missing_type"] == "None":
        return float(tree["threshold"]) >= 0.0
    raise TrainingError(f"a tree treats missing values as {tree['missing_type']!r}: only NaN is missing")


def graph_of(model: _Tree, width: int) -> bytes:
    """Return the graph, one input of doubles [n, width] and one output [n, 1], of a model as LightGBM dumps it."""
    nodes = _Nodes()
    roots = [nodes.add(tree["tree_structure"]) for tree in model["tree_info"]]
    operator = helper.make_node(
        "TreeEnsemble",
        ["features"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=_SUM,
        post_transform=_NO_TRANSFORM,
        tree_roots=roots,
        nodes_featureids=nodes.features,
        nodes_splits=_doubles("splits", nodes.splits),
        nodes_modes=numpy_helper.from_array(np.full(len(nodes.features), _LESS_OR_EQUAL, np.uint8), "modes"),
        nodes_missing_value_tracks_true=nodes.missing_left,
        nodes_truenodeids=nodes.left,
        nodes_trueleafs=nodes.left_is_leaf,
        nodes_falsenodeids=nodes.right,
        nodes_falseleafs=nodes.right_is_leaf,
        leaf_targetids=[0] * len(nodes.leaves),
        leaf_weights=_doubles("weights", nodes.leaves),
    )
    graph = helper.make_graph(
        [operator],
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", width])],
        [helper.make_tensor_value_info("scores", TensorProto.DOUBLE, ["rows", 1])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREES_OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, producer_name="recsvc", ir_version=9)
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


def _doubles(name: str, values: Sequence[float]) -> Any:  # noqa: ANN401  # onnx's TensorProto
    return numpy_helper.from_array(np.array(values, np.float64), name)
