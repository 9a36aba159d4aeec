"""Which entities features depend on, before there is a registry that could plan their reading."""

from __future__ import annotations

from collections.abc import Iterable

from recsvc.registry.model import Definitions, FeatureView
from recsvc.registry.reference import parse


def entities_of(references: Iterable[str], definitions: Definitions) -> frozenset[str]:
    """Return the names of the entities whose ids a call must give to read features; what is not defined adds none."""
    views = {(v.name, v.version): v for v in definitions.all_views}
    active = dict(views.keys()) | dict(definitions.active)
    found: set[str] = set()
    to_do, done = list(references), set[str]()
    while to_do:
        text = to_do.pop()
        reference = None if text in done else parse(text)
        done.add(text)
        if reference is None:
            continue
        view = views.get((reference.view, reference.version or active.get(reference.view, 0)))
        if isinstance(view, FeatureView):
            found.update(entity.name for entity in view.entities)
        elif view is not None:
            inputs = (f.inputs.values() for f in view.features if reference.feature in (None, f.name))
            to_do += [text for given in inputs for text in given]
    return frozenset(found)
