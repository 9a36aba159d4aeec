"""Definitions for the drill on slates: a shop whose placements have, taken together, all that a placement can have."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from recsvc import (
    BOOL,
    FLOAT64,
    INT64,
    STRING,
    STRING_LIST,
    TIMESTAMP,
    VECTOR,
    Catalogue,
    Condition,
    Diversity,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    Nearest,
    Newest,
    Pin,
    Placement,
    Popular,
    Range,
    Registry,
    SimilarToRecent,
    SimilarToSeeds,
)

DIMENSION: Final = 16
INDEX: Final = "looks"
RANKER: Final = "linear"
SERVICE: Final = "ranking"
PINS: Final = {"i7": 2, "i11": 5, "i13": 9}
"""Pinned items with their positions."""
CHEAP: Final = 60.0
LONGEST: Final = 200
"""How many items a list of a user can have."""
BUDGET: Final = timedelta(milliseconds=100)

user = Entity("user", "user_id", INT64)
item = Entity("item", "item_id", STRING)

goods = FeatureView(
    "goods",
    [item],
    [
        Feature("available", BOOL),
        Feature("category", STRING[16]),
        Feature("created_at", TIMESTAMP),
        Feature("price", FLOAT64),
        Feature("tags", STRING_LIST[4, 16]),
        Feature("fragile", BOOL),
    ],
    mirrored=True,
)
trend = FeatureView("trend", [item], [Feature("popularity", FLOAT64)], mirrored=True)
taste = FeatureView(
    "taste",
    [user],
    [
        Feature("embedding", VECTOR[DIMENSION]),
        Feature("recent", STRING_LIST[LONGEST, 16]),
        Feature("owned", STRING_LIST[LONGEST, 16]),
        Feature("age", INT64, default=30),
    ],
)
met = FeatureView("met", [user, item], [Feature("seen", BOOL)])

shop = Catalogue(
    "shop",
    item=item,
    popularity="trend:popularity",
    available="goods:available",
    created_at="goods:created_at",
    category="goods:category",
    filterable=[f"goods:{name}" for name in ("category", "price", "tags", "fragile")],
)

NEAR: Final = Nearest("near", INDEX, query="taste:embedding", quota=2, timeout=BUDGET)
SEEDS: Final = SimilarToSeeds("seeds", INDEX, weight=2.0, timeout=BUDGET)
RECENT: Final = SimilarToRecent("recent", INDEX, recent="taste:recent", last=5, timeout=BUDGET)
POPULAR: Final = Popular("popular", quota=2, timeout=BUDGET)
NEWEST: Final = Newest("newest", timeout=BUDGET)
SOURCES: Final = (NEAR, SEEDS, RECENT, POPULAR, NEWEST)

_pins = [Pin(name, position) for name, position in PINS.items()]
_ranked: dict[str, Any] = {"user": user, "service": SERVICE, "ranker": RANKER}
_seen: dict[str, Any] = {"seen": ["taste:owned"], "seen_pairs": ["met:seen"]}
placements = [
    Placement("home", "shop", SOURCES, **_ranked, **_seen, pins=_pins),
    Placement("varied", "shop", [NEAR, RECENT, POPULAR], **_ranked, **_seen, diversity=Diversity(INDEX, 0.4), cap=20),
    Placement("pinned", "shop", [POPULAR, NEWEST], user=user, **_seen, pins=_pins, cap=3),
    Placement("cheap", "shop", [SEEDS, POPULAR], filters=[Condition("goods:price", Range(max=CHEAP))]),
    Placement("open", "shop", [NEAR, SEEDS], **_ranked, allow_seen=True),
]
registry = Registry(
    views=[goods, trend, taste, met],
    services=[FeatureService(SERVICE, ["trend:popularity", "goods:price", "taste:age"])],
    catalogues=[shop],
    placements=placements,
)
