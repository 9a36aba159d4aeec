"""The kinds of models that a bundle can hold: what each keeps in files, and the ranker that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from recsvc.recommend.ranking.dot_product import DotProductModel
from recsvc.recommend.ranking.errors import BundleError
from recsvc.recommend.ranking.linear import LinearModel
from recsvc.recommend.ranking.manifest import ModelKind
from recsvc.recommend.ranking.onnx_model import OnnxModel

Model = DotProductModel | LinearModel | OnnxModel


def kind_of(model: Model) -> ModelKind:
    """Return the kind of a model."""
    match model:
        case DotProductModel():
            return ModelKind.DOT_PRODUCT
        case LinearModel(logistic=logistic):
            return ModelKind.LOGISTIC if logistic else ModelKind.LINEAR
        case OnnxModel():
            return ModelKind.ONNX
        case _:
            assert_never(model)


def read_model(kind: ModelKind, files: Mapping[str, bytes]) -> Model:
    """Return the model that the files of a bundle hold; raises BundleError."""
    match kind:
        case ModelKind.DOT_PRODUCT:
            if files:
                raise BundleError(f"manifest.json lists the files {sorted(files)}; a dot product has none")
            return DotProductModel()
        case ModelKind.LINEAR | ModelKind.LOGISTIC:
            return LinearModel.from_files(files, logistic=kind is ModelKind.LOGISTIC)
        case ModelKind.ONNX:
            return OnnxModel.from_files(files)
        case _:
            assert_never(kind)
