"""How ``recsvc registry show`` prints catalogues and placements in tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from recsvc.registry.differences import text_of
from recsvc.registry.placement import Catalogue, Placement


def catalogues_table(catalogues: Iterable[Catalogue]) -> Table:
    """Return a table of catalogues: what they are of, and what of it servers keep."""
    table = _table("catalogues", ("catalogue", "item", "popularity", "filters can name"))
    for catalogue in catalogues:
        table.add_row(
            *map(escape, (catalogue.name, catalogue.item.name, catalogue.popularity, "\n".join(catalogue.kept)))
        )
    return table


def placements_table(placements: Iterable[Placement]) -> Table:
    """Return a table of placements: where candidates come from, what leaves some out, what ranks them, who differs."""
    table = _table("placements", ("placement", "catalogue", "user", "sources", "filters", "ranking", "experiments"))
    for placement in placements:
        cells = (
            placement.name,
            placement.catalogue,
            placement.user.name if placement.user else "",
            "\n".join(map(text_of, placement.sources)),
            "\n".join(f"{c.feature} {text_of(c.predicate)}" for c in placement.filters),
            _ranking(placement),
            "\n".join(f"{e.name}: {', '.join(v.name for v in e.variants)}" for e in placement.experiments),
        )
        table.add_row(*map(escape, cells))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _ranking(placement: Placement) -> str:
    if placement.service is None:
        return "by sources"
    return f"{placement.ranker or 'by sources'}, with {placement.service}"
