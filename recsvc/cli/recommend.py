"""``recsvc recommend home user_id=196``: asks a running server for a slate, and prints it."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from recsvc.cli.console import output
from recsvc.cli.get import add_call, context_value, pairs, plain
from recsvc.cli.slate_view import print_slate
from recsvc.client import Client, Explain, Filter, Slate, any_of
from recsvc.client.context import ContextValue
from recsvc.errors import ConfigError

HOME: Final = "home"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "recommend",
        help="ask a running server for a slate of items",
        description="Asks for a slate of a placement and prints it.",
        epilog="example: recsvc recommend home user_id=196 --limit 10 --category Comedy --explain",
        allow_abbrev=False,
    )
    parser.add_argument("placement", nargs="?", metavar="PLACEMENT", help=f"name of the placement [{HOME}]")
    parser.add_argument("user", nargs="?", metavar="KEY=ID", help="join key and id of the user; without it: anonymous")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="how many items [as the placement says]")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="VIEW:FEATURE=VALUE",
        help="only items with this value, or a list with it; several of one feature: one of them",
    )
    parser.add_argument(
        "--category", action="append", default=[], metavar="NAME", help="only items of this category, or of several"
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="ID", help="an item that must not come")
    parser.add_argument(
        "--seed", action="append", default=[], metavar="ID", help="an item that the slate is to be like"
    )
    parser.add_argument(
        "--feature", action="append", default=[], metavar="REFERENCE", help="a feature of the items to show"
    )
    parser.add_argument("--explain", action="store_true", help="say why each item is there, and what was left out")
    parser.add_argument(
        "--page-token", metavar="TOKEN", help="go on where the page before ended: what it printed as `next page`"
    )
    add_call(parser)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Ask and print; 0 where an answer came."""
    placement, user = placement_and_user([text for text in (args.placement, args.user) if text is not None])
    context = {name: context_value(text) for name, text in pairs(args.context, "--context").items()}
    if args.page_token == "":
        raise ConfigError("--page-token is empty: there is no next page; without the flag the first one comes")
    with Client(args.server, timeout=args.timeout) as client:
        slate = client.recommend(
            placement,
            user,
            limit=args.limit,
            context=context,
            filters=[*filters(args.filter), *([any_of("category", args.category)] if args.category else [])],
            exclude=args.exclude,
            seeds=args.seed,
            features=args.feature,
            explain=Explain.DIAGNOSTICS if args.explain else Explain.NONE,
            page_token=args.page_token or "",
        )
    if args.json:
        print(json.dumps(document(slate), indent=2, ensure_ascii=False))
    else:
        console = output()
        print_slate(console, slate, typed(args.filter, args.category))
        if slate.next_page_token:
            console.print(f"next page: --page-token {slate.next_page_token}", highlight=False, soft_wrap=True)
    return 0


def placement_and_user(words: Sequence[str]) -> tuple[str, str | None]:
    """Read a placement and KEY=ID, both of which may be left out. Raises ConfigError.

    Any KEY will do: the request has the id alone, as the placement knows of which entity its user is.
    """
    placements = [word for word in words if "=" not in word]
    users = [word.partition("=") for word in words if "=" in word]
    if len(placements) > 1 or len(users) > 1:
        raise ConfigError(f"{' '.join(words)!r}: at most one placement, and one KEY=ID of the user")
    for name, _, user in users:
        if not name or not user:
            raise ConfigError(f"{f'{name}={user}'!r} is not KEY=ID, such as user_id=196")
    return placements[0] if placements else HOME, users[0][2] if users else None


def filters(texts: Sequence[str]) -> list[Filter]:
    """Read VIEW:FEATURE=VALUE texts; values of one feature are alternatives. Raises ConfigError."""
    wanted: dict[str, list[ContextValue]] = {}
    for text in texts:
        feature, equals, value = text.partition("=")
        if not equals or not feature:
            raise ConfigError(f"--filter {text!r} is not VIEW:FEATURE=VALUE")
        wanted.setdefault(feature, []).append(context_value(value))
    return [any_of(feature, values) for feature, values in wanted.items()]


def typed(filtered: Sequence[str], categories: Sequence[str]) -> Mapping[str, str]:
    """Return the words by which the user left items out, by what the server calls that."""
    asked: dict[str, list[str]] = {}
    for text in filtered:
        asked.setdefault(text.partition("=")[0], []).extend(("--filter", text))
    words = [*asked.values(), [word for name in categories for word in ("--category", name)]]
    filters = {f"filters[{index}]": shlex.join(each) for index, each in enumerate(words)}
    return {**filters, "excluded": "--exclude", "seeds": "--seed"}


def document(slate: Slate) -> Mapping[str, object]:
    """Return a slate as JSON has it; a score that is not known is null, diagnostics are there where asked for."""
    columns = {name: column.expanded(len(slate)).to_list() for name, column in slate.columns.items()}
    items = [
        {
            "item_id": item.id,
            "title": item.title,
            "rank": item.rank,
            "score": None if math.isnan(item.score) else plain(item.score),
            "sources": dict(item.sources),
            "reasons": [{"code": r.code.name, "item_id": r.item_id, "category": r.category} for r in item.reasons],
            "features": {name: plain(values[index]) for name, values in columns.items()},
        }
        for index, item in enumerate(slate)
    ]
    found: dict[str, object] = {
        "recommendation_id": slate.recommendation_id,
        "session_recommendation_id": slate.session_recommendation_id,
        "items": items,
        "assignments": [
            {"experiment": a.experiment, "variant": a.variant, "source": a.source.name} for a in slate.assignments
        ],
        "ranked_by": slate.ranked_by.name,
        "model_version": slate.model_version,
        "index_versions": dict(slate.index_versions),
        "degraded": [{"reason": d.reason.name, "view": d.view, "source": d.source} for d in slate.degraded],
        "relaxed": [rule.name for rule in slate.relaxed],
        "registry_fingerprint": slate.registry_fingerprint,
        "next_page_token": slate.next_page_token,
    }
    return found | ({"diagnostics": _diagnostics(slate)} if slate.message.HasField("diagnostics") else {})


def _diagnostics(slate: Slate) -> Mapping[str, object]:
    sent = slate.message.diagnostics
    return {
        "drops": [{"filter": d.filter, "dropped": d.dropped} for d in sent.drops],
        "passed": sent.passed,
        "candidates": dict(sent.candidates),
        "no_contributions": sent.no_contributions,
        "stage_scores": [{s.stage: plain(s.score) for s in item.stage_scores} for item in slate.message.items],
        "contributions": [{c.feature: plain(c.value) for c in item.contributions} for item in slate.message.items],
    }
