"""Finds every mistake in definitions; each is a line that names the definition and says what would be right."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter

from recsvc.registry.model import (
    AUTO,
    Auto,
    Definitions,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
)
from recsvc.registry.reference import REQUEST, is_name, parse
from recsvc.registry.shape import shape_problems
from recsvc.registry.types import FeatureType, Kind
from recsvc.registry.validate_placements import placement_problems

MAX_FEATURES = 2_000
"""Features of one view; the row format counts them in 16 bits, and a row must stay small."""
MAX_SPREAD = 1_024
MAX_TIME = timedelta(days=36_525)
"""The longest freshness, max age and TTL, so that sums of them are still times."""
MAX_COPY_AGE = timedelta(days=1)
"""The longest that a copy of a row may be kept in a server's memory."""
LISTED = 10
"""How many names a line lists of those that there are."""


def problems(definitions: Definitions) -> list[str]:
    """Return one line per mistake, none where the definitions are right."""
    found = list(shape_problems(definitions))
    if found:
        return found  # nothing else can be told of what is not even of the right kind
    found += _names(definitions)
    found += _entities(definitions.views)
    for view in definitions.views:
        found += _view(view)
    for on_demand in definitions.on_demand:
        found += _on_demand_view(on_demand)
    found += _versions(definitions)
    known = _Known(definitions)
    for on_demand in definitions.on_demand:
        found += _inputs(on_demand, known)
    found += _cycles(definitions, known)
    for service in definitions.services:
        found += _service(service, known)
    found += placement_problems(definitions)
    return found


def _names(definitions: Definitions) -> Iterator[str]:
    views = definitions.all_views
    for what, names in (
        ("view", [v.name for v in views]),
        ("service", [s.name for s in definitions.services]),
        ("request field", [f.name for f in definitions.request]),
    ):
        yield from (_bad_name(what, n) for n in dict.fromkeys(names) if not is_name(n))
    for label, count in Counter(v.label for v in views).items():
        if count > 1:
            yield f"view {label}: defined {count} times; give each version its own number"
    for name in sorted({v.name for v in definitions.views} & {v.name for v in definitions.on_demand}):
        yield f"view {name!r}: is both a FeatureView and an OnDemandView; rename one"
    if any(v.name == REQUEST for v in views):
        yield f"view {REQUEST!r}: this name stands for the request context; choose another"
    yield from _duplicates("service", [s.name for s in definitions.services])
    yield from _duplicates("request field", [f.name for f in definitions.request])
    for field in definitions.request:
        yield from _type(f"request field {field.name!r}", field.type)


def _bad_name(what: str, name: object) -> str:
    return f"{what} {name!r}: a name starts with a-z, goes on with a-z, 0-9 and _, and has at most 64 characters"


