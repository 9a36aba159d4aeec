"""Finds every mistake in catalogues and placements; each is a line that names the definition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

from recsvc.registry.conditions import Condition
from recsvc.registry.depends import entities_of
from recsvc.registry.experiments import placement_problems as experiment_problems
from recsvc.registry.ids import problem as id_problem
from recsvc.registry.model import Definitions, Entity, FeatureView
from recsvc.registry.placement import (
    Boost,
    CandidateSource,
    Catalogue,
    MeanOfRecent,
    Nearest,
    Newest,
    Placement,
    Popular,
    SimilarToRecent,
)
from recsvc.registry.predicates import normalized, predicate_problems
from recsvc.registry.reference import is_name, parse
from recsvc.registry.types import FeatureType, Kind

MAX_LIMIT: Final = 500
"""Items of one slate."""
MAX_CANDIDATES: Final = 2_000
NUMBERS: Final = frozenset({Kind.INT64, Kind.FLOAT64, Kind.FLOAT32})
LISTS: Final = frozenset({Kind.INT64_LIST, Kind.STRING_LIST})
TEXTS: Final = frozenset({Kind.STRING, Kind.STRING_LIST})
FILTERABLE: Final = frozenset(Kind) - {Kind.VECTOR}


class _Column(NamedTuple):
    view: FeatureView
    type: FeatureType


def placement_problems(definitions: Definitions) -> Iterator[str]:
    """Yield one line per mistake."""
    columns = _Columns(definitions)
    catalogues = {c.name: c for c in definitions.catalogues}
    placements = {p.name: p for p in definitions.placements}
    yield from _names("catalogue", [c.name for c in definitions.catalogues])
    yield from _names("placement", [p.name for p in definitions.placements])
    for catalogue in definitions.catalogues:
        yield from (f"catalogue {catalogue.name!r}: {line}" for line in _catalogue(catalogue, columns))
    for placement in definitions.placements:
        where = f"placement {placement.name!r}: "
        of = catalogues.get(placement.catalogue)
        if of is None:
            yield f"{where}there is no catalogue {placement.catalogue!r}"
        else:
            yield from (where + line for line in _placement(placement, of, columns))
            yield from (where + line for line in _service(placement, of, definitions))
        yield from (where + line for line in _experiments(placement, placements))


def normalized_placements(definitions: Definitions) -> dict[str, Placement]:
    """Return right placements by name, with the values of their filters as FeatureType.normalize gives them."""
    columns = _Columns(definitions)
    return {
        p.name: replace(p, filters=_normalized(p.filters, columns), boosts=_boosts(p.boosts, columns))
        for p in definitions.placements
    }


def _boosts(boosts: Sequence[Boost], columns: _Columns) -> tuple[Boost, ...]:
    conditions = _normalized([boost.when for boost in boosts], columns)
    return tuple(replace(boost, when=when) for boost, when in zip(boosts, conditions, strict=True))


def _normalized(conditions: Sequence[Condition], columns: _Columns) -> tuple[Condition, ...]:
    types = [columns.of(c.feature) for c in conditions]
    return tuple(
        c if of is None else replace(c, predicate=normalized(c.predicate, of.type))
        for c, of in zip(conditions, types, strict=True)
    )


class _Columns:
    """Stored features by reference."""

    def __init__(self, definitions: Definitions) -> None:
        self._views = {(v.name, v.version): v for v in definitions.views}
        self._active = dict(self._views.keys()) | dict(definitions.active)
        self._entities = {e.name: e for v in definitions.views for e in v.entities}

    def other_entity(self, entity: Entity) -> str | None:
        """Say so where views describe another entity by this name."""
        known = self._entities.get(entity.name, entity)
        return None if known == entity else f"entity {entity.name!r} is not the one that the views have; share one"

    def of(self, text: str) -> _Column | None:
        reference = parse(text)
        if reference is None or reference.feature is None:
            return None
        view = self._views.get((reference.view, reference.version or self._active.get(reference.view, 0)))
        types = {f.name: f.type for f in view.features} if view is not None else {}
        of = types.get(reference.feature)
        return None if view is None or of is None else _Column(view, of)

    def problem(self, text: str, kinds: frozenset[Kind], entities: Sequence[Entity]) -> str | None:
        """Say why a reference is not a stored feature of such a kind, of just these entities; None: it is."""
        column = self.of(text)
        if column is None:
            return f"{text!r} is not a stored feature (view:feature)"
        if column.type.kind not in kinds:
            return f"{text!r} is {column.type}, not {' or '.join(sorted(k.value for k in kinds))}"
        names, wanted = [e.name for e in column.view.entities], [e.name for e in entities]
        if sorted(names) != sorted(wanted):
            return f"{text!r} is a feature of {' and '.join(names)}, not of {' and '.join(wanted)}"
        return None


def _names(what: str, names: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys(names):
        if not is_name(name):
            yield f"{what} {name!r}: a name starts with a-z, goes on with a-z, 0-9 and _, and has at most 64 characters"
        if names.count(name) > 1:
            yield f"{what} {name!r}: defined {names.count(name)} times"


def _catalogue(catalogue: Catalogue, columns: _Columns) -> Iterator[str]:
    if (other := columns.other_entity(catalogue.item)) is not None:
        yield f"item: {other}"
    wanted: list[tuple[str, str | None, frozenset[Kind]]] = [
        ("popularity", catalogue.popularity, NUMBERS),
        ("available", catalogue.available, frozenset({Kind.BOOL})),
        ("created_at", catalogue.created_at, frozenset({Kind.TIMESTAMP})),
        ("category", catalogue.category, TEXTS),
        *(("filterable", text, FILTERABLE) for text in catalogue.filterable),
    ]
    for name, text, kinds in wanted:
        if text is None:
            continue
        problem = columns.problem(text, kinds, [catalogue.item])
        column = columns.of(text)
        if problem is None and column is not None and not column.view.mirrored:
            problem = f"{text!r}: its view must be mirrored=True, since every server keeps it in memory"
        if problem is not None:
            yield f"{name}: {problem}"
    if catalogue.title is not None:
        problem = columns.problem(catalogue.title, frozenset({Kind.STRING}), [catalogue.item])
        if problem is not None:
            yield f"title: {problem}"


def _placement(placement: Placement, catalogue: Catalogue, columns: _Columns) -> Iterator[str]:
    if not 1 <= placement.limit <= MAX_LIMIT:
        yield f"limit: {placement.limit!r} must be from 1 to {MAX_LIMIT}"
    if not placement.limit <= placement.candidates <= MAX_CANDIDATES:
        yield f"candidates: {placement.candidates!r} must be from its limit to {MAX_CANDIDATES}"
    if placement.user is not None and (other := columns.other_entity(placement.user)) is not None:
        yield f"user: {other}"
    if placement.ranker is not None and placement.service is None:
        yield "ranker: needs a service, whose features it ranks by"
    if not placement.sources:
        yield "has no candidate sources"
    yield from _names("source", [s.name for s in placement.sources])
    for source in placement.sources:
        yield from (f"source {source.name!r}: {line}" for line in _source(source, placement, catalogue, columns))
        yield from (f"source {source.name!r}: {line}" for line in _of_kind(source, catalogue))
    yield from _seen(placement, catalogue, columns)
    for index, condition in enumerate(placement.filters):
        yield from (f"filters[{index}]: {line}" for line in _condition(condition, catalogue, columns))
    for index, boost in enumerate(placement.boosts):
        yield from (f"boosts[{index}]: {line}" for line in _condition(boost.when, catalogue, columns))
        if not 0 < abs(boost.positions) <= MAX_CANDIDATES:
            yield f"boosts[{index}]: positions: {boost.positions!r} must be 1 to {MAX_CANDIDATES}, or as much below 0"
    yield from _rerank(placement, catalogue)


def _service(placement: Placement, catalogue: Catalogue, definitions: Definitions) -> Iterator[str]:
    if placement.service is None:
        return
    service = next((s for s in definitions.services if s.name == placement.service), None)
    if service is None:
        yield f"there is no feature service {placement.service!r}"
        return
    known = {e.name for e in (placement.user, catalogue.item) if e is not None}
    unknown = entities_of(service.features, definitions) - known
    if unknown:
        yield f"service {service.name!r} needs the id of {', '.join(sorted(unknown))}, unknown to the placement"


def _seen(placement: Placement, catalogue: Catalogue, columns: _Columns) -> Iterator[str]:
    for text in placement.seen:
        yield from _items_of_user(placement, "seen", text, catalogue, columns)
    for text in placement.seen_pairs:
        users = [] if placement.user is None else [placement.user]
        problem = columns.problem(text, frozenset({Kind.BOOL}), [*users, catalogue.item])
        if problem is not None:
            yield f"seen_pairs: {problem}"


def _source(source: CandidateSource, placement: Placement, catalogue: Catalogue, columns: _Columns) -> Iterator[str]:
    if not (math.isfinite(source.weight) and source.weight > 0):
        yield f"weight: {source.weight!r} must be more than 0"
    if not 1 <= source.candidates <= MAX_CANDIDATES:
        yield f"candidates: {source.candidates!r} must be from 1 to {MAX_CANDIDATES}"
    if not 0 <= source.quota <= placement.limit:
        yield f"quota: {source.quota!r} must be from 0 to the limit of the placement"
    if source.timeout <= timedelta(0):
        yield "timeout: must be more than 0"
    match source:
        case Nearest(query=MeanOfRecent(recent=recent)):
            yield from _items_of_user(placement, "query.recent", recent, catalogue, columns)
        case Nearest(query=str(query)):
            yield from _of_user(placement, "query", query, frozenset({Kind.VECTOR}), columns)
        case SimilarToRecent(recent=str(recent)) | Popular(recent=str(recent)):
            yield from _items_of_user(placement, "recent", recent, catalogue, columns)


def _of_kind(source: CandidateSource, catalogue: Catalogue) -> Iterator[str]:
    """Yield what is wrong with what only this kind of source has."""
    match source:
        case Nearest(query=MeanOfRecent(last=last)) if last < 1:
            yield f"query.last: {last!r} must be at least 1"
        case SimilarToRecent(last=last) if last < 1:
            yield f"last: {last!r} must be at least 1"
        case Popular(pool=pool) if pool < 1:
            yield f"pool: {pool!r} must be at least 1"
        case Newest(within=within) if within <= timedelta(0):
            yield "within: must be more than 0"
    if isinstance(source, Popular) and source.recent is not None and catalogue.category is None:
        yield "recent: the catalogue has no category"
    if isinstance(source, Newest) and catalogue.created_at is None:
        yield "the catalogue has no created_at, by which items are new"


def _of_user(placement: Placement, what: str, text: str, kinds: frozenset[Kind], columns: _Columns) -> Iterator[str]:
    if placement.user is None:
        yield f"{what}: {text!r} needs to know the user's entity: give the placement a user"
    elif (problem := columns.problem(text, kinds, [placement.user])) is not None:
        yield f"{what}: {problem}"


def _items_of_user(
    placement: Placement, what: str, text: str, catalogue: Catalogue, columns: _Columns
) -> Iterator[str]:
    """Yield what keeps a feature from being a list of items: ids of INT64 may also be told in decimal, as texts."""
    found = list(_of_user(placement, what, text, LISTS, columns))
    yield from found
    column, item = columns.of(text), catalogue.item
    if not found and column is not None and column.type.kind is Kind.INT64_LIST and item.key_type.kind is Kind.STRING:
        yield f"{what}: {text!r} is {column.type}, but ids of {item.name} are STRING: name a STRING_LIST of them"


def _condition(condition: Condition, catalogue: Catalogue, columns: _Columns) -> Iterator[str]:
    column = columns.of(condition.feature)
    if condition.feature not in catalogue.kept or column is None:
        yield f"{condition.feature!r} is not a feature that the catalogue keeps; add it to filterable"
        return
    found = predicate_problems(condition.predicate, column.type)
    yield from (f"{condition.feature!r}: {path}: {what}" for path, what in found)


def _rerank(placement: Placement, catalogue: Catalogue) -> Iterator[str]:
    positions = [pin.position for pin in placement.pins]
    if len(set(positions)) < len(positions) or len({p.item for p in placement.pins}) < len(positions):
        yield "pins: each item and each position at most once"
    yield from (f"pins: position {p!r} must be at least 1" for p in positions if p < 1)
    wrong = ((pin.item, id_problem(catalogue.item, pin.item)) for pin in placement.pins)
    yield from (f"pins: item {item!r}: {problem}" for item, problem in wrong if problem is not None)
    if placement.cap is not None and catalogue.category is None:
        yield "cap: the catalogue has no category"
    if placement.cap is not None and placement.cap < 1:
        yield f"cap: {placement.cap!r} must be at least 1"
    if placement.diversity is not None and not 0 <= placement.diversity.weight <= 1:
        yield f"diversity: weight {placement.diversity.weight!r} must be from 0 to 1"
    if placement.diversity is not None and placement.diversity.timeout <= timedelta(0):
        yield "diversity: timeout must be more than 0"
    if placement.ranker_timeout <= timedelta(0):
        yield "ranker_timeout: must be more than 0"
    if placement.stale_after <= timedelta(0):
        yield "stale_after: must be more than 0"


def _experiments(placement: Placement, placements: Mapping[str, Placement]) -> Iterator[str]:
    yield from experiment_problems(placement.experiments)
    for experiment in placement.experiments:
        for variant in experiment.variants:
            other = placements.get(variant.placement) if variant.placement is not None else None
            where = f"experiment {experiment.name!r}: variant {variant.name!r}"
            if variant.placement is not None and other is None:
                yield f"{where}: there is no placement {variant.placement!r}"
            elif other is not None and (other.experiments or _base(other) != _base(placement)):
                yield f"{where}: {other.name!r} has experiments of its own, or another catalogue or user"


def _base(placement: Placement) -> tuple[str, Entity | None]:
    """Return what a request for a placement goes by, whichever variant answers it."""
    return placement.catalogue, placement.user
