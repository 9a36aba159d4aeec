"""Variants of the demo's home page that `recsvc evaluate` compares: without one of its parts, and with rankers.

Not part of the demo itself: a server that has them without their models says so in every reply.
"""

from dataclasses import replace
from typing import Final

from recsvc import Popular, Registry
from recsvc.demo.placements import HOME, RETRIEVAL
from recsvc.demo.placements import registry as demo
from recsvc.registry.placement import CandidateSource

LINEAR: Final = "home_linear"
TREES: Final = "home_trees"
"""Placements with a ranker, and the names of their models."""
CANDIDATES: Final = "candidates"
"""The placement whose slates rankers are trained on: all that `home` finds, in the order it is found."""

PLAIN = replace(HOME, name=CANDIDATES, cap=None, diversity=None, service="home_ranking")


def _drawn_whole(source: CandidateSource) -> CandidateSource:
    """Return a source that gives all of its pool of popular items, and leaves nothing to chance."""
    return replace(source, candidates=source.pool) if isinstance(source, Popular) else source


VARIANTS = [
    PLAIN,
    replace(HOME, name="home_without_diversity", diversity=None),
    replace(HOME, name="home_without_cap", cap=None),
    replace(HOME, name="home_without_popular", sources=[s for s in HOME.sources if not isinstance(s, Popular)]),
    replace(HOME, name="home_without_drawing", sources=[_drawn_whole(s) for s in HOME.sources]),
    replace(HOME, name="home_without_taste", sources=[s for s in HOME.sources if s.name != "taste"]),
    replace(HOME, name="home_without_recent", sources=[s for s in HOME.sources if s.name != "recent"]),
    replace(PLAIN, name=LINEAR, ranker=LINEAR),
    replace(PLAIN, name=TREES, ranker=TREES),
]

registry = Registry(
    views=demo.definitions.views,
    on_demand=demo.definitions.on_demand,
    services=demo.definitions.services,
    request=demo.definitions.request,
    catalogues=demo.definitions.catalogues,
    placements=[HOME, RETRIEVAL, *VARIANTS],
)
