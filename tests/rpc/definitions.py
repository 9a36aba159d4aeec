"""Definitions for the tests of the gRPC face: every type, every kind of key, and functions that fail when told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    INT64_LIST,
    STRING,
    STRING_LIST,
    TIMESTAMP,
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

SECRET: Final = "hunter2-in-/etc/secret/path"
"""What an exception says that no caller may read."""
JOINED: Final = datetime(2020, 1, 1, tzinfo=UTC)
MANY: Final = 60
"""Features of the views that are wide on purpose."""

user = Entity("user", "user_id", INT64)
item = Entity("item", "item_id", STRING, spread=4)

profile = FeatureView(
    "profile",
    [user],
    [
        Feature("age", INT64, default=-1),
        Feature("score", FLOAT64, default=0.5),
        Feature("ratio", FLOAT32),
        Feature("active", BOOL, default=True),
        Feature("city", STRING[32], default="nowhere"),
        Feature("joined", TIMESTAMP, default=JOINED),
        Feature("taste", VECTOR[3], default=[1.0, 2.0, 3.0]),
        Feature("recent", INT64_LIST[4], default=[7]),
        Feature("tags", STRING_LIST[3, 16], default=["new", "é"]),
    ],
)
clicks = FeatureView(
    "clicks", [user], [Feature("today", INT64, default=0), Feature("rate", FLOAT64)], freshness=timedelta(hours=1)
)
film_1 = FeatureView("film", [item], [Feature("year", INT64, default=1900), Feature("title", STRING[64])])
film_2 = FeatureView("film", [item], [Feature("year", FLOAT64, default=1900.5)], version=2)
rated = FeatureView("rated", [user, item], [Feature("rating", FLOAT64, default=0.0)])
wide = [FeatureView(f"wide_{i}", [user], [Feature(f"f{j}", FLOAT64) for j in range(MANY)]) for i in range(12)]
bulky = FeatureView("bulky", [item], [Feature("text", STRING[60_000], default="")])

fields = [
    RequestField("offset", INT64),
    RequestField("weight", FLOAT64),
    RequestField("small", FLOAT32),
    RequestField("flag", BOOL),
    RequestField("query", STRING[16]),
    RequestField("at", TIMESTAMP),
    RequestField("embedding", VECTOR[2]),
    RequestField("seen", INT64_LIST[3]),
    RequestField("words", STRING_LIST[2, 8]),
    RequestField("fault", STRING[16]),
]


def _sum(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    total: npt.NDArray[Any] = a + b
    return total


def _faulty(fault: npt.NDArray[Any]) -> Any:  # noqa: ANN401  # that it may be anything is the point
    n = len(fault)
    match fault[0] if n else "none":
        case "raise":
            raise RuntimeError(SECRET)
        case "shape":
            return np.zeros(n + 1)
        case "dtype":
            return np.array(["x"] * n)
        case "list":
            return [0.0] * n
        case "write":
            fault[0] = "written"
    return np.full(n, 0.25)


live = OnDemandView(
    "live",
    [
        OnDemandFeature("age_plus", INT64, {"a": "profile:age", "b": "request:offset"}, _sum, default=-9),
        OnDemandFeature("ratio_plus", FLOAT64, {"a": "profile:ratio", "b": "request:weight"}, _sum),
        OnDemandFeature("plus_plus", FLOAT64, {"a": "live:age_plus", "b": "request:weight"}, _sum, default=-9.5),
        OnDemandFeature("pair", FLOAT64, {"a": "rated:rating", "b": "film:year"}, _sum),
        OnDemandFeature("faulty", FLOAT64, {"fault": "request:fault"}, _faulty, default=9.0),
        OnDemandFeature("faulty_bare", FLOAT64, {"fault": "request:fault"}, _faulty),
    ],
)

registry = Registry(
    views=[profile, clicks, film_1, film_2, rated, bulky, *wide],
    on_demand=[live],
    services=[
        FeatureService("ranking", ["profile:age", "film", "rated:rating", "live:age_plus"]),
        FeatureService("pinned", ["film@v1:year", "film@v2:year"]),
    ],
    request=fields,
    active={"film": 1},
)