def _duplicates(what: str, names: Sequence[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {name!r}: defined {count} times; keep one"


def _entities(views: Iterable[FeatureView]) -> Iterator[str]:
    entities = list(dict.fromkeys(e for v in views for e in v.entities))
    for entity in entities:
        yield from _entity(entity)
    for name, count in Counter(e.name for e in entities).items():
        if count > 1:
            yield f"entity {name!r}: has {count} different definitions; share one Entity object between its views"
    for key, count in Counter(e.join_key for e in entities).items():
        if count > 1 and len({e.name for e in entities if e.join_key == key}) > 1:
            yield f"join key {key!r}: belongs to {count} entities; each entity needs its own"


def _entity(entity: Entity) -> Iterator[str]:
    where = f"entity {entity.name!r}"
    if not is_name(entity.name):
        yield _bad_name("entity", entity.name)
    if not is_name(entity.join_key):
        yield f"{where}: {_bad_name('join key', entity.join_key)}"
    if entity.key_type.kind not in (Kind.STRING, Kind.INT64):
        yield f"{where}: key_type {entity.key_type} cannot be an id; use STRING or INT64"
    if entity.spread is not None and not 1 <= entity.spread <= MAX_SPREAD:
        yield f"{where}: spread {entity.spread} must be from 1 to {MAX_SPREAD} (32 suits most), or None"


def _view(view: FeatureView) -> Iterator[str]:
    where = f"view {view.label}"
    if not view.entities:
        yield f"{where}: has no entity; a view describes one, or a pair"
    yield from _duplicates(f"{where}: entity", [e.name for e in view.entities])
    yield from _version(where, view.version)
    yield from _features(where, view.features)
    for feature in view.features:
        yield from _feature(f"feature {view.label}:{feature.name}", feature)
    yield from _sources(where, view)
    yield from _times(where, view)


def _version(where: str, version: int) -> Iterator[str]:
    if not 1 <= version < 10**9:
        yield f"{where}: version must be from 1 to {10**9 - 1}"


def _features(where: str, features: Sequence[Feature | OnDemandFeature]) -> Iterator[str]:
    if not features:
        yield f"{where}: has no features"
    if len(features) > MAX_FEATURES:
        yield f"{where}: has {len(features)} features, at most {MAX_FEATURES} fit one view"
    yield from _duplicates(f"{where}: feature", [f.name for f in features])


def _feature(where: str, feature: Feature | OnDemandFeature) -> Iterator[str]:
    if not is_name(feature.name):
        yield _bad_name("feature", feature.name)
    wrong_type = list(_type(where, feature.type))
    yield from wrong_type
    if feature.default is not None and not wrong_type:
        try:
            feature.type.normalize(feature.default)
        except ValueError as error:
            yield f"{where}: default {error} ({feature.type})"
    expected = feature.expected if isinstance(feature, Feature) else None
    if expected and expected.min is not None and expected.max is not None and expected.min > expected.max:
        yield f"{where}: expected min {expected.min} is above max {expected.max}"


def _type(where: str, of: FeatureType) -> Iterator[str]:
    problem = of.problem()
    if problem:
        yield f"{where}: {problem}"


def _sources(where: str, view: FeatureView) -> Iterator[str]:
    live = [s for s in view.sources if not s.backfill]
    if len(live) > 1:
        names = ", ".join(repr(s.name) for s in live)
        yield f"{where}: has {len(live)} sources ({names}); features of another source belong in another view"
    for source in view.sources:
        if source.backfill and live and source.name != live[0].name:
            yield f"{where}: backfill {source.name!r} is not of the view's source {live[0].name!r}"
    if view.sources and not live:
        yield f"{where}: has only a backfill; it needs the source that the backfill is of"


def _times(where: str, view: FeatureView) -> Iterator[str]:
    wrong = False
    for name in ("freshness", "max_age", "ttl"):
        value = getattr(view, name)
        derived = isinstance(value, Auto) and name != "freshness"
        if value is None or derived or (isinstance(value, timedelta) and timedelta(0) < value <= MAX_TIME):
            continue
        wrong = True
        yield f"{where}: {name} must be a timedelta above 0 and up to {MAX_TIME.days} days, or None, not {value!r}"
    for name in ("cache", "stale_if_error"):
        value = getattr(view, name)
        if value is not AUTO and not (isinstance(value, timedelta) and timedelta(0) <= value <= MAX_COPY_AGE):
            yield f"{where}: {name} must be a timedelta from 0 to {MAX_COPY_AGE.days} day, not {value!r}"
    stand_in: object = view.serve_default
    if not isinstance(stand_in, bool):
        yield f"{where}: serve_default must be True or False, not {stand_in!r}"
    max_age, ttl = (None, None) if wrong else (view.effective_max_age, view.effective_ttl)
    if ttl is not None and max_age is not None and ttl < max_age:
        yield f"{where}: ttl {ttl} is less than max age {max_age}; rows would vanish before they are too old"


def _on_demand_view(view: OnDemandView) -> Iterator[str]:
    where = f"view {view.label}"
    yield from _version(where, view.version)
    yield from _features(where, view.features)
    for feature in view.features:
        of = f"feature {view.label}:{feature.name}"
        yield from _feature(of, feature)
        yield from _function(of, feature)


def _function(where: str, feature: OnDemandFeature) -> Iterator[str]:
    if not feature.inputs:
        yield f"{where}: has no inputs; a constant is not a feature"
    if inspect.iscoroutinefunction(feature.function):
        yield f"{where}: its function is async; a plain function of arrays is wanted"
    try:
        signature = inspect.signature(feature.function)
    except ValueError:
        yield f"{where}: function {feature.function!r} has no parameters that can be read; call it from a function"
        return
    try:
        signature.bind(**dict.fromkeys(feature.inputs))
    except TypeError as error:
        yield f"{where}: inputs {sorted(feature.inputs)} do not fit its function's parameters: {error}"


def _versions(definitions: Definitions) -> Iterator[str]:
    versions: dict[str, set[int]] = {}
    for view in definitions.all_views:
        versions.setdefault(view.name, set()).add(view.version)
    for name, known in versions.items():
        listed = ", ".join(str(v) for v in sorted(known))
        if name not in definitions.active and len(known) > 1:
            example = f"Registry(active={{{name!r}: {max(known)}}})"
            yield f"view {name!r}: has versions {listed}; say which is active: {example}"
        if name in definitions.active and definitions.active[name] not in known:
            yield f"view {name!r}: active version {definitions.active[name]} is not defined; there is {listed}"
    for name in sorted(definitions.active.keys() - versions.keys()):
        yield f"active: view {name!r} is not defined; {_there_is(versions)}"


def _there_is(names: Iterable[str]) -> str:
    """Say what there is, for somebody who named what there is not."""
    known = sorted(names)
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"there is {', '.join(known[:LISTED]) or 'none'}{more}"


class _Known:
    """What references can name."""

    def __init__(self, definitions: Definitions) -> None:
        views = definitions.all_views
        self.features = {(v.name, v.version): {f.name for f in v.features} for v in views}
        self.active = {v.name: v.version for v in views} | dict(definitions.active)
        self.request = {f.name for f in definitions.request}
        self.labels = [v.label for v in views]

    def __repr__(self) -> str:
        return f"_Known({len(self.features)} views)"

    def problem(self, text: str) -> str | None:
        reference = parse(text)
        if reference is None:
            return f"{text!r} is not a reference (view:feature, view@v2:feature or view)"
        if reference.view == REQUEST:
            if reference.version is None and (reference.feature is None or reference.feature in self.request):
                return None
            return f"{text!r}: no such request field; {_there_is(f'{REQUEST}:{name}' for name in self.request)}"
        version = reference.version or self.active.get(reference.view)
        features = self.features.get((reference.view, version or 0))
        if features is None:
            return f"{text!r}: view {reference.prefix!r} is not defined; {_there_is(self.labels)}"
        if reference.feature is not None and reference.feature not in features:
            return f"{text!r}: view {reference.prefix!r} has no feature {reference.feature!r}; {_there_is(features)}"
        return None


def _inputs(view: OnDemandView, known: _Known) -> Iterator[str]:
    for feature in view.features:
        for parameter, text in feature.inputs.items():
            where = f"feature {view.label}:{feature.name}: input {parameter!r}"
            problem = known.problem(text)
            if problem:
                yield f"{where}: {problem}"
            elif ":" not in text:
                yield f"{where}: {text!r} is a whole view; name one feature of it"


_Node = tuple[str, int, str]
"""An on-demand feature: view, version, feature."""


def _cycles(definitions: Definitions, known: _Known) -> Iterator[str]:
    graph: dict[_Node, list[_Node]] = {}
    for view in definitions.on_demand:
        for feature in view.features:
            references = map(parse, feature.inputs.values())
            graph[view.name, view.version, feature.name] = [
                (r.view, r.version or known.active.get(r.view, 0), r.feature or "") for r in references if r is not None
            ]
    while circle := _circle(graph):
        path = " -> ".join(f"{view}@v{version}:{feature}" for view, version, feature in circle)
        yield f"on-demand features depend on each other in a circle: {path}"
        for node in circle:
            graph.pop(node, None)


def _circle(graph: dict[_Node, list[_Node]]) -> list[_Node]:
    """Return the nodes of one circle, the first again at the end; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[_Node] = error.args[1]
        return circle
    return []


def _service(service: FeatureService, known: _Known) -> Iterator[str]:
    where = f"service {service.name!r}"
    if not service.features:
        yield f"{where}: has no features"
    yield from (f"{where}: {problem}" for problem in map(known.problem, service.features) if problem)
    yield from _duplicates(f"{where}: reference", list(service.features))
