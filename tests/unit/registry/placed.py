"""Catalogues and placements that tests of the registry build on: small, right, and easy to spoil."""

from __future__ import annotations

from typing import Any

from recsvc import (
    BOOL,
    FLOAT64,
    INT64,
    INT64_LIST,
    STRING,
    STRING_LIST,
    TIMESTAMP,
    VECTOR,
    Catalogue,
    Diversity,
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
from tests.unit.registry.definitions import ITEM, USER, double, problems

GUEST = Entity("guest", "guest_id")
VIEWS = [
    FeatureView(
        "taste",
        [USER],
        [
            Feature("likes", VECTOR[2]),
            Feature("recent", STRING_LIST[5, 8]),
            Feature("age", INT64),
            Feature("numbers", INT64_LIST[5]),
        ],
    ),
    FeatureView(
        "film",
        [ITEM],
        [
            Feature("pop", FLOAT64),
            Feature("year", INT64),
            Feature("out", TIMESTAMP),
            Feature("open", BOOL),
            Feature("title", STRING[8]),
            Feature("genres", STRING_LIST[4, 8]),
            Feature("tags", INT64_LIST[4]),
            Feature("look", VECTOR[2]),
        ],
        mirrored=True,
    ),
    FeatureView("slow", [ITEM], [Feature("pop", FLOAT64)]),
    FeatureView("rated", [USER, ITEM], [Feature("rated", BOOL), Feature("stars", FLOAT64)]),
    FeatureView("visits", [GUEST], [Feature("n", INT64)]),
]
LIVE = OnDemandView(
    "live",
    [
        OnDemandFeature("n", FLOAT64, {"a": "visits:n"}, double),
        OnDemandFeature("twice", FLOAT64, {"a": "live:n"}, double),
        OnDemandFeature("age", FLOAT64, {"a": "taste:age"}, double),
    ],
)
SERVICES = [
    FeatureService("model", ["film", "taste:age", "rated:stars", "live:age"]),
    FeatureService("visitors", ["film:pop", "live:twice"]),
]
NEAREST = Nearest("near", "films", "taste:likes")
POPULAR = Popular("pop")


def catalogue(name: str = "films", **changes: Any) -> Catalogue:  # noqa: ANN401  # any of Catalogue's, right or wrong
    """Return a catalogue of films with everything that one can have."""
    usual: dict[str, Any] = {
        "item": ITEM,
        "popularity": "film:pop",
        "available": "film:open",
        "created_at": "film:out",
        "category": "film:genres",
        "filterable": ["film:year", "film:title", "film:genres", "film:tags"],
    }
    return Catalogue(name, **(usual | changes))


def placement(name: str = "home", **changes: Any) -> Placement:  # noqa: ANN401  # any of Placement's, right or wrong
    """Return a placement of films for users with everything but filters, pins and experiments."""
    usual: dict[str, Any] = {
        "catalogue": "films",
        "sources": [NEAREST, POPULAR],
        "user": USER,
        "service": "model",
        "seen": ["taste:recent"],
        "seen_pairs": ["rated:rated"],
        "cap": 3,
        "diversity": Diversity("films"),
    }
    return Placement(name, **(usual | changes))


def _definitions(placements: Any, films: Any, changes: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # right and wrong
    return {
        "views": VIEWS,
        "on_demand": [LIVE],
        "services": SERVICES,
        "catalogues": [films or catalogue()],
        "placements": placements or [placement()],
    } | changes


def placed(*placements: Placement, films: Catalogue | None = None, **changes: Any) -> Registry:  # noqa: ANN401  # any of Registry's
    """Return a registry with these placements of one catalogue; by default with a right one."""
    return Registry(**_definitions(placements, films, changes))


def told(*placements: object, films: object = None, **changes: Any) -> list[str]:  # noqa: ANN401  # any of Registry's
    """Return the lines that such a registry is refused with; none where it is right."""
    return problems(**_definitions(placements, films, changes))
