"""ONNX graphs: which are taken, where their scores are found, and that they run on the caller's thread alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsvc.errors import ConfigError
from recsvc.recommend.ranking.errors import BundleError, RankerError
from recsvc.recommend.ranking.onnx_model import OnnxModel
from recsvc.recommend.ranking.ranker import Ranker
from tests.parts import missing
from tests.parts.rankers import MEANS, TYPES, VECTORS, Example, linear, onnx_graph, onnx_linear, onnx_trees

NAMES = tuple(f"film:{name}" for name in TYPES)
COLUMN = np.array([[0.0], [1.0], [0.0], [0.0], [0.0]], np.float32)
"""Picks the price, which is feature 1."""
PRICES = np.array([[1.0, 2.5, 3.0, 4.0, 5.0], [0.0, -1.5, 0.0, 0.0, 0.0]])
Nodes = list[tuple[Any, ...]]
PICK: Nodes = [("MatMul", ["x", "w"], ["score"])]


def graph(nodes: Nodes, *outputs: tuple[str, str, list[int | str]], **rest: Any) -> bytes:  # noqa: ANN401  # any argument of onnx_graph
    """Return a graph that may use the constant w, one column."""
    return onnx_graph(nodes, {"w": COLUMN}, outputs or [("score", "FLOAT", ["n", 1])], **rest)


def ranker(model: bytes, **settings: Any) -> Ranker:  # noqa: ANN401  # any argument of OnnxModel
    """Return a ranker of a graph on the five numbers."""
    return Example(OnnxModel(model, **settings)).ranker()


def test_trees_score_by_their_splits() -> None:
    """A price up to 10 and a rating up to 3.5 go to the left; what is missing goes to the right, as NaN is told to."""
    rows = np.full((4, 5), np.nan)
    rows[:, 1] = [5.0, 50.0, 5.0, np.nan]
    rows[:, 2] = [3.0, 3.0, np.inf, np.nan]
    assert Example(onnx_trees()).ranker().rank(rows, NAMES).tolist() == [1.25, -0.75, 0.75, -1.25]


def test_a_graph_of_doubles_scores_like_the_model_it_came_from() -> None:
    """The same linear model in numpy and in ONNX, missing values included."""
    example = Example(onnx_linear())
    rows = example.rows(200)
    np.testing.assert_allclose(
        example.ranker().rank(rows, NAMES), Example(linear()).ranker().rank(rows, NAMES), rtol=1e-9, atol=1e-9
    )


def test_values_beyond_float32_become_infinite() -> None:
    """No warning and no error: it is the guard that looks at scores."""
    rows = PRICES * [[1.0, 1e300, 1.0, 1.0, 1.0]]
    found = ranker(graph(PICK)).rank(rows, NAMES)
    assert not np.isfinite(found).any()


def test_probabilities_of_two_classes_count_by_the_second() -> None:
    """A classifier's output has a column per class; the label beside it is no score."""
    nodes: Nodes = [
        *PICK,
        ("Neg", ["score"], ["other"]),
        ("Concat", ["other", "score"], ["probabilities"], {"axis": 1}),
        ("ArgMax", ["probabilities"], ["label"], {"axis": 1, "keepdims": 0}),
    ]
    outputs: Any = [("label", "INT64", ["n"]), ("probabilities", "FLOAT", ["n", 2])]
    assert ranker(graph(nodes, *outputs)).rank(PRICES, NAMES).tolist() == [2.5, -1.5]


def test_a_flat_output_will_do() -> None:
    """A score per row needs no second dimension."""
    nodes: Nodes = [("ReduceMax", ["x"], ["score"], {"axes": [1], "keepdims": 0})]
    model = onnx_graph(nodes, {}, [("score", "FLOAT", ["n"])], opset=17)
    assert ranker(model).rank(PRICES, NAMES).tolist() == [5.0, 0.0]


