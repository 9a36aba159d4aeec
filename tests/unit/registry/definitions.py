"""Definitions that tests of the registry build on: small, right, and easy to spoil."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc import (
    FLOAT64,
    INT64,
    STRING,
    VECTOR,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    Registry,
    RequestField,
)
from recsvc.errors import DefinitionError

Array = npt.NDArray[Any]
USER = Entity("user", "user_id", INT64)
ITEM = Entity("item", "item_id", spread=32)
HOUR = timedelta(hours=1)


def difference(a: Array, b: Array) -> Array:
    """Return a - b."""
    return np.asarray(a - b)


def double(a: Array) -> Array:
    """Return 2 a."""
    return np.asarray(a * 2)


def profile(*features: Feature, version: int = 1, **options: Any) -> FeatureView:  # noqa: ANN401  # any of FeatureView's
    """Return the view profile of users, by default with age, name and taste."""
    usual = (Feature("age", INT64, 0), Feature("name", STRING[32]), Feature("taste", VECTOR[2], [0.0, 0.0]))
    return FeatureView("profile", [USER], features or usual, version=version, **options)


def computed(name: str, *, version: int = 1, function: Any = double, **inputs: str) -> OnDemandView:  # noqa: ANN401  # right and wrong functions
    """Return an on-demand view of one feature, x."""
    return OnDemandView(name, [OnDemandFeature("x", FLOAT64, inputs, function)], version=version)


def problems(**definitions: Any) -> list[str]:  # noqa: ANN401  # whatever a user may write
    """Return the lines that a registry of these definitions is refused with; none where it is right."""
    try:
        Registry(**definitions)
    except DefinitionError as error:
        return list(error.problems)
    return []


def registry(**changes: Any) -> Registry:  # noqa: ANN401  # any of Registry's
    """Return a registry with views of both kinds, two versions, request context and services."""
    definitions: dict[str, Any] = {
        "views": [
            profile(freshness=HOUR),
            profile(Feature("age", FLOAT64, 0.0), version=2),
            FeatureView("film", [ITEM], [Feature("mean", FLOAT64, 3.0), Feature("year", INT64)]),
            FeatureView("rated", [USER, ITEM], [Feature("stars", FLOAT64)]),
        ],
        "on_demand": [
            OnDemandView(
                "live",
                [
                    OnDemandFeature("gap", FLOAT64, {"a": "film:mean", "b": "profile:age"}, difference, 0.0),
                    OnDemandFeature("idle", FLOAT64, {"a": "request:now", "b": "live:gap"}, difference),
                    OnDemandFeature("hour", FLOAT64, {"a": "request:now"}, double),
                ],
            )
        ],
        "request": [RequestField("now", FLOAT64), RequestField("device", STRING[8])],
        "services": [FeatureService("model", ["rated:stars", "film", "live:idle", "profile@v2:age"])],
        "active": {"profile": 1},
    }
    return Registry(**(definitions | changes))
