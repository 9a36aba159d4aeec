"""``recsvc demo``: the main job in one command: a private Redis, definitions, data, a server, a call of each method."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from recsvc import config
from recsvc.app import App, connection_settings, running
from recsvc.cli.console import output, print_table
from recsvc.cli.get import print_footer, print_row, text_of
from recsvc.cli.serve import add_settings, announcement, cancel_on_signals, run_loop, set_up_logs, stop_event
from recsvc.cli.slate_view import print_slate
from recsvc.client import AsyncClient, Explain, FeatureBatch, Source, Status, any_of
from recsvc.demo import definitions, placements, recommending
from recsvc.demo.data import DemoData, open_data
from recsvc.demo.synthetic import write_dataset
from recsvc.online.redis_open import OpenRedis, open_redis
from recsvc.rpc.listening import ensure_free
from recsvc.training.als import AlsParameters, train_als
from recsvc.training.interactions import Interactions

SPEC: Final = "recsvc.demo.placements:registry"
INTERRUPTED: Final = 130
SEED: Final = 7
EXAMPLE_USER: Final = 196
MAX_FILMS: Final = 500
REDIS: Final = "RECSVC_REDIS"
LOG_LEVEL: Final = "RECSVC_LOG_LEVEL"
QUIET: Final = "warning"
SHOWN_ROWS: Final = 8
SHOWN_OF_FILMS: Final = ("film:genres",)
SHOWN_COLUMNS: Final = (
    "activity:rating_mean",
    "film_stats:rating_mean",
    "film_stats:popularity",
    "rated:rating",
    "live:mean_difference",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "demo",
        help="serve example features from a private Redis and show one call of each method",
        description="Loads example data into a private Redis, serves it, and shows one call of each method with"
        " its answer. Needs recsvc[demo].",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a directory in the form of MovieLens 100K as RecBole keeps it (*.inter, *.item, *.user);"
        " without it, data is made up",
    )
    parser.add_argument("--once", action="store_true", help="end after the calls, instead of serving on")
    parser.add_argument(
        "--redis",
        metavar="X",
        help=f"the online store that the demo writes to, as `recsvc serve` takes it [embedded, whatever {REDIS} says]",
    )
    parser.add_argument("--log-level", metavar="X", help=f"as of `recsvc serve` [{QUIET}; {LOG_LEVEL}]")
    add_settings(parser, without={"redis", "log_level", "index_dir"})
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 when all went well."""
    # Not from the environment: a demo must not write into somebody's store because RECSVC_REDIS happens to be set.
    environment = {LOG_LEVEL: QUIET} | {name: value for name, value in os.environ.items() if name != REDIS}
    settings = config.check(config.load(vars(args), environment=environment))
    if args.once and args.listen is None:
        settings = replace(settings, listen="127.0.0.1:0", lame_duck_s=0.0, refuse_s=0.0)
    set_up_logs(settings)
    try:
        run_loop(_demo(settings, args.data, once=args.once))
    except asyncio.CancelledError:  # a signal came before it served
        return INTERRUPTED
    return 0


async def _demo(settings: config.Settings, directory: Path | None, *, once: bool) -> None:
    # Needs pyarrow, of an extra; the other commands must run without.
    from recsvc.evaluation.films import load_views  # noqa: PLC0415

    await ensure_free(settings.listen)
    cancel_on_signals()
    console = output()
    with ExitStack() as stack:
        data = stack.enter_context(_data(console, directory, stack))
        async with open_redis(settings.redis, connection_settings(settings)) as redis:
            await load_views(data, placements.registry, redis, partial(_say, console))
            films = _ids(data)
            indexes = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recsvc-demo-index-")))
            await _train(console, redis, data, indexes)
            async with running(replace(settings, redis=redis.url, index_dir=str(indexes)), SPEC) as app:
                _say(console, announcement(app))
                await _show_calls(console, app.address, films)
                if not once:
                    stopping = stop_event()
                    _say_what_to_try(console, app)
                    await stopping.wait()
                    _say(console, "stopping")


def _data(console: Console, directory: Path | None, stack: ExitStack) -> DemoData:
    now = datetime.now(UTC)
    if directory is None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recsvc-demo-")))
        write_dataset(directory, seed=SEED)
        _say(console, f"data: made up (seed {SEED}); --data DIR takes MovieLens")
    else:
        _say(console, f"data: {directory}")
    data = open_data(directory, now)
    moved = f"all times moved forward by {data.shift.days} days, so that the data ends {data.end:%Y-%m-%d %H:%M} UTC"
    _say(console, f"      {moved}")
    return data


