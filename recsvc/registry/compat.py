"""What changes between two registries, and which of it breaks rows or callers that exist.

Appending features to a view breaks nothing: rows and readers agree on the prefix they share. Dropping them from its end
breaks callers alone. Everything else that moves bytes needs a new version of the view, which lives beside the old one.
Where it is known which features the stored rows have, that decides, and not what was defined before.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, TypeVar

from recsvc.errors import DefinitionError
from recsvc.registry.differences import differences, listed_difference
from recsvc.registry.fingerprint import default_text
from recsvc.registry.model import Entity, Feature, FeatureView, OnDemandView
from recsvc.registry.placement import Catalogue, Placement
from recsvc.registry.registry import Registry, ViewKey
from recsvc.registry.schema import misfit

StoredSchemas = Mapping[ViewKey, Sequence[str]]
"""The lines of the schemas that stored rows have, of views that have any."""
_T = TypeVar("_T")
_SETTINGS: Final = (
    "freshness",
    "effective_max_age",
    "effective_ttl",
    "cache",
    "stale_if_error",
    "serve_default",
    "mirrored",
)
_APPEND: Final = "features can only be appended, anything else needs a new version"


class Breaks(Enum):
    """Who is hurt by a change.

    ROWS: rows that are stored cannot be read, or not found, by what is defined then. CALLERS: what they ask for is no
    longer there, or of another type.
    """

    ROWS = "rows"
    CALLERS = "callers"


Differences = Iterator[tuple[str, Breaks | None]]
"""What differs between two definitions of one name, and what that breaks."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, and what it ``breaks``; None: nothing."""

    what: str
    detail: str
    breaks: Breaks | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}"


def compare(old: Registry, new: Registry, stored: StoredSchemas | None = None) -> list[Change]:
    """Return every difference of ``new`` against ``old``.

    They come in the order entities, views, on-demand, request, services, catalogues, placements, active versions, what
    ``stored`` rows do not fit.
    """
    stored = stored or {}
    view = partial(_view, known={f"{name}@v{version}" for name, version in stored})
    gone = Breaks.CALLERS
    changes = list(_paired("entity", old.entities, new.entities, _entity))
    changes += _paired("view", _by_label(old.views.values()), _by_label(new.views.values()), view, gone)
    changes += _paired("view", _computed(old), _computed(new), _on_demand, gone)
    changes += _paired("request field", old.request, new.request, _request_field, gone)
    changes += _paired("service", _services(old), _services(new), _service, gone)
    changes += _paired("catalogue", old.catalogues, new.catalogues, _catalogue)
    changes += _paired("placement", old.placements, new.placements, _placement, gone)
    for name in sorted(old.active.keys() & new.active.keys()):
        if old.active[name] != new.active[name]:
            changes.append(Change(f"view {name!r}", f"active version {old.active[name]} -> {new.active[name]}"))
    return changes + misfits(new, stored)


def ensure_compatible(old: Registry, new: Registry, stored: StoredSchemas | None = None) -> list[Change]:
    """Return the changes; raises DefinitionError with every one that breaks rows."""
    changes = compare(old, new, stored)
    breaking = [str(c) for c in changes if c.breaks is Breaks.ROWS]
    if breaking:
        raise DefinitionError(breaking)
    return changes


def misfits(registry: Registry, stored: StoredSchemas) -> list[Change]:
    """Return a change for each view that the store holds other rows of."""
    found = ((registry.views[key], misfit(lines, registry.schemas[key].lines)) for key, lines in stored.items())
    return [Change(f"view {view.label!r}", wrong, Breaks.ROWS) for view, wrong in found if wrong is not None]


def to_judge(old: Registry, new: Registry) -> list[FeatureView]:
    """Return the views of ``new`` that ``old`` does not have, or with other features."""
    return [view for key, view in new.views.items() if _lines(old, key) != _lines(new, key)]


def _lines(registry: Registry, key: ViewKey) -> Sequence[str] | None:
    return registry.schemas[key].lines if key in registry.schemas else None


def _by_label(views: Iterable[FeatureView]) -> dict[str, FeatureView]:
    return {v.label: v for v in views}


@dataclass(frozen=True, slots=True)
class _Service:
    """A feature service of a registry: its references, and the features that they come to."""

    features: tuple[str, ...]
    outputs: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Computed:
    """An on-demand view of a registry; ``does`` has what the function of each feature does."""

    view: OnDemandView
    does: Mapping[str, str]


def _computed(registry: Registry) -> dict[str, _Computed]:
    texts = registry.function_texts
    return {
        v.label: _Computed(v, {f.name: texts[v.name, v.version, f.name] for f in v.features})
        for v in registry.on_demand.values()
    }


