"""``recsvc get user_id=196 profile activity:watch_count_7d``: asks a running server, and prints what it says."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsvc.cli.console import output, print_table
from recsvc.client import Client, FeatureBatch, FeatureRow, ServedView
from recsvc.client.context import ContextValue
from recsvc.errors import ConfigError

DEFAULT_SERVER: Final = "127.0.0.1:50051"
SERVER_VARIABLE: Final = "RECSVC_SERVER"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "get",
        help="read features of one row from a running server",
        description="Reads features of one row and prints value, status, source and age.",
        epilog="example: recsvc get user_id=196 profile activity:watch_count_7d",
        allow_abbrev=False,
    )
    parser.add_argument(
        "words",
        nargs="*",  # a service of request context alone needs none
        metavar="KEY=ID | REFERENCE",
        help="join keys (user_id=196) and feature references (view:feature, view@v2:feature, view)",
    )
    parser.add_argument("--service", metavar="NAME", help="a feature service, instead of references")
    add_call(parser)
    parser.set_defaults(handler=run)


def add_call(parser: argparse.ArgumentParser) -> None:
    """Add what all calls of a server take."""
    parser.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help='a field of the request context: a JSON value (3, 0.5, true, "3", [1, 2]), a time (2026-01-31T12:00:00Z,'
        " or now) or a text",
    )
    parser.add_argument(
        "--server",
        default=os.environ.get(SERVER_VARIABLE, DEFAULT_SERVER),
        metavar="HOST:PORT",
        help=f"[{DEFAULT_SERVER}; {SERVER_VARIABLE}]",
    )
    parser.add_argument("--timeout", type=float, default=2.0, metavar="S", help="deadline of the call in seconds [2]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Ask and print; 0 where an answer came."""
    entities = pairs([w for w in args.words if "=" in w], "a join key")
    references = [w for w in args.words if "=" not in w]
    if bool(references) == bool(args.service):
        raise ConfigError("name features (view:feature, or a whole view), or --service NAME, one of the two")
    context = {name: context_value(text) for name, text in pairs(args.context, "--context").items()}
    with Client(args.server, timeout=args.timeout) as client:
        row = client.get_features(
            entities, service=args.service, features=references, context=context, event_times=True
        )
    if args.json:
        print(json.dumps(document(row), indent=2, ensure_ascii=False))
    else:
        print_row(output(), row, datetime.now(UTC))
    return 0


def pairs(texts: Sequence[str], what: str) -> Mapping[str, str]:
    """Read NAME=VALUE texts, each name once; raises ConfigError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"{what} {text!r} is not NAME=VALUE")
        if name in found:
            raise ConfigError(f"{what} {name!r} is given twice")
        found[name] = value
    return found


def context_value(text: str) -> ContextValue:
    """Read a field of the request context: a JSON value, a time, or else a text."""
    if text == "now":
        return datetime.now(UTC)
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, bool | int | float | str | list):
            return value
    with contextlib.suppress(ValueError):
        return _time(text)
    return text


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def print_row(console: Console, row: FeatureRow, now: datetime) -> None:
    """Print an answer as a table, and below it which definitions answered and what did not work."""
    table = Table(box=None, pad_edge=False)
    for column in ("feature", "value", "status", "source", "age"):
        table.add_column(column, no_wrap=column == "feature", overflow="fold")
    for feature in row.values():
        table.add_row(
            feature.name, text_of(feature.value), feature.status.name, feature.source.name, age(feature.event_time, now)
        )
    print_table(console, table)
    print_footer(console, row)


def print_footer(console: Console, answer: FeatureRow | FeatureBatch) -> None:
    """Print which definitions answered, and what did not work."""
    views = ", ".join(f"{v.view}@v{v.version}" for v in answer.views)
    console.print(f"[dim]registry {answer.registry_fingerprint} · {views}[/dim]", soft_wrap=True)
    for view in answer.views:
        if len(view.stale_ages):
            console.print(f"[yellow]copy of {view.view}@v{view.version}: {_span(view.stale_age)} old[/yellow]")
    for degradation in answer.degraded:
        console.print(f"[yellow]degraded: {degradation.reason.name} {degradation.view}[/yellow]")


def text_of(value: object) -> str:
    """Return a value for the eye, as rich's markup: six digits, times to the second, long lists cut."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.6g}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case str():
            return escape(value)
        case Sequence():
            items = [text_of(v) for v in value[:3]]
            more = f", … {len(value)}" if len(value) > len(items) else ""
            return f"\\[{', '.join(items)}{more}]"
        case _:
            return str(value)


_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def age(event_time: datetime | None, now: datetime) -> str:
    """Return how long ago ``event_time`` is, in its largest unit."""
    return "-" if event_time is None else _span(now - event_time)


def _span(time: timedelta) -> str:
    seconds = time.total_seconds()
    for size, unit in _UNITS:
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def document(row: FeatureRow) -> Mapping[str, object]:
    """Return an answer as JSON has it; times are ISO 8601, UTC, and numbers that JSON has not are strings."""
    features = [
        {
            "name": f.name,
            "value": plain(f.value),
            "status": f.status.name,
            "source": f.source.name,
            "event_time": None if f.event_time is None else f.event_time.isoformat(),
        }
        for f in row.values()
    ]
    return {
        "features": features,
        "degraded": [{"reason": d.reason.name, "view": d.view} for d in row.degraded],
        "registry_fingerprint": row.registry_fingerprint,
        "views": [_view_document(v) for v in row.views],
    }


def _view_document(view: ServedView) -> Mapping[str, object]:
    document: dict[str, object] = {"view": view.view, "version": view.version}
    if len(view.stale_ages):
        document["stale_age_s"] = view.stale_age.total_seconds()
    return document


def plain(value: object) -> object:
    """Return a value as JSON has it; a number that JSON has not is a string."""
    match value:
        case datetime():
            return value.isoformat()
        case float() if not math.isfinite(value):
            return str(value)
        case None | str() | bool() | int() | float():
            return value
        case Sequence():
            return [plain(v) for v in value]
        case _:
            return str(value)
