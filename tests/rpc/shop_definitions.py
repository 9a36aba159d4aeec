"""Definitions for the tests of Recommend: a small shop, and a placement for each thing that a placement can do."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from recsvc import (
    BOOL,
    FLOAT64,
    INT64,
    STRING,
    STRING_LIST,
    TIMESTAMP,
    VECTOR,
    AnyOf,
    Boost,
    Catalogue,
    Condition,
    Diversity,
    Entity,
    Experiment,
    Feature,
    FeatureService,
    FeatureView,
    IsTrue,
    MeanOfRecent,
    Nearest,
    Newest,
    Pin,
    Placement,
    Popular,
    Range,
    Registry,
    RequestField,
    Sensitivity,
    SimilarToRecent,
    SimilarToSeeds,
    Variant,
    WhenStale,
)

DIMENSION: Final = 4
PATIENT: Final = timedelta(seconds=5)
"""What a source may take: on a busy machine none is to be late."""
PINS: Final = {"i40": 2, "i41": 5}
"""Pinned items with their positions."""
CHEAP: Final = 40.0

user = Entity("user", "user_id", INT64)
item = Entity("item", "item_id", STRING, spread=4)

goods = FeatureView(
    "goods",
    [item],
    [
        Feature("available", BOOL),
        Feature("category", STRING[16]),
        Feature("created_at", TIMESTAMP),
        Feature("price", FLOAT64),
        Feature("stock", INT64),
        Feature("tags", STRING_LIST[4, 16]),
        Feature("fragile", BOOL),
        Feature("margin", FLOAT64, sensitivity=Sensitivity.SENSITIVE),
        Feature("title", STRING[32]),
    ],
    mirrored=True,
)
trend = FeatureView("trend", [item], [Feature("popularity", FLOAT64)], mirrored=True)
taste = FeatureView(
    "taste",
    [user],
    [
        Feature("embedding", VECTOR[DIMENSION]),
        Feature("recent", STRING_LIST[8, 16]),
        Feature("owned", STRING_LIST[60, 16]),
        Feature("age", INT64, default=30),
    ],
)
met = FeatureView("met", [user, item], [Feature("seen", BOOL), Feature("count", INT64)])

shop = Catalogue(
    "shop",
    item=item,
    popularity="trend:popularity",
    available="goods:available",
    created_at="goods:created_at",
    category="goods:category",
    filterable=[f"goods:{name}" for name in ("category", "created_at", "price", "stock", "tags", "fragile")],
    title="goods:title",
)
NEAREST: Final = Nearest("near", index="looks", query="taste:embedding", candidates=20, timeout=PATIENT)
MEAN: Final = Nearest("mean", index="looks", query=MeanOfRecent("taste:recent", last=2), timeout=PATIENT)
SEEDS: Final = SimilarToSeeds("seeds", index="looks", weight=2.0, candidates=20, timeout=PATIENT)
LOST: Final = SimilarToSeeds("lost", index="nowhere", timeout=PATIENT)
RECENT: Final = SimilarToRecent("recent", index="looks", recent="taste:recent", candidates=20, timeout=PATIENT)
POPULAR: Final = Popular("popular", pool=40, candidates=15, timeout=PATIENT)
NEWEST: Final = Newest("newest", within=timedelta(days=10), candidates=5, timeout=PATIENT)
OF_TASTE: Final = Popular("alike", recent="taste:recent", candidates=5, timeout=PATIENT)

BOOKS: Final = Boost(Condition("goods:category", AnyOf(("book",))), 5)
FRAGILE: Final = Boost(Condition("goods:fragile", IsTrue()), -3)

tested = Experiment(
    "ranking_test", "salt", [Variant("cheap", [(0, 5_000)], "cheap"), Variant("same", [(5_000, 6_000)])]
)
needing = Experiment("hour_test", "hours", [Variant("hourly", [(0, 10_000)], "hourly")])
placements = [
    Placement(
        "home",
        "shop",
        [NEAREST, SEEDS, RECENT, POPULAR, NEWEST],
        user=user,
        service="ranking",
        ranker="linear",
        ranker_timeout=PATIENT,
        seen=["taste:owned"],
        seen_pairs=["met:seen"],
    ),
    Placement("plain", "shop", [POPULAR]),
    Placement(
        "repeating", "shop", [POPULAR], user=user, seen=["taste:owned"], seen_pairs=["met:seen"], allow_seen=True
    ),
    Placement("cheap", "shop", [POPULAR], user=user, filters=[Condition("goods:price", Range(max=CHEAP))]),
    Placement("pinned", "shop", [POPULAR], pins=[Pin(name, position) for name, position in PINS.items()]),
    Placement("misspinned", "shop", [POPULAR], pins=[Pin("nope", 1), Pin("i40", 3), Pin("nowhere", 60)]),
    Placement("boosted", "shop", [NEAREST], user=user, boosts=[BOOKS, FRAGILE]),
    Placement("capped", "shop", [POPULAR], cap=3),
    Placement("varied", "shop", [NEAREST, POPULAR], user=user, diversity=Diversity("looks", 0.5, PATIENT)),
    Placement("tested", "shop", [POPULAR], user=user, experiments=[tested]),
    Placement("unsure", "shop", [POPULAR], user=user, experiments=[needing]),
    Placement("hourly", "shop", [POPULAR], user=user, service="hourly"),
    Placement("modelless", "shop", [POPULAR], user=user, service="ranking", ranker="nowhere"),
    Placement("indexless", "shop", [LOST, POPULAR]),
    Placement("lonely", "shop", [LOST]),
    Placement(
        "modelled",
        "shop",
        [NEAREST],
        user=user,
        service="ranking",
        ranker="linear",
        ranker_timeout=PATIENT,
        seen_pairs=["met:seen"],
        limit=30,
    ),
    Placement("retrieval", "shop", [NEAREST], user=user),
    Placement("mean", "shop", [MEAN], user=user),
    Placement("alike", "shop", [OF_TASTE], user=user),
    Placement("careful", "shop", [POPULAR], stale_after=timedelta(milliseconds=1), when_stale=WhenStale.LEAVE_OUT),
]
services = [
    FeatureService("ranking", ["trend:popularity", "goods:price", "goods:margin", "goods:stock", "taste:age"]),
    FeatureService("page", ["goods:price", "goods:category", "goods:tags", "goods:created_at", "goods:fragile"]),
    FeatureService("hourly", ["goods:price", "request:hour"]),
]


def made(**changed: object) -> Registry:
    """Return the registry, with some of its parts replaced."""
    parts = {"views": [goods, trend, taste, met], "services": services, "request": [RequestField("hour", INT64)]}
    return Registry(**(parts | {"catalogues": [shop], "placements": placements} | changed))  # type: ignore[arg-type]


registry = made()
