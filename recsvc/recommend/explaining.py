"""Why an item is in a slate, as codes with what they speak of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsvc.recommend.asked import Reason, ReasonCode
from recsvc.recommend.candidates import Found
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.merge import Origin
from recsvc.recommend.slate_rules import Standing
from recsvc.registry.model import Sensitivity
from recsvc.registry.placement import Nearest, Newest, Placement, Popular, SimilarToRecent, SimilarToSeeds
from recsvc.registry.reference import parse
from recsvc.registry.registry import Registry

_CODES = {
    Nearest: ReasonCode.SIMILAR_TO_TASTE,
    SimilarToSeeds: ReasonCode.SIMILAR_TO_SEED,
    SimilarToRecent: ReasonCode.SIMILAR_TO_RECENT,
    Popular: ReasonCode.POPULAR,
    Newest: ReasonCode.NEW,
}


class Explainer:
    """Explains the items of one slate."""

    def __init__(self, catalogue: Catalogue, placement: Placement, found: Sequence[Found]) -> None:
        self._catalogue = catalogue
        self._sources = {source.name: source for source in placement.sources}
        self._found = {f.candidates.source: f for f in found}

    def __repr__(self) -> str:
        return f"Explainer({list(self._sources)})"

    def reasons(
        self, place: int, origins: Sequence[Origin], standing: int, *, boosted: bool = False
    ) -> tuple[Reason, ...]:
        """Return the reasons for an item: a pin or a boost, then the sources, the one that ranked it highest first."""
        first = () if standing != Standing.PINNED else (Reason(ReasonCode.PINNED),)
        if boosted and standing == Standing.RANKED:
            first = (Reason(ReasonCode.BOOSTED),)
        if standing == Standing.FILLED and not origins:
            return (Reason(ReasonCode.FILLED),)
        return (*first, *(self._reason(place, origin) for origin in sorted(origins, key=lambda o: o.rank)))

    def _reason(self, place: int, origin: Origin) -> Reason:
        source = self._sources[origin.source]
        found = self._found[origin.source]
        like = found.like.get(place)
        item = "" if like is None else self._catalogue.id_texts(np.array([like]))[0]
        category = None
        if found.by_category:
            category = self._catalogue.category_name(int(self._catalogue.categories(np.array([place]))[0]))
        return Reason(_CODES[type(source)], item, category or "")


def is_sensitive(registry: Registry, reference: str) -> bool:
    """Say whether a feature must stay out of explanations."""
    named = parse(reference)
    if named is None:
        return True
    key = named.view, named.version or registry.active.get(named.view, 0)
    view = registry.views.get(key) or registry.on_demand.get(key)
    features = {} if view is None else {f.name: f.sensitivity for f in view.features}
    return features.get(named.feature or "", Sensitivity.PUBLIC) is Sensitivity.SENSITIVE
