"""Definitions of the shop with placements of which one source has little time, and some for other faults."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from recsvc import Diversity, Placement, WhenStale
from tests.rpc import shop_definitions as shop

HASTY: Final = timedelta(milliseconds=30)
SOURCES: Final = (shop.NEAREST, shop.SEEDS, shop.RECENT, shop.POPULAR, shop.NEWEST)
SEEN: Final = {"seen": ["taste:owned"], "seen_pairs": ["met:seen"]}


def hasty(name: str) -> Placement:
    """Return a placement whose source ``name`` has little time, and all others enough."""
    sources = [replace(s, timeout=HASTY) if s.name == name else s for s in SOURCES]
    return Placement(f"hasty_{name}", "shop", sources, user=shop.user, **SEEN)  # type: ignore[arg-type]  # as named


registry = shop.made(
    placements=[
        *shop.placements,
        *(hasty(source.name) for source in SOURCES),
        Placement("various", "shop", [shop.POPULAR], user=shop.user, diversity=Diversity("looks", 0.5, shop.PATIENT)),
        Placement("few", "shop", [replace(shop.POPULAR, candidates=40)], candidates=20, limit=2),
        Placement(
            "careless", "shop", [shop.POPULAR], stale_after=timedelta(milliseconds=1), when_stale=WhenStale.SERVE
        ),
    ]
)
