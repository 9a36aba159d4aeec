"""What is known of a model without its weights: its name and version, and which features it reads in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from recsvc.recommend.ranking.errors import RankerError
from recsvc.registry.registry import Registry
from recsvc.registry.types import FeatureType, Kind

Floats = npt.NDArray[np.float64]
SCALARS: Final = frozenset({Kind.INT64, Kind.FLOAT64, Kind.FLOAT32, Kind.BOOL, Kind.TIMESTAMP})
"""The types whose values are one number each."""


def width(of: FeatureType) -> int:
    """Return how many columns of a matrix a feature takes: one per component of a VECTOR, one for a single value."""
    return of.bound if of.kind is Kind.VECTOR else 1


@dataclass(frozen=True, slots=True)
class ModelFeature:
    """One input of a model: a feature as its service names it, and its type."""

    name: str
    type: FeatureType


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model's name and version, the feature service that it was trained on, and the features in the model's order."""

    name: str
    version: str
    service: str
    features: tuple[ModelFeature, ...]
    names: tuple[str, ...] = field(init=False, repr=False)
    width: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(f.name for f in self.features))
        object.__setattr__(self, "width", sum(width(f.type) for f in self.features))

    def check(self, matrix: Floats, names: Sequence[str]) -> None:
        """Raise RankerError where ``matrix`` or the ``names`` of its features are not the model's."""
        if tuple(names) != self.names:
            raise RankerError(f"ranker {self.name}: {_difference(self.names, names)}")
        if matrix.ndim != 2 or matrix.shape[1] != self.width:  # noqa: PLR2004  # rows and columns
            raise RankerError(f"ranker {self.name}: a matrix of {matrix.shape}, it must be (rows, {self.width})")


def _difference(wanted: Sequence[str], given: Sequence[str]) -> str:
    """Say where two lists of names differ first."""
    for place, (right, wrong) in enumerate(zip(wanted, given, strict=False)):
        if right != wrong:
            return f"feature {place} is {wrong!r}, it must be {right!r}"
    return f"{len(given)} features, there must be {len(wanted)}"


def service_features(registry: Registry, service: str) -> tuple[ModelFeature, ...]:
    """Return the features that a service gives, in its order; raises UnknownNameError."""
    plan = registry.service_plan(service)
    return tuple(ModelFeature(name, plan.slots[slot].type) for name, slot in plan.outputs)
