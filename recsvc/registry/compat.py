"""What changes between two registries, and which of it breaks rows or callers that exist.

Appending features to a view is not breaking: rows and readers agree on the prefix they share. Everything else that
moves bytes needs a new version of the view, which lives beside the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from recsvc.errors import DefinitionError
from recsvc.registry.fingerprint import default_text, facts, service_facts
from recsvc.registry.model import Entity, Feature, FeatureView, OnDemandView
from recsvc.registry.placement import Catalogue, Placement
from recsvc.registry.registry import Registry

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


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; ``breaking`` where it must not go live without a new version."""

    what: str
    detail: str
    breaking: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}"


def compare(old: Registry, new: Registry) -> list[Change]:
    """Return every difference of ``new`` against ``old``.

    They come in the order entities, views, on-demand, request, services, catalogues, placements, active versions.
    """
    changes = list(_paired("entity", old.entities, new.entities, _entity))
    changes += _paired("view", _by_label(old.views.values()), _by_label(new.views.values()), _view)
    changes += _paired("view", _computed(old), _computed(new), _on_demand)
    changes += _paired("request field", old.request, new.request, _request_field)
    changes += _paired("service", old.services, new.services, _service)
    changes += _paired("catalogue", old.catalogues, new.catalogues, _facts)
    changes += _paired("placement", old.placements, new.placements, _facts)
    for name in sorted(old.active.keys() & new.active.keys()):
        if old.active[name] != new.active[name]:
            changes.append(Change(f"view {name!r}", f"active version {old.active[name]} -> {new.active[name]}"))
    return changes


def ensure_compatible(old: Registry, new: Registry) -> list[Change]:
    """Return the changes; raises DefinitionError with every breaking one."""
    changes = compare(old, new)
    breaking = [str(c) for c in changes if c.breaking]
    if breaking:
        raise DefinitionError(breaking)
    return changes


def _by_label(views: Iterable[FeatureView]) -> dict[str, FeatureView]:
    return {v.label: v for v in views}


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


def _paired(what: str, old: Mapping[str, _T], new: Mapping[str, _T], differ: Any) -> Iterator[Change]:  # noqa: ANN401
    for name in sorted(old.keys() | new.keys()):
        where = f"{what} {name!r}"
        if name not in old:
            yield Change(where, "added")
        elif name not in new:
            yield Change(where, "removed")
        else:
            yield from (Change(where, detail, breaking) for detail, breaking in differ(old[name], new[name]))


def _entity(old: Entity, new: Entity) -> Iterator[tuple[str, bool]]:
    for name in ("join_key", "spread", "key_type"):
        before, after = getattr(old, name), getattr(new, name)
        if name == "key_type":  # the bound of a STRING id is the same for all
            before, after = before.layout, after.layout
        if before != after:
            yield f"{name} {before!r} -> {after!r}; it decides where rows are, so it can never change", True


def _view(old: FeatureView, new: FeatureView) -> Iterator[tuple[str, bool]]:
    before, after = [e.name for e in old.entities], [e.name for e in new.entities]
    if before != after:
        yield f"entities {before} -> {after}; needs a new version", True
    yield from _features(old.features, new.features)
    for field in _SETTINGS:
        if getattr(old, field) != getattr(new, field):
            yield f"{field.removeprefix('effective_')} {getattr(old, field)} -> {getattr(new, field)}", False


def _features(old: Sequence[Feature], new: Sequence[Feature]) -> Iterator[tuple[str, bool]]:
    before, after = {f.name: f for f in old}, {f.name: f for f in new}
    yield from ((f"feature {name!r} removed; {_APPEND}", True) for name in before if name not in after)
    kept = [name for name in before if name in after]
    moved = next(((was, now) for was, now in zip(kept, after, strict=False) if was != now), None)
    if moved:
        yield f"feature {moved[0]!r} moved, {moved[1]!r} stands in its place; {_APPEND}", True
    for name in kept:
        yield from _feature(before[name], after[name])
    yield from ((f"feature {f.name!r} ({f.type}) appended", False) for f in new if f.name not in before)


def _feature(old: Any, new: Any) -> Iterator[tuple[str, bool]]:  # noqa: ANN401  # both Feature, or both OnDemandFeature
    if old.type.layout != new.type.layout:
        yield f"feature {old.name!r}: type {old.type.layout} -> {new.type.layout}; needs a new version", True
        return
    if old.type != new.type:
        yield f"feature {old.name!r}: bound {old.type} -> {new.type}", False
    if default_text(old) != default_text(new):
        yield f"feature {old.name!r}: default {old.default!r} -> {new.default!r}", False


def _on_demand(old: _Computed, new: _Computed) -> Iterator[tuple[str, bool]]:
    after = {f.name: f for f in new.view.features}
    for feature in old.view.features:
        if feature.name not in after:
            yield f"feature {feature.name!r} removed; needs a new version", True
            continue
        other = after.pop(feature.name)
        yield from _feature(feature, other)
        same = old.does[feature.name] == new.does[feature.name]
        if not same or dict(feature.inputs) != dict(other.inputs):
            yield f"feature {feature.name!r}: computed differently under the same version", False
    yield from ((f"feature {name!r} ({feature.type}) added", False) for name, feature in after.items())


def _request_field(old: Any, new: Any) -> Iterator[tuple[str, bool]]:  # noqa: ANN401  # both RequestField
    if old.type.layout != new.type.layout:
        yield f"type {old.type.layout} -> {new.type.layout}; callers send the old one, add a new field", True


def _service(old: Any, new: Any) -> Iterator[tuple[str, bool]]:  # noqa: ANN401  # both FeatureService
    before, after = service_facts(old)["features"], service_facts(new)["features"]
    if before == after:
        return
    gone, fresh = [f for f in before if f not in after], [f for f in after if f not in before]
    moved = "" if gone or fresh else "order changed"
    parts = (f"removed {gone}" if gone else "", f"added {fresh}" if fresh else "", moved)
    yield f"features {', '.join(p for p in parts if p)}", False


def _facts(old: Catalogue | Placement, new: Catalogue | Placement) -> Iterator[tuple[str, bool]]:
    before, after = facts(old), facts(new)
    yield from ((f"{name} {before[name]} -> {after[name]}", False) for name in before if before[name] != after[name])
