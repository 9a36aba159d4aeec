"""``recsvc registry show | check | diff``: what is defined, whether it is right, and what a change would do."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.markup import escape
from rich.table import Table

from recsvc.cli.console import counted, output, print_table
from recsvc.cli.registry_placements import catalogues_table, placements_table
from recsvc.registry.compat import compare
from recsvc.registry.fingerprint import facts
from recsvc.registry.loader import load
from recsvc.registry.model import Auto, Feature, FeatureView, OnDemandFeature, OnDemandView
from recsvc.registry.registry import Registry

BREAKING = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser("registry", help="show, check and compare definitions", allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print all that is defined", allow_abbrev=False)
    show.add_argument("definitions", metavar="DEFS", help="a Python file or module")
    show.add_argument("--json", action="store_true", help="print JSON instead of tables")
    show.set_defaults(handler=_show)
    check = actions.add_parser(
        "check", help="say everything that is wrong; status 1 if anything is", allow_abbrev=False
    )
    check.add_argument("definitions", metavar="DEFS", help="a Python file or module")
    check.set_defaults(handler=_check)
    diff = actions.add_parser(
        "diff",
        help="compare two definitions; status 1 if NEW breaks rows or callers of OLD",
        description=(
            "What NEW changes against OLD. What breaks rows (stored ones could not be read or found) a server of OLD"
            " refuses at a reload. What breaks callers (something that they name is gone or of another type) it takes,"
            " and logs a warning. Swap the two to see what a rollback changes."
        ),
        allow_abbrev=False,
    )
    diff.add_argument("old", metavar="OLD", help="a Python file or module")
    diff.add_argument("new", metavar="NEW", help="a Python file or module")
    diff.set_defaults(handler=_diff)


def _check(args: argparse.Namespace) -> int:
    registry = load(args.definitions)
    counts = counted(len(registry.views), "view"), counted(len(registry.placements), "placement")
    print(f"{args.definitions}: right ({', '.join(counts)}, registry {registry.fingerprint})")
    return 0


def _diff(args: argparse.Namespace) -> int:
    old, new = load(args.old), load(args.new)
    changes = compare(old, new)
    print(f"registry {old.fingerprint} -> {new.fingerprint}")
    for change in changes:
        print(f"  {f'BREAKING {change.breaks.value}: ' if change.breaks else ''}{change}")
    breaking = sum(c.breaks is not None for c in changes)
    print(f"{counted(len(changes), 'change')}, {breaking} breaking" if changes else "no changes")
    return BREAKING if breaking else 0


def _show(args: argparse.Namespace) -> int:
    registry = load(args.definitions)
    if args.json:
        print(json.dumps(_document(registry), indent=2, ensure_ascii=False))
        return 0
    console = output()
    console.print(f"registry {registry.fingerprint}", highlight=False)
    for view in _views(registry):
        print_table(console, _view_table(registry, view))
        console.print(_facts(view), soft_wrap=True, markup=False, highlight=False)
    print_table(console, _services_table(registry))
    if registry.catalogues:
        print_table(console, catalogues_table(registry.catalogues.values()))
    if registry.placements:
        print_table(console, placements_table(registry.placements.values()))
    if registry.request:
        fields = ", ".join(f"{f.name} {f.type}" for f in registry.request.values())
        console.print(f"request context: {fields}", markup=False)
    return 0


def _views(registry: Registry) -> Sequence[FeatureView | OnDemandView]:
    return [*registry.views.values(), *registry.on_demand.values()]


def _view_table(registry: Registry, view: FeatureView | OnDemandView) -> Table:
    active = "active" if registry.active[view.name] == view.version else "not active"
    table = Table(title=f"{view.label} ({active})", title_justify="left")
    for column in ("feature", "type", "default", "sensitivity", "description"):
        table.add_column(column, no_wrap=column == "feature")
    for feature in view.features:
        cells = (str(feature.type), _default(feature.default), feature.sensitivity.value, feature.description)
        table.add_row(feature.name, *map(escape, cells))
    return table


def _default(default: object) -> str:
    if default is None:
        return ""
    return str(default) if isinstance(default, datetime) else repr(default)


def _facts(view: FeatureView | OnDemandView) -> str:
    owner = f"owner {view.owner}" if view.owner else "no owner"
    if isinstance(view, OnDemandView):
        return f"on demand, {owner}"
    keys = " x ".join(f"{e.name} ({e.join_key} {e.key_type.layout})" for e in view.entities)
    source = view.live_source
    facts = [
        keys,
        f"freshness {view.freshness or '-'}",
        f"max age {view.effective_max_age or 'none'}",
        f"ttl {view.effective_ttl or 'none'}",
        f"source {source.name if source else '-'}",
        *(f"{name} {value}" for name, value in _copies(view) if value is not None),
        *([] if view.serve_default else ["no defaults"]),
        *(["mirrored"] if view.mirrored else []),
        owner,
    ]
    return ", ".join(facts)


def _copies(view: FeatureView) -> list[tuple[str, timedelta | None]]:
    """Return what a view says of copies of its rows; None: what the server says."""
    named = (("cache", view.cache), ("stale if error", view.stale_if_error))
    return [(name, None if isinstance(value, Auto) else value) for name, value in named]


def _services_table(registry: Registry) -> Table:
    table = Table(title="feature services", title_justify="left")
    for column in ("service", "features", "references"):
        table.add_column(column)
    for service in registry.services.values():
        plan = registry.service_plan(service.name)
        table.add_row(service.name, str(len(plan.outputs)), ", ".join(service.features))
    return table


def _document(registry: Registry) -> dict[str, object]:
    """Return what a program wants to know of a registry."""
    return {
        "fingerprint": registry.fingerprint,
        "active": dict(registry.active),
        "views": [_view_document(v) for v in _views(registry)],
        "services": {s.name: list(s.features) for s in registry.services.values()},
        "request": {f.name: str(f.type) for f in registry.request.values()},
        "catalogues": [facts(c, shown=True) for c in registry.catalogues.values()],
        "placements": [facts(p, shown=True) for p in registry.placements.values()],
    }


def _view_document(view: FeatureView | OnDemandView) -> dict[str, object]:
    document: dict[str, object] = {
        "name": view.name,
        "version": view.version,
        "owner": view.owner,
        "features": [_feature_document(f) for f in view.features],
    }
    if isinstance(view, FeatureView):
        document["join_keys"] = [e.join_key for e in view.entities]
        for name in ("freshness", "effective_max_age", "effective_ttl"):
            value = getattr(view, name)
            document[f"{name.removeprefix('effective_')}_s"] = None if value is None else value.total_seconds()
        for name, value in _copies(view):
            document[f"{name.replace(' ', '_')}_s"] = None if value is None else value.total_seconds()
        document["serve_default"] = view.serve_default
    return document


def _feature_document(feature: Feature | OnDemandFeature) -> dict[str, object]:
    """Return what a program wants to know of a feature; the default as rows have it (times as int microseconds)."""
    default = None if feature.default is None else feature.type.normalize(feature.default)
    if isinstance(default, float) and not math.isfinite(default):
        default = str(default)
    return {
        "name": feature.name,
        "type": str(feature.type),
        "default": default,
        "description": feature.description,
        "owner": feature.owner,
        "sensitivity": feature.sensitivity.value,
    }
