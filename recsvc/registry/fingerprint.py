"""The registry's fingerprint: changes with every definition that can change an answer, and with nothing else.

Descriptions, owners, sources and expected statistics do not count. An on-demand function counts by what it does (see
function_text).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from recsvc.registry.model import (
    Definitions,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    RequestField,
)

FunctionTexts = Mapping[tuple[str, int, str], str]
"""The function_text of each on-demand feature, by view, version and feature."""


def fingerprint(definitions: Definitions, active: Mapping[str, int], functions: FunctionTexts) -> str:
    """Return 16 hexadecimal digits, the start of a SHA-256 over the canonical JSON of the definitions."""
    entities = {e.name: e for v in definitions.views for e in v.entities}
    document: dict[str, Any] = {
        "entities": sorted(map(entity_facts, entities.values()), key=_by_name),
        "views": sorted(map(view_facts, definitions.views), key=_by_name),
        "on_demand": sorted((on_demand_facts(v, functions) for v in definitions.on_demand), key=_by_name),
        "services": sorted(map(service_facts, definitions.services), key=_by_name),
        "request": sorted(map(request_facts, definitions.request), key=_by_name),
        "active": dict(active),
    }
    for name, defined in (("catalogues", definitions.catalogues), ("placements", definitions.placements)):
        if defined:
            document[name] = sorted(map(facts, defined), key=_by_name)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _by_name(facts: dict[str, Any]) -> tuple[str, int]:
    return facts["name"], facts.get("version", 0)


def entity_facts(entity: Entity) -> dict[str, Any]:
    """Return what of an entity decides keys."""
    return {"name": entity.name, "join_key": entity.join_key, "type": entity.key_type.layout, "spread": entity.spread}


def view_facts(view: FeatureView) -> dict[str, Any]:
    """Return what of a view decides answers."""
    max_age = view.effective_max_age
    strict = {} if view.serve_default else {"serve_default": False}
    return {
        "name": view.name,
        "version": view.version,
        "entities": [e.name for e in view.entities],
        "features": [{"name": f.name, "type": str(f.type), "default": default_text(f)} for f in view.features],
        "max_age": None if max_age is None else max_age.total_seconds(),
        **strict,
    }


def on_demand_facts(view: OnDemandView, functions: FunctionTexts) -> dict[str, Any]:
    """Return what of an on-demand view decides answers."""
    features = [
        {
            "name": f.name,
            "type": str(f.type),
            "default": default_text(f),
            "inputs": dict(f.inputs),
            "function": functions[view.name, view.version, f.name],
        }
        for f in view.features
    ]
    return {"name": view.name, "version": view.version, "features": features}


def service_facts(service: FeatureService) -> dict[str, Any]:
    """Return what of a service decides answers."""
    return {"name": service.name, "features": list(service.features)}


def request_facts(field: RequestField) -> dict[str, Any]:
    """Return what of a request field decides answers."""
    return {"name": field.name, "type": str(field.type)}


def facts(value: Any, *, shown: bool = False) -> Any:  # noqa: ANN401  # a definition, or a part of one
    """Return a catalogue or a placement, or a part of one, as JSON has it.

    Entities count by name; 2 and 2.0 are one number; what JSON has no number for is a text. ``shown``: for programs
    that read it, times are in seconds, in fields whose names end with _s, and choices by their values.
    """
    if isinstance(value, Entity):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in fields(value)}
        names = {name: f"{name}_s" if shown and isinstance(v, timedelta) else name for name, v in given.items()}
        return {"kind": type(value).__name__} | {names[n]: facts(v, shown=shown) for n, v in given.items()}
    if isinstance(value, list | tuple):
        return [facts(item, shown=shown) for item in value]
    if shown and isinstance(value, timedelta | Enum):
        value = value.total_seconds() if isinstance(value, timedelta) else value.value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    is_json = isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))
    return value if is_json else str(value)


def default_text(feature: Feature | OnDemandFeature) -> str | None:
    """Return a feature's default in one form, whether it was written as list or tuple, int or float; None for none."""
    return None if feature.default is None else repr(feature.type.normalize(feature.default))
