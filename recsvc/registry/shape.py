"""Finds what is not of the kind that a definition takes: a type given as ``float``, one view where a list is due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

from recsvc.registry.model import (
    Definitions,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    RequestField,
    Source,
)
from recsvc.registry.placement import Catalogue, Placement
from recsvc.registry.shape_placements import kind_problems
from recsvc.registry.types import FeatureType

_T = TypeVar("_T")
_TYPES: Final = "INT64, FLOAT64, FLOAT32, BOOL, STRING, TIMESTAMP, VECTOR[n], INT64_LIST[n] or STRING_LIST[n, bytes]"


def shape_problems(definitions: Definitions) -> Iterator[str]:
    """Yield a line for each part of a definition that is of another kind than it must be."""
    yield from _items("registry", "views", definitions.views, FeatureView)
    yield from _items("registry", "on_demand", definitions.on_demand, OnDemandView)
    yield from _items("registry", "services", definitions.services, FeatureService)
    yield from _items("registry", "request", definitions.request, RequestField)
    yield from _items("registry", "catalogues", definitions.catalogues, Catalogue)
    yield from _items("registry", "placements", definitions.placements, Placement)
    for view in _right(definitions.views, FeatureView):
        yield from _view(f"view {view.name!r}", view)
    for on_demand in _right(definitions.on_demand, OnDemandView):
        yield from _on_demand(f"view {on_demand.name!r}", on_demand)
    for service in _right(definitions.services, FeatureService):
        yield from _items(f"service {service.name!r}", "features", service.features, str)
    for field in _right(definitions.request, RequestField):
        yield from _type(f"request field {field.name!r}", field.type)
    for catalogue in _right(definitions.catalogues, Catalogue):
        yield from kind_problems(catalogue)
    for placement in _right(definitions.placements, Placement):
        yield from kind_problems(placement)


def _right(given: object, kind: type[_T]) -> Iterator[_T]:
    """Yield the items of ``given`` that are of the kind."""
    if isinstance(given, Sequence):
        yield from (item for item in given if isinstance(item, kind))


def _items(where: str, what: str, given: object, kind: type) -> Iterator[str]:
    """Yield what keeps ``given`` from being a sequence of the kind."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        yield f"{where}: {what} must be a list of {kind.__name__}, not {given!r}"
        return
    for item in given:
        if not isinstance(item, kind):
            yield f"{where}: {what} must be a list of {kind.__name__}; {item!r} is not one"


def _view(where: str, view: FeatureView) -> Iterator[str]:
    yield from _whole(where, "version", view.version)
    yield from _items(where, "entities", view.entities, Entity)
    for entity in _right(view.entities, Entity):
        yield from _type(f"entity {entity.name!r}: key", entity.key_type)
        if entity.spread is not None:
            yield from _whole(f"entity {entity.name!r}", "spread", entity.spread)
    yield from _features(where, view.features, Feature)
    yield from _source(where, view.source)


def _source(where: str, source: object) -> Iterator[str]:
    if source is not None and not isinstance(source, Source):
        yield from _items(where, "source", source, Source)


def _on_demand(where: str, view: OnDemandView) -> Iterator[str]:
    yield from _whole(where, "version", view.version)
    yield from _features(where, view.features, OnDemandFeature)
    for feature in _right(view.features, OnDemandFeature):
        yield from _inputs(f"{where}: feature {feature.name!r}", feature.inputs)
        yield from _function(f"{where}: feature {feature.name!r}", feature.function)


def _inputs(where: str, inputs: object) -> Iterator[str]:
    if isinstance(inputs, Mapping) and all(isinstance(part, str) for pair in inputs.items() for part in pair):
        return
    yield f"{where}: inputs must map parameters to references, such as {{'a': 'view:feature'}}, not {inputs!r}"


def _function(where: str, given: object) -> Iterator[str]:
    if not callable(given):
        yield f"{where}: function {given!r} is not callable"


def _features(where: str, features: object, kind: type[Feature | OnDemandFeature]) -> Iterator[str]:
    yield from _items(where, "features", features, kind)
    for feature in _right(features, kind):
        yield from _type(f"{where}: feature {feature.name!r}", feature.type)


def _type(where: str, given: object) -> Iterator[str]:
    if not isinstance(given, FeatureType):
        yield f"{where}: type {given!r} is not one of {_TYPES}"


def _whole(where: str, what: str, given: object) -> Iterator[str]:
    if not isinstance(given, int) or isinstance(given, bool):
        yield f"{where}: {what} must be a whole number, not {given!r}"
