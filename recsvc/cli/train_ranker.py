"""``recsvc train ranker``: a model that orders the candidates that a running server finds."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recsvc.cli.get import DEFAULT_SERVER, SERVER_VARIABLE, context_value, pairs
from recsvc.cli.serve import run_loop
from recsvc.cli.train_files import Bar, add_columns, read
from recsvc.client import AsyncClient
from recsvc.errors import ConfigError
from recsvc.registry.loader import load
from recsvc.registry.registry import Registry

if TYPE_CHECKING:
    from recsvc.recommend.ranking.models import Model
    from recsvc.training.examples import Examples
    from recsvc.training.interactions import Interactions

TIMEOUT_S: Final = 10.0
_NOTES: Final = """\
FILE has a row for each item that a user took, all at or after some time; the server must know nothing of that time and
later: load its views and embeddings as of then. A feature whose event time is not before the first row of FILE is
refused, as it would tell the model what it is to predict.

Each user's candidates are asked for once, with the features of the service: a candidate that the user took is right,
all others are not. Give a placement that has no ranker, diversity or cap of its own, and a service of numbers, bools
and timestamps. The model is written to DIR/NAME/VERSION and published: DIR/NAME/CURRENT names it then, and servers with
--model-dir DIR take it within seconds.

example: recsvc train ranker features.py --server localhost:50051 --placement candidates --service home_ranking
           --labels taken.csv --time taken_at --kind trees --model-dir /var/lib/recsvc/models --name home_trees"""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    ranker = actions.add_parser(
        "ranker",
        help="train a ranker on the candidates that a running server finds",
        description="Asks a running server for candidates and their features, fits a model that puts the items that"
        " users took first, and writes it as a bundle. Needs recsvc[train].",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    ranker.add_argument("definitions", metavar="DEFS", help="definitions, as the server has them")
    ranker.add_argument("--placement", required=True, metavar="P", help="the placement that finds candidates")
    ranker.add_argument("--service", required=True, metavar="S", help="the feature service that the model reads")
    ranker.add_argument("--labels", required=True, type=Path, metavar="FILE", help="who took what")
    add_columns(ranker)
    ranker.add_argument("--since", metavar="TIME", help="ISO 8601: all in FILE was taken then or later [its --time]")
    ranker.add_argument("--kind", required=True, choices=("linear", "trees"), help="the model")
    ranker.add_argument("--seed", type=int, default=0, metavar="X", help="of the trees [0]")
    ranker.add_argument("--model-dir", required=True, type=Path, metavar="DIR", help="directory of models")
    ranker.add_argument("--name", required=True, metavar="NAME", help="what placements call the model")
    ranker.add_argument("--model-version", metavar="V", help="its version [the time]")
    ranker.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the request context that the service needs; as of then, too",
    )
    ranker.add_argument(
        "--server",
        default=os.environ.get(SERVER_VARIABLE, DEFAULT_SERVER),
        metavar="HOST:PORT",
        help=f"[{DEFAULT_SERVER}; {SERVER_VARIABLE}]",
    )
    ranker.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        metavar="S",
        help=f"deadline of each call in seconds [{TIMEOUT_S:g}]",
    )
    ranker.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Gather, fit, write and publish; 0 when that is done."""
    if (args.since is None) == (args.time is None):
        raise ConfigError("say when items were taken: --time COL, or --since TIME, one of the two")
    version = args.model_version or f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if (args.model_dir / args.name / version).exists():
        raise ConfigError(f"{args.model_dir / args.name / version} exists already: give another --model-version")
    return run_loop(_train(args, load(args.definitions), version))


async def _train(args: argparse.Namespace, registry: Registry, version: str) -> int:
    # They need packages of extras.
    from recsvc.recommend.ranking.bundle import publish_bundle  # noqa: PLC0415
    from recsvc.training.bundles import write_ranker  # noqa: PLC0415
    from recsvc.training.gather import Wanted, gather, whom  # noqa: PLC0415

    bar = Bar()
    with bar.shown():
        user, item = whom(registry, args.placement)
        taken = read(args, args.labels, user, item, bar)
        since = int(taken.micros.min()) if args.since is None else _micros(args.since)
        context = {name: context_value(text) for name, text in pairs(args.context, "--context").items()}
        bar.begin(f"asking for the candidates of {len(taken.users):,} users")
        async with AsyncClient(args.server, timeout=args.timeout) as client:
            wanted = Wanted(args.placement, args.service, context=context)
            examples = await gather(client, registry, wanted, _by_user(taken), since, bar.step)
        bar.begin(f"fitting {len(examples):,} rows")
        model = _fit(args, examples, bar)
        directory = args.model_dir / args.name / version
        ranker = write_ranker(
            directory, model, examples, registry, name=args.name, service=args.service, version=version
        )
        publish_bundle(args.model_dir / args.name, version)
    print(f"{examples!r}")
    print(f"published {directory}: {ranker!r}")
    return 0


def _fit(args: argparse.Namespace, examples: Examples, bar: Bar) -> Model:
    from recsvc.training.linear import fit_linear  # noqa: PLC0415
    from recsvc.training.trees import TreeParameters, fit_trees  # noqa: PLC0415

    if args.kind == "linear":
        return fit_linear(examples)
    return fit_trees(examples, TreeParameters(seed=args.seed), bar.step)


def _by_user(taken: Interactions) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {user: set() for user in taken.users}
    for user, item in zip(taken.user_of.tolist(), taken.item_of.tolist(), strict=True):
        found[taken.users[user]].add(taken.items[item])
    return found


def _micros(text: str) -> int:
    # Needs pyarrow, of an extra.
    from recsvc.online.ingest_rules import BadValueError, timestamp  # noqa: PLC0415

    try:
        return timestamp(text, None)
    except BadValueError as error:
        raise ConfigError(f"--since: {error}") from None
