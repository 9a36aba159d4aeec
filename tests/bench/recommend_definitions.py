"""What the benchmarks of Recommend serve: items with 20 features for the model, users with an embedding of 64 numbers.

`recsvc serve tests/bench/recommend_definitions.py` loads this file, so it stands alone. Of each placement there are
two: `…_unit` over unit vectors, `…_norms` over vectors of log-normal norms.
"""

from __future__ import annotations

from datetime import timedelta

from recsvc import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    VECTOR,
    Catalogue,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    Nearest,
    Placement,
    Registry,
)

WIDTH = 20
DIMENSION = 64
CANDIDATES = 500
KINDS = ("unit", "norms")
PATIENT = timedelta(seconds=20)
"""What a source may take where it is not to be late: saturation is measured with slates that are whole."""

ITEM = Entity("item", "item_id", INT64, spread=64)
USER = Entity("user", "user_id", INT64)

GOODS = FeatureView(
    "goods",
    [ITEM],
    [
        Feature("popularity", FLOAT64),
        Feature("available", BOOL),
        Feature("draw", FLOAT64, description="A random number from 0 to 1, for filters that let a share pass."),
        Feature("cluster", INT64, description="Where its vector was drawn, for filters that go with the vectors."),
    ],
    mirrored=True,
)
STATS = FeatureView("stats", [ITEM], [Feature(f"f{number:02}", FLOAT32) for number in range(WIDTH)])
TASTE = FeatureView("taste", [USER], [Feature("embedding", VECTOR[DIMENSION])])

SHOP = Catalogue(
    "shop",
    item=ITEM,
    popularity="goods:popularity",
    available="goods:available",
    filterable=["goods:draw", "goods:cluster"],
)


def placement(name: str, kind: str, timeout: timedelta = timedelta(milliseconds=50)) -> Placement:
    """Return a placement that ranks the nearest of a user by the linear model."""
    nearest = Nearest("nearest", index=kind, query="taste:embedding", candidates=CANDIDATES, timeout=timeout)
    return Placement(
        f"{name}_{kind}",
        catalogue="shop",
        sources=[nearest],
        user=USER,
        candidates=CANDIDATES,
        service="ranking",
        ranker="linear",
    )


registry = Registry(
    views=[GOODS, STATS, TASTE],
    services=[FeatureService("ranking", [f"stats:f{number:02}" for number in range(WIDTH)])],
    catalogues=[SHOP],
    placements=[
        *(placement("home", kind) for kind in KINDS),
        *(placement("patient", kind, PATIENT) for kind in KINDS),
    ],
)
