"""``recsvc index build | verify``: vector indexes from embeddings in the store, and how well they find."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from recsvc.app import now_micros
from recsvc.cli import store
from recsvc.cli.serve import run_loop
from recsvc.errors import ConfigError
from recsvc.online.redis_whole_view import RedisWholeView
from recsvc.recommend.embeddings import embedding, read_embeddings
from recsvc.recommend.index.directory import open_index, write
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.fit import item_queries
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import newest, prune, publish
from recsvc.recommend.index.stored import Stored
from recsvc.recommend.index.table import VectorTable, vector_table
from recsvc.recommend.index.verify import measure
from recsvc.registry.loader import load

EXACT_MOST: Final = 100_000
"""Up to so many vectors an exact scan is fast enough."""
QUERIES: Final = 100
KEPT: Final = 2
"""Versions that stay beside the published one, to go back to."""
RATES: Final = (1.0, 0.5, 0.1, 0.05, 0.01, 0.001)
LEAST: Final = 0.95


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
    build.add_argument("--exact", action="store_true", help=f"no lists, also for more than {EXACT_MOST:,} vectors")
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
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
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
        index = _index(args, ids, vectors, lambda step: bar.update(task, description=step))
        bar.update(task, description="writing")
        root = args.index_dir / args.name
        queries = _queries(index.table)
        directory = write(root, index, queries)
        publish(root, index.version)
        prune(root, KEPT)
    print(f"published {directory}: {len(ids):,} vectors of {vectors.shape[1]} components, {index.metric}, {index!r}")
    return 0


def _index(
    args: argparse.Namespace, ids: list[str], vectors: NDArray[np.float32], step: Callable[[str], None]
) -> Stored:
    table = vector_table(ids, vectors, Metric(args.metric))
    version = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if args.exact or len(ids) <= EXACT_MOST:
        return ExactIndex(table, version=version)
    try:
        from recsvc.recommend.index.faiss_build import build  # noqa: PLC0415  # faiss is an extra
    except ImportError as error:
        raise ConfigError("more than 100,000 vectors want faiss: pip install 'recsvc[index]', or --exact") from error
    rng = np.random.default_rng(0)
    return build(table, _queries(table), version=version, rng=rng, clock=time.perf_counter, step=step)


def _queries(table: VectorTable) -> NDArray[np.float32]:
    return item_queries(table, min(QUERIES, len(table)), np.random.default_rng(0))


def run_verify(args: argparse.Namespace) -> int:
    """Measure and print; 1 where the recall is too low."""
    directory = newest(args.index_dir / args.name)
    if directory is None:
        raise ConfigError(f"nothing is published in {args.index_dir / args.name}")
    index = open_index(directory)
    table = Table(title=f"{directory}: {len(index):,} vectors", box=None, title_justify="left")
    for name in ("pass rate", "recall, mean", "recall, least", "short answers"):
        table.add_column(name, justify="right")
    found = measure(index, _queries(index.table), RATES, np.random.default_rng(1))
    for one in found:
        table.add_row(f"{one.rate:.1%}", f"{one.recall:.4f}", f"{one.least:.4f}", str(one.short))
    Console().print(table)
    return int(any(one.recall < args.least for one in found))