def test_the_output_is_chosen_by_name_where_there_are_two() -> None:
    """Of two outputs of floats the bundle names one; none is taken by guess."""
    both = graph([*PICK, ("Neg", ["score"], ["cost"])], ("score", "FLOAT", ["n", 1]), ("cost", "FLOAT", ["n", 1]))
    assert ranker(both, output="cost").rank(PRICES, NAMES).tolist() == [-2.5, 1.5]
    for output in (None, "price"):
        with pytest.raises(BundleError, match="'output' must name one"):
            ranker(both, output=output)


@pytest.mark.parametrize(
    ("rest", "outputs", "says"),
    [
        ({"shape": ("n", 4)}, [], "must be one, float or double"),
        ({"shape": (1, 5)}, [], "any number of rows"),
        ({"shape": ("n",)}, [], "any number of rows"),
        ({"of": "INT64"}, [("score", "INT64", ["n", 1])], r"tensor\(int64\)"),
        ({}, [("score", "FLOAT", ["n", 3])], r"must be \[n\], \[n, 1\] or \[n, 2\]"),
    ],
    ids=["width", "one row only", "one dimension", "integers", "three columns"],
)
def test_another_shape_is_refused(rest: dict[str, Any], outputs: list[Any], says: str) -> None:
    """A graph that reads or gives something else is found at load, before any call."""
    columns = outputs[0][2][1] if outputs else 1
    of = {"INT64": np.int64}.get(rest.get("of", ""), np.float32)
    shape = rest.get("shape", ("n", 5))
    constants = {"w": np.zeros((shape[-1] if isinstance(shape[-1], int) else 5, columns), of)}
    if shape == ("n",):
        made = onnx_graph([("Neg", ["x"], ["score"])], {}, [("score", "FLOAT", ["n"])], **rest)
    else:
        rows = shape[0]
        made = onnx_graph(PICK, constants, outputs or [("score", "FLOAT", [rows, 1])], **rest)
    with pytest.raises(BundleError, match=says):
        ranker(made)


def test_a_graph_whose_output_shows_at_run_time_is_an_error_then() -> None:
    """Where the graph does not tell its shape, scores of another shape are not taken for scores."""
    turned: Nodes = [*PICK, ("Transpose", ["score"], ["turned"])]
    with pytest.raises(RankerError, match="it must be"):
        ranker(graph(turned, ("turned", "FLOAT", ["a", "b"]))).rank(np.vstack([PRICES, PRICES]), NAMES)


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08\x09"], ids=repr)
def test_bytes_that_are_no_graph_are_refused(data: bytes) -> None:
    """ONNX Runtime's complaint is in the line, not on the terminal."""
    graph(PICK)  # skips where the packages are missing
    with pytest.raises(BundleError, match=r"model.onnx: ONNX Runtime does not load it: "):
        ranker(data)


def test_features_and_fillings_that_do_not_fit_are_refused() -> None:
    """Vectors are no columns of numbers, and there is one number per feature to fill in."""
    with pytest.raises(BundleError, match="an ONNX model takes numbers"):
        Example(OnnxModel(graph(PICK)), VECTORS).ranker()
    with pytest.raises(BundleError, match="4 numbers in 'missing'"):
        ranker(graph(PICK), missing=MEANS[:4])


def test_a_session_starts_no_threads() -> None:
    """Each worker has one core: a pool of threads per model would only get in its way."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        missing("a system that lists the threads of a process")
    example = Example(onnx_trees())
    before = len(list(tasks.iterdir()))
    kept = example.ranker()  # for its threads would end with it
    kept.rank(example.rows(2_000), NAMES)
    assert len(list(tasks.iterdir())) <= before


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a ranker of a graph needs onnxruntime; where that is missing, one line says how to get it."""
    for name in ("onnx_runtime", "onnx_ranker"):
        monkeypatch.delitem(sys.modules, f"recsvc.recommend.ranking.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert len(Example(linear()).ranker().rank(PRICES, NAMES)) == 2
    with pytest.raises(ConfigError, match=r"needs onnxruntime, which is not installed: pip install 'recsvc\[onnx\]'"):
        ranker(b"")
