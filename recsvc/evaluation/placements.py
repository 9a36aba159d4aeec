"""What is compared: the demo's placements and their variants, with sources that may take their time.

Two registries of the same features: ``plain`` has no rankers, so that a server without models has nothing to miss;
``ranked`` has them all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from recsvc.demo import variants
from recsvc.registry.placement import Placement
from recsvc.registry.registry import Registry

PATIENCE: Final = timedelta(seconds=5)
"""How long a source may take here: quality is measured, not speed."""

PLAIN_SPEC: Final = "recsvc.evaluation.placements:plain"
RANKED_SPEC: Final = "recsvc.evaluation.placements:ranked"

RETRIEVAL: Final = "retrieval: k-NN alone"
FULL: Final = "full placement"
ORDER: Final = "retrieval order"
LINEAR: Final = "linear ranker"
TREES: Final = "trees ranker"

RANDOM: Final = {
    RETRIEVAL: "retrieval",
    FULL: "home",
    "… without diversity": "home_without_diversity",
    "… without the cap": "home_without_cap",
    "… without drawing": "home_without_drawing",
    "… without popular": "home_without_popular",
    "… without taste": "home_without_taste",
    "… without recent": "home_without_recent",
    "… without diversity and cap": variants.CANDIDATES,
}
"""What the random evaluation asks the server for, by the name that is shown: what each part of the page costs."""

TEMPORAL: Final = {
    RETRIEVAL: "retrieval",
    FULL: "home",
    ORDER: variants.CANDIDATES,
    LINEAR: variants.LINEAR,
    TREES: variants.TREES,
}
"""What the temporal evaluation asks for. The last three order the same candidates, without diversity and cap."""


def patient(placement: Placement) -> Placement:
    """Return a placement whose sources are waited for."""
    sources = [replace(source, timeout=PATIENCE) for source in placement.sources]
    diversity = None if placement.diversity is None else replace(placement.diversity, timeout=PATIENCE)
    return replace(placement, sources=sources, diversity=diversity, ranker_timeout=PATIENCE)


def _with(rankers: bool) -> Registry:  # noqa: FBT001  # one of two
    definitions = variants.registry.definitions
    placements = [patient(p) for p in definitions.placements if rankers or p.ranker is None]
    return Registry(
        views=definitions.views,
        on_demand=definitions.on_demand,
        services=definitions.services,
        request=definitions.request,
        catalogues=definitions.catalogues,
        placements=placements,
    )


plain = _with(rankers=False)
ranked = _with(rankers=True)
