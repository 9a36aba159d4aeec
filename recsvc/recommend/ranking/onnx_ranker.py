"""Gradient-boosted trees, or any model that can be exported to ONNX, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.recommend.ranking.card import Floats, ModelCard
from recsvc.recommend.ranking.errors import BundleError, RankerError
from recsvc.recommend.ranking.onnx_model import MODEL, OnnxModel
from recsvc.recommend.ranking.onnx_runtime import ERRORS, session
from recsvc.recommend.ranking.ranker import Contributions, Explains

FLOATS: Final[dict[str, type[np.floating[Any]]]] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
CLASSES: Final = 2


class OnnxRanker:
    """Scores rows by an OnnxModel.

    The graph has one input of rows × features, float or double, with any number of rows. Its output is a score per
    row, [n] or [n, 1], or the probabilities of two classes, [n, 2], of which the second counts.

    Raises BundleError where the graph cannot be loaded or is another.
    """

    explains: Final = Explains.NOTHING
    is_quick: Final = False

    def __init__(self, card: ModelCard, model: OnnxModel) -> None:
        try:
            self._session = session(model.graph)
        except ERRORS as error:
            first = str(error).partition("\n")[0]
            raise BundleError(f"{MODEL}: ONNX Runtime does not load it: {first}") from None
        self._card = card
        self._input, self._dtype = _input_of(self._session.get_inputs(), card.width)
        self._output = _output_of(self._session.get_outputs(), model.output)
        self._missing = None if model.missing is None else np.array(model.missing)
        self.name = card.name
        self.version = card.version
        self.service = card.service

    def __repr__(self) -> str:
        return f"OnnxRanker({self.name} {self.version}, {self._card.width} features to {self._output!r})"

    def rank(self, matrix: Floats, names: Sequence[str]) -> Floats:
        """See Ranker.rank. The graph may read float32: timestamps then have a grain of about two minutes."""
        self._card.check(matrix, names)
        if not len(matrix):
            return np.empty(0)
        (found,) = self._session.run([self._output], {self._input: self._converted(matrix)})
        return self._scores(np.asarray(found), len(matrix))

    def contributions(self, matrix: Floats, names: Sequence[str]) -> Contributions | None:
        """See Ranker.contributions: none of a graph would be exact."""
        self._card.check(matrix, names)
        return None

    def _converted(self, matrix: Floats) -> npt.NDArray[np.floating[Any]]:
        filled = matrix if self._missing is None else np.where(np.isnan(matrix), self._missing, matrix)
        with np.errstate(over="ignore"):  # beyond float32 lies infinity, which trees can place
            return np.ascontiguousarray(filled, self._dtype)

    def _scores(self, found: npt.NDArray[Any], rows: int) -> Floats:
        if found.shape == (rows,):
            return found.astype(np.float64)
        if found.shape in ((rows, 1), (rows, CLASSES)):
            return found[:, -1].astype(np.float64)
        raise RankerError(f"ranker {self.name}: {self._output!r} is {found.shape}; it must be {_SHAPES} of {rows} rows")


_SHAPES: Final = "[n], [n, 1] or [n, 2]"


def _input_of(inputs: Sequence[Any], width: int) -> tuple[str, type[np.floating[Any]]]:
    """Return the name and the type of the one input."""
    right = f"there must be one, float or double [any number of rows, {width}]"
    if len(inputs) != 1:
        raise BundleError(f"{MODEL}: {len(inputs)} inputs; {right}")
    found = inputs[0]
    rows, columns = found.shape if len(found.shape) == 2 else (0, 0)  # noqa: PLR2004  # rows and columns
    if found.type not in FLOATS or isinstance(rows, int) or (isinstance(columns, int) and columns != width):
        raise BundleError(f"{MODEL}: its input {found.name!r} is {found.type} {found.shape}; {right}")
    return found.name, FLOATS[found.type]


def _output_of(outputs: Sequence[Any], wanted: str | None) -> str:
    """Return the name of the output that has the scores: the ``wanted`` one, or the only one of floats."""
    listed = ", ".join(f"{o.name!r} {o.type}" for o in outputs)
    chosen = [o for o in outputs if o.type in FLOATS and wanted in (None, o.name)]
    if len(chosen) != 1:
        right = "'output' must name one of float or double" if wanted or chosen else "one must be of float or double"
        raise BundleError(f"{MODEL}: its outputs are {listed}; {right}")
    shape = chosen[0].shape
    if len(shape) > 2 or (len(shape) == 2 and isinstance(shape[1], int) and not 1 <= shape[1] <= CLASSES):  # noqa: PLR2004  # rows and columns
        raise BundleError(f"{MODEL}: its output {chosen[0].name!r} is {shape}; it must be {_SHAPES}")
    name: str = chosen[0].name
    return name