def _paired(
    what: str,
    old: Mapping[str, _T],
    new: Mapping[str, _T],
    differ: Any,  # noqa: ANN401
    gone: Breaks | None = None,
) -> Iterator[Change]:
    """Yield what ``differ`` finds in those of one name, what was added, and what was removed: that breaks ``gone``."""
    for name in sorted(old.keys() | new.keys()):
        where = f"{what} {name!r}"
        if name not in old:
            yield Change(where, "added")
        elif name not in new:
            yield Change(where, "removed", gone)
        else:
            yield from (Change(where, detail, breaks) for detail, breaks in differ(old[name], new[name]))


def _entity(old: Entity, new: Entity) -> Differences:
    for name in ("join_key", "spread", "key_type"):
        before, after = getattr(old, name), getattr(new, name)
        if name == "key_type":  # the bound of a STRING id is the same for all
            before, after = before.layout, after.layout
        if before != after:
            yield f"{name} {before!r} -> {after!r}; it decides where rows are, so it can never change", Breaks.ROWS


def _view(old: FeatureView, new: FeatureView, *, known: Container[str]) -> Differences:
    """Yield the differences of a view; where the features of its rows are ``known``, rows are judged by those."""
    before, after = [e.name for e in old.entities], [e.name for e in new.entities]
    if before != after:
        yield f"entities {before} -> {after}; needs a new version", Breaks.ROWS
    yield from _features(old.features, new.features, Breaks.CALLERS if new.label in known else Breaks.ROWS)
    for field in _SETTINGS:
        if getattr(old, field) != getattr(new, field):
            yield f"{field.removeprefix('effective_')} {getattr(old, field)} -> {getattr(new, field)}", None


def _features(old: Sequence[Feature], new: Sequence[Feature], hurt: Breaks) -> Differences:
    before, after = {f.name: f for f in old}, {f.name: f for f in new}
    gone = [name for name in before if name not in after]
    if list(after) == list(before)[: len(after)]:
        yield from ((f"feature {name!r} dropped from the end", Breaks.CALLERS) for name in gone)
    else:
        yield from ((f"feature {name!r} removed; {_APPEND}", hurt) for name in gone)
    kept = [name for name in before if name in after]
    moved = next(((was, now) for was, now in zip(kept, after, strict=False) if was != now), None)
    if moved:
        yield (
            f"feature {moved[0]!r} moved, {moved[1]!r} stands in its place; {_APPEND}",
            hurt if hurt is Breaks.ROWS else None,
        )
    for name in kept:
        yield from _feature(before[name], after[name], hurt)
    yield from ((f"feature {f.name!r} ({f.type}) appended", None) for f in new if f.name not in before)


def _feature(old: Any, new: Any, hurt: Breaks) -> Differences:  # noqa: ANN401  # both Feature, or both OnDemandFeature
    if old.type.layout != new.type.layout:
        yield f"feature {old.name!r}: type {old.type.layout} -> {new.type.layout}; needs a new version", hurt
        return
    if old.type != new.type:
        yield f"feature {old.name!r}: bound {old.type} -> {new.type}", None
    if default_text(old) != default_text(new):
        yield f"feature {old.name!r}: default {old.default!r} -> {new.default!r}", None


def _on_demand(old: _Computed, new: _Computed) -> Differences:
    after = {f.name: f for f in new.view.features}
    for feature in old.view.features:
        if feature.name not in after:
            yield f"feature {feature.name!r} removed; needs a new version", Breaks.CALLERS
            continue
        other = after.pop(feature.name)
        yield from _feature(feature, other, Breaks.CALLERS)
        same = old.does[feature.name] == new.does[feature.name]
        if not same or dict(feature.inputs) != dict(other.inputs):
            yield f"feature {feature.name!r}: computed differently under the same version", None
    yield from ((f"feature {name!r} ({feature.type}) added", None) for name, feature in after.items())


def _request_field(old: Any, new: Any) -> Differences:  # noqa: ANN401  # both RequestField
    if old.type.layout != new.type.layout:
        yield f"type {old.type.layout} -> {new.type.layout}; callers send the old one, add a new field", Breaks.CALLERS


def _services(registry: Registry) -> dict[str, _Service]:
    outputs = {name: frozenset(out for out, _ in registry.service_plan(name).outputs) for name in registry.services}
    return {name: _Service(tuple(s.features), outputs[name]) for name, s in registry.services.items()}


def _service(old: _Service, new: _Service) -> Differences:
    if old.features != new.features:
        lost = Breaks.CALLERS if old.outputs - new.outputs else None
        yield f"features {listed_difference(old.features, new.features)}", lost


def _catalogue(old: Catalogue, new: Catalogue) -> Differences:
    yield from ((line, None) for line in differences(old, new))
    gone = [name for name in old.kept if name not in new.kept]
    if gone:
        yield f"filters can no longer name {gone}", Breaks.CALLERS


def _placement(old: Placement, new: Placement) -> Differences:
    return ((line, None) for line in differences(old, new))
