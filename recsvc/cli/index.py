"""``recsvc index build | verify``: vector indexes from embeddings in the store, and how well they find."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from recsvc.app import now_micros
from recsvc.cli import store
from recsvc.cli.console import counted, output, print_table
from recsvc.cli.serve import run_loop
from recsvc.errors import ConfigError
from recsvc.online.redis_vector_sets import RedisVectorSets
from recsvc.online.redis_whole_view import RedisWholeView
from recsvc.recommend.embeddings import embedding, read_embeddings
from recsvc.recommend.index import manifest as manifests
from recsvc.recommend.index.building import EXACT_MOST, publish_in_redis, publish_vectors, sampled_queries
from recsvc.recommend.index.directory import open_index
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.published import newest
from recsvc.recommend.index.remote import RemoteIndex
from recsvc.recommend.index.stored import Stored
from recsvc.recommend.index.verify import measure
from recsvc.registry.loader import load

RATES: Final = (1.0, 0.5, 0.1, 0.05, 0.01, 0.001)
LEAST: Final = 0.95
PATIENT_S: Final = 5.0
"""How long a search may take while an index in Redis is measured."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser("index", help="build and verify vector indexes for recommendations")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="build an index of an embedding, and publish it",
        description="Reads all vectors of a feature from the online store, indexes them, and publishes the index under"
        " --index-dir; servers take it within seconds, without a pause.",
        epilog="example: recsvc index build features.py item:als --name als --index-dir /var/lib/recsvc/indexes",
        allow_abbrev=False,
    )
    build.add_argument("definitions", metavar="DEFS", help="definitions: a Python file or module")
    build.add_argument("feature", metavar="VIEW:FEATURE", help="a VECTOR feature of items")
    build.add_argument("--name", required=True, metavar="NAME", help="what placements call the index")
    build.add_argument("--metric", choices=[m.value for m in Metric], default=Metric.COSINE.value, help="[COSINE]")
    kind = build.add_mutually_exclusive_group()
    kind.add_argument("--exact", action="store_true", help=f"no lists, also for more than {EXACT_MOST:,} vectors")
    kind.add_argument(
        "--in-redis",
        action="store_true",
        help="keep the vectors in that Redis, which needs its Query Engine (Redis 8, or the module `search`); servers"
        " search them there, and DIR has the rest",
    )
    store.add_redis(build)
    verify = actions.add_parser(
        "verify",
        help="measure how well a published index finds",
        description="Compares the published index with an exact scan of its vectors under filters that let different"
        " shares of the items pass. Status 1 where the mean recall at one of them is below --least.",
        allow_abbrev=False,
    )
    verify.add_argument("name", metavar="NAME", help="the index")
    verify.add_argument("--least", type=float, default=LEAST, metavar="R", help=f"least recall [{LEAST}]")
    store.add_redis(verify)
    for action, handler in ((build, run_build), (verify, run_verify)):
        action.add_argument("--index-dir", required=True, type=Path, metavar="DIR", help="directory of indexes")
        action.set_defaults(handler=handler)


def run_build(args: argparse.Namespace) -> int:
    """Build and publish; 0 when that is done."""
    try:
        url = store.existing(store.store_url(args.redis, os.environ))
    except ConfigError as error:
        print(f"recsvc: {error}", file=sys.stderr)
        return store.WRONG_USAGE
    return run_loop(_build(args, url))


async def _build(args: argparse.Namespace, url: str) -> int:
    registry = load(args.definitions)
    view, feature = embedding(registry, args.feature)
    root, version = args.index_dir / args.name, f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading")
        async with store.open_store(url) as opened:
            rows = RedisWholeView(opened.client, view)
            ids, vectors = await read_embeddings(
                registry,
                view,
                feature,
                rows,
                now_micros(),
                lambda done: bar.update(task, description=f"{done:,} rows of {view.label} read"),
            )
            if not ids:
                raise ConfigError(f"{args.feature} has no vectors in the store: nothing to index")
            bar.update(task, description=f"indexing {len(ids):,} vectors")
            index: VectorIndex
            if args.in_redis:
                with closing(RedisVectorSets(opened.url)) as sets:
                    index = publish_in_redis(
                        root,
                        ids,
                        vectors,
                        Metric(args.metric),
                        version=version,
                        stores=sets,
                        on_progress=lambda done: bar.update(
                            task, description=f"{done:,} of {len(ids):,} vectors written to Redis"
                        ),
                    )
            else:
                index = publish_vectors(
                    root,
                    ids,
                    vectors,
                    Metric(args.metric),
                    version=version,
                    exact=args.exact,
                    step=lambda step: bar.update(task, description=step),
                )
    where = "in Redis" if args.in_redis else "scanned" if isinstance(index, ExactIndex) else "in lists"
    shape = f"{counted(len(ids), 'vector')} of {counted(vectors.shape[1], 'component')}"
    print(f"published {root / version}: {shape}, {index.metric}, {where}")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Measure and print; 1 where the recall is too low."""
    directory = newest(args.index_dir / args.name)
    if directory is None:
        raise ConfigError(f"nothing is published in {args.index_dir / args.name}")
    if manifests.read(directory).redis is not None:
        return run_loop(_verify_in_redis(args, directory, store.existing(store.store_url(args.redis, os.environ))))
    return _measured(args, directory, open_index(directory))


async def _verify_in_redis(args: argparse.Namespace, directory: Path, url: str) -> int:
    async with store.open_store(url) as opened:
        with closing(RedisVectorSets(opened.url, search_s=PATIENT_S)) as sets:
            return _measured(args, directory, open_index(directory, stores=sets))


def _measured(args: argparse.Namespace, directory: Path, index: Stored | RemoteIndex) -> int:
    vectors = index.table() if isinstance(index, RemoteIndex) else index.table
    table = Table(title=f"{directory}: {counted(len(index), 'vector')}", box=None, title_justify="left")
    for name in ("pass rate", "recall, mean", "recall, least", "short answers"):
        table.add_column(name, justify="right")
    found = measure(index, vectors, sampled_queries(vectors), RATES, np.random.default_rng(1))
    for one in found:
        table.add_row(f"{one.rate:.1%}", f"{one.recall:.4f}", f"{one.least:.4f}", str(one.short))
    print_table(output(), table)
    return int(any(one.recall < args.least for one in found))
