"""``recsvc train als``: embeddings from interactions, written to the store and published as indexes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from recsvc.app import now_micros
from recsvc.cli import store
from recsvc.cli.serve import run_loop
from recsvc.cli.train_files import Bar, add_columns, read
from recsvc.errors import ConfigError
from recsvc.recommend.embeddings import embedding
from recsvc.recommend.index.metric import Metric
from recsvc.registry.loader import load
from recsvc.registry.registry import Registry
from recsvc.training.als import AlsParameters, Embeddings, train_als

DEFAULTS: Final = AlsParameters()
_NOTES: Final = """\
FILE has a row for each time a user met an item: Parquet (.parquet), CSV (.csv) or TSV (.tsv, .txt), with a column for
each id, named like the join key of its entity unless --user-column or --item-column say otherwise.

The embeddings are VECTOR features, each in a view of its own, of users and of items. First the vectors of the items are
written, then the indexes are published, then the vectors of the users are written: vectors of two trainings do not go
together, and running servers mix them only for the seconds in between. A user whom the new data does not have keeps the
old vector: give the users' view a max_age of about two trainings, so that such vectors end.

example: recsvc train als features.py --interactions ratings.csv --user-feature user_als:vector
           --item-feature item_als:vector --index als --index alike=COSINE --index-dir /var/lib/recsvc/indexes
           --redis redis://localhost:6379"""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    als = actions.add_parser(
        "als",
        help="train embeddings of users and items, and publish them",
        description="Factorises interactions by alternating least squares (implicit feedback), writes the vectors to"
        " the online store and publishes indexes of the items'. Needs recsvc[train].",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    als.add_argument("definitions", metavar="DEFS", help="definitions: a Python file or module")
    als.add_argument("--interactions", required=True, type=Path, metavar="FILE", help="who met what")
    add_columns(als)
    als.add_argument("--weight", metavar="COL", help="how much a row counts, above 0 [1]; equal pairs add up")
    als.add_argument("--user-feature", required=True, metavar="VIEW:F", help="where the users' vectors go")
    als.add_argument("--item-feature", required=True, metavar="VIEW:F", help="where the items' vectors go")
    als.add_argument(
        "--index",
        required=True,
        action="append",
        metavar="NAME[=METRIC]",
        help="an index of the items' vectors: INNER_PRODUCT finds what a user likes, COSINE what is like an item; may"
        " be given several times [INNER_PRODUCT]",
    )
    als.add_argument("--index-dir", required=True, type=Path, metavar="DIR", help="directory of indexes")
    for name, kind, what in (
        ("regularization", float, "pulls vectors together, and rare items' to zero"),
        ("alpha", float, "confidence of a weight of 1; of no interaction it is 1"),
        ("iterations", int, "rounds of both sides"),
        ("seed", int, "of the first vectors; the same one gives the same result"),
    ):
        default = getattr(DEFAULTS, name)
        als.add_argument(f"--{name}", type=kind, default=default, metavar="X", help=f"{what} [{default}]")
    store.add_redis(als)
    als.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Train, and publish; 0 when that is done."""
    try:
        url = store.store_url(args.redis, os.environ)
        indexes = _indexes(args.index)
    except ConfigError as error:
        print(f"recsvc: {error}", file=sys.stderr)
        return store.WRONG_USAGE
    registry = load(args.definitions)
    return run_loop(_train(args, registry, url, indexes))


def _indexes(words: list[str]) -> dict[str, Metric]:
    """Return the metric of each index by its name."""
    indexes: dict[str, Metric] = {}
    for word in words:
        name, _, metric = word.partition("=")
        if metric and metric not in Metric.__members__:
            raise ConfigError(f"--index {word!r}: the metric is one of {', '.join(Metric)}")
        if not name or name != Path(name).name or name in indexes:
            raise ConfigError(f"--index {word!r}: a name that is a plain one, each once, such as als or alike=COSINE")
        indexes[name] = Metric(metric) if metric else Metric.INNER_PRODUCT
    return indexes


async def _train(args: argparse.Namespace, registry: Registry, url: str, indexes: dict[str, Metric]) -> int:
    # Needs pyarrow, of an extra.
    from recsvc.training.publish import Target, check_target, publish_embeddings  # noqa: PLC0415

    target = Target(args.user_feature, args.item_feature, args.index_dir, indexes)
    view, place = embedding(registry, args.item_feature)
    dimension = registry.schema(view).types[place].bound
    views = check_target(registry, target, dimension)
    parameters = AlsParameters(dimension, args.regularization, args.alpha, args.iterations, args.seed)
    bar = Bar()
    with bar.shown():
        (user,), (item,) = (view.entities for view in views)
        interactions = read(args, args.interactions, user, item, bar)
        bar.begin(f"factorising {len(interactions):,} interactions")
        embeddings = train_als(interactions, parameters, bar.step)
        now = now_micros()
        known_until = now if args.time is None else int(interactions.micros.max())
        async with store.open_store(url) as opened:
            published = await publish_embeddings(
                registry, target, embeddings, opened.writer(), event_micros=known_until, now_micros=now, step=bar.begin
            )
    _tell(embeddings, published.version, target.directory, list(indexes), len(interactions))
    return 0


def _tell(embeddings: Embeddings, version: str, directory: Path, indexes: list[str], interactions: int) -> None:
    print(f"trained on {interactions:,} interactions: {embeddings!r}")
    for name in indexes:
        print(f"published {directory / name / version}")
