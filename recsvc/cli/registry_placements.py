"""How ``recsvc registry show`` prints catalogues and placements: short in tables, whole in JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import timedelta
from enum import Enum
from typing import Any

from rich.markup import escape
from rich.table import Table

from recsvc.registry.differences import is_part, text_of
from recsvc.registry.model import Entity
from recsvc.registry.placement import Catalogue, Placement


def catalogues_table(catalogues: Iterable[Catalogue]) -> Table:
    """Return a table of catalogues: what they are of, and what of it servers keep."""
    table = _table("catalogues", ("catalogue", "item", "popularity", "filters can name"))
    for catalogue in catalogues:
        table.add_row(*map(escape, (catalogue.name, catalogue.item.name, catalogue.popularity, _lines(catalogue.kept))))
    return table


def placements_table(placements: Iterable[Placement]) -> Table:
    """Return a table of placements: where candidates come from, what leaves some out, what ranks them, who differs."""
    table = _table("placements", ("placement", "catalogue", "user", "sources", "filters", "ranking", "experiments"))
    for placement in placements:
        cells = (
            placement.name,
            placement.catalogue,
            placement.user.name if placement.user else "",
            _lines(map(text_of, placement.sources)),
            _lines(f"{c.feature} {text_of(c.predicate)}" for c in placement.filters),
            _ranking(placement),
            _lines(f"{e.name}: {', '.join(v.name for v in e.variants)}" for e in placement.experiments),
        )
        table.add_row(*map(escape, cells))
    return table


def document(definition: Catalogue | Placement) -> dict[str, object]:
    """Return all of a catalogue or placement for programs: entities by name, times in seconds."""
    return _fields(definition)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(texts)


def _ranking(placement: Placement) -> str:
    if placement.service is None:
        return "by sources"
    return f"{placement.ranker or 'by sources'}, with {placement.service}"


def _fields(value: Any) -> dict[str, object]:  # noqa: ANN401  # a definition, or a part of one
    given = {field.name: getattr(value, field.name) for field in fields(value)}
    return {f"{name}_s" if isinstance(v, timedelta) else name: _value(v) for name, v in given.items()}


def _value(value: Any) -> object:  # noqa: ANN401  # what a field has
    if isinstance(value, Entity):
        return value.name
    if is_part(value):
        return {"kind": type(value).__name__} | _fields(value)
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