def _ids(data: DemoData) -> Sequence[int]:
    films: list[int] = data.compute(definitions.FILM_FACTS).column("item_id").to_pylist()
    return films[:MAX_FILMS]


async def _train(console: Console, redis: OpenRedis, data: DemoData, indexes: Path) -> None:
    """Train embeddings and publish them, with an index of films by their genres."""
    # Needs packages of an extra, as _demo does.
    from recsvc.evaluation.films import publish_films  # noqa: PLC0415

    interactions = Interactions.from_columns(*data.rated())
    started = time.perf_counter()
    embeddings = await asyncio.to_thread(train_als, interactions, AlsParameters(dimension=recommending.DIMENSION))
    took = time.perf_counter() - started
    await publish_films(data, placements.registry, embeddings, redis, indexes)
    names = ", ".join([recommending.GENRE_INDEX, *recommending.INDEXES])
    _say(console, f"trained embeddings of {len(interactions):,} ratings in {took:.1f} s: {embeddings!r}")
    _say(console, f"published indexes {names}")


async def _show_calls(console: Console, address: str, films: Sequence[int]) -> None:
    now = datetime.now(UTC)
    async with AsyncClient(address, timeout=5.0) as client:
        _say(console, f"\nGetFeatures: user {EXAMPLE_USER}, film {films[0]}, service ranking")
        row = await client.get_features(
            {"user_id": EXAMPLE_USER, "item_id": films[0]},
            service="ranking",
            context={"request_time": now, "list_position": 1},
            event_times=True,
        )
        print_row(console, row, now)
        started = time.perf_counter()
        batch = await client.get_features_batch(
            {"user_id": EXAMPLE_USER, "item_id": films},
            service="ranking",
            context={"request_time": now, "list_position": list(range(1, len(films) + 1))},
        )
        took = timedelta(seconds=time.perf_counter() - started)
        title = f"GetFeaturesBatch: user {EXAMPLE_USER} x {batch.rows} films, service ranking: {len(batch)} features"
        _say(console, f"\n{title} in {took.total_seconds() * 1000:.1f} ms")
        _print_batch(console, batch, films)
        _say(console, f"\nRecommend: user {EXAMPLE_USER}, placement home")
        print_slate(
            console, await client.recommend("home", EXAMPLE_USER, features=SHOWN_OF_FILMS, explain=Explain.REASONS)
        )
        comedies = [any_of("film:genres", ["Comedy"])]
        _say(console, f"\nRecommend: user {EXAMPLE_USER}, placement home, comedies alone")
        slate = await client.recommend(
            "home", EXAMPLE_USER, limit=5, filters=comedies, features=SHOWN_OF_FILMS, explain=Explain.REASONS
        )
        print_slate(console, slate)


def _print_batch(console: Console, batch: FeatureBatch, films: Sequence[int]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("item_id", justify="right")
    columns = [batch[name].expanded(batch.rows).to_list() for name in SHOWN_COLUMNS]
    for name in SHOWN_COLUMNS:
        table.add_column(name.replace(":", ":\n"), justify="right")
    for index, film in enumerate(films[:SHOWN_ROWS]):
        table.add_row(str(film), *(text_of(column[index]) for column in columns))
    print_table(console, table)
    _say(console, f"… and {batch.rows - min(SHOWN_ROWS, batch.rows)} more rows")
    counts: dict[str, int] = {}
    for column in batch.values():
        full = column.expanded(batch.rows)
        for status, source in zip(full.statuses.tolist(), full.sources.tolist(), strict=True):
            name = f"{Status(status).name} from {Source(source).name}"
            counts[name] = counts.get(name, 0) + 1
    summary = ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items(), key=lambda c: -c[1]))
    _say(console, f"all values: {summary}")
    print_footer(console, batch)


def _say_what_to_try(console: Console, app: App) -> None:
    server = "" if app.address == "127.0.0.1:50051" else f" --server {app.address}"
    request = f'{{"entities": {{"user_id": "{EXAMPLE_USER}"}}, "feature_service": "user_profile"}}'
    context = " --context request_time=now --context list_position=1"
    lines = (
        "",
        "It serves on. From another terminal:",
        f"  recsvc get user_id={EXAMPLE_USER} profile activity:watch_count_7d{server}",
        f"  recsvc get user_id={EXAMPLE_USER} item_id=1 --service ranking{context}{server}",
        f"  recsvc recommend user_id={EXAMPLE_USER} --category Comedy --explain{server}",
        f"  grpcurl -plaintext -d '{request}' {app.address} recsvc.v1.ServingService/GetFeatures",
        "Ctrl-C ends it.",
    )
    for line in lines:
        _say(console, line)


def _say(console: Console, text: str) -> None:
    """Print a line as it is, whatever the width of the terminal."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
