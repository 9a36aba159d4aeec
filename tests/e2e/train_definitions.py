"""Definitions for the tests of `recsvc train`: embeddings, a placement that finds candidates, and some that rank."""

from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsvc import (
    BOOL,
    FLOAT64,
    INT64,
    STRING,
    VECTOR,
    Catalogue,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    Nearest,
    OnDemandFeature,
    OnDemandView,
    Placement,
    Popular,
    Registry,
)

DIMENSION = 4
PATIENT = timedelta(seconds=5)
user = Entity("user", "user_id", INT64)
item = Entity("item", "item_id", STRING, spread=4)

user_als = FeatureView("user_als", [user], [Feature("vector", VECTOR[DIMENSION])])
item_als = FeatureView("item_als", [item], [Feature("vector", VECTOR[DIMENSION])])
goods = FeatureView(
    "goods",
    [item],
    [Feature("popularity", FLOAT64), Feature("price", FLOAT64), Feature("new", BOOL), Feature("name", STRING)],
    mirrored=True,
)


def product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the inner product of each pair of rows."""
    return np.asarray(np.einsum("ij,ij->i", left, right), np.float64)


pair = OnDemandView(
    "pair", [OnDemandFeature("affinity", FLOAT64, {"left": "user_als:vector", "right": "item_als:vector"}, product)]
)
near = Nearest("near", index="als", query="user_als:vector", candidates=12, timeout=PATIENT)
popular = Popular("popular", pool=10, candidates=10, timeout=PATIENT)

_usual: Any = {
    "catalogue": "shop",
    "sources": [near, popular],
    "user": user,
    "service": "ranking",
    "ranker_timeout": PATIENT,
}
registry = Registry(
    views=[user_als, item_als, goods],
    on_demand=[pair],
    services=[
        FeatureService("ranking", ["pair:affinity", "goods:price", "goods:popularity", "goods:new"]),
        FeatureService("page", ["goods:name", "goods:price"]),
    ],
    catalogues=[Catalogue("shop", item=item, popularity="goods:popularity")],
    placements=[
        Placement("candidates", "shop", [near, popular], user=user, service="ranking"),
        Placement("retrieval", "shop", [near], user=user),
        Placement(
            "ranked", "shop", [near, popular], user=user, service="ranking", ranker="likes", ranker_timeout=PATIENT
        ),
        Placement(
            "by_trees", "shop", [near, popular], user=user, service="ranking", ranker="trees", ranker_timeout=PATIENT
        ),
        Placement("anonymous", "shop", [popular]),
    ],
)
