"""Writes rankers as the bundles that servers load."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from recsvc.recommend.ranking.bundle import write_bundle
from recsvc.recommend.ranking.card import service_features
from recsvc.recommend.ranking.models import Model
from recsvc.recommend.ranking.ranker import Ranker
from recsvc.registry.registry import Registry
from recsvc.training.errors import TrainingError
from recsvc.training.examples import Examples

WARM_UP_ROWS: Final = 100


def write_ranker(  # noqa: PLR0913  # what a bundle says
    directory: Path, model: Model, examples: Examples, registry: Registry, *, name: str, service: str, version: str
) -> Ranker:
    """Write a model that was fitted to ``examples`` of a service; rows from all over them become its warm-up.

    Raises TrainingError where the examples are of other features than the service's, and BundleError.
    """
    wanted = tuple(feature.name for feature in service_features(registry, service))
    if examples.features != wanted:
        raise TrainingError(f"the examples have {examples.features}, service {service!r} gives {wanted}")
    rows = np.unique(np.linspace(0, len(examples) - 1, WARM_UP_ROWS).astype(np.intp))
    warm_up = examples.matrix[rows]
    return write_bundle(
        directory, model, name=name, version=version, service=service, registry=registry, warm_up=warm_up
    )
