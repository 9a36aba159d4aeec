"""The world of the Recommend benchmarks: what lies in Redis, the vector indexes, the model. Built once, then kept.

It lies in RECSVC_BENCH_CACHE, else in the system's folder for temporary files, apart by the number of items and by the
program text that it depends on. Rows are written by recsvc's own loader into a redis-server, whose dump is kept; the
indexes are made by recsvc's own build, with its fit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

import recsvc.online
import recsvc.recommend.index
from recsvc.app import now_micros
from recsvc.online.ingest import load_batches
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import open_redis
from recsvc.recommend.index.directory import write
from recsvc.recommend.index.faiss_build import build
from recsvc.recommend.index.fit import item_queries
from recsvc.recommend.index.manifest import NAME as MANIFEST
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import publish
from recsvc.recommend.index.table import vector_table
from recsvc.recommend.ranking.bundle import write_bundle
from recsvc.recommend.ranking.linear import LinearModel
from tests.bench.recommend_definitions import DIMENSION, GOODS, KINDS, STATS, TASTE, WIDTH, registry
from tests.bench.recommend_vectors import Floats, Items, Users, weights
from tests.bench.servers import bare_server
from tests.parts.redis_binaries import REDIS_8_2, redis_server

USERS: Final = 20_000
QUERIES: Final = 100
FIRST: Final = "v1"
SECOND: Final = "v2"
"""The same index under another version, for swaps."""
DUMP: Final = "rows.rdb"
SECONDS: Final = "seconds.json"
SAMPLE: Final = 1_000
"""Rows by which it is known whether the world is the one that is wanted."""


@dataclass(frozen=True)
class World:
    """What a server is started with; ``seconds`` says how long each part took to build, when it was."""

    items: Items
    users: Users
    rows: Path
    indexes: Path
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def redis_options(self) -> dict[str, object]:
        """Options of a redis-server that begins with the rows."""
        return {"dir": self.rows, "dbfilename": DUMP}


async def world(count: int, *, reuse: bool = False) -> World:
    """Return the world of ``count`` items, building what is not there yet.

    ``reuse``: indexes will do that were built before the program text of ``recsvc.recommend.index`` changed.
    """
    items = Items.make(count)
    users = Users.make(items, min(USERS, count))
    rows, indexes = _folders(items, users, reuse=reuse)
    if not (rows / SECONDS).exists():
        await _build_rows(rows, items, users)
    if not (indexes / SECONDS).exists():
        _build_indexes(indexes, items)
    seconds = {**_seconds(rows), **_seconds(indexes)}
    for kind in KINDS:
        publish(indexes / kind, FIRST)  # where a swap was cut short, the other one is
    return World(items, users, rows, indexes, seconds)


def _root() -> Path:
    given = os.environ.get("RECSVC_BENCH_CACHE")
    return Path(given) if given else Path(tempfile.gettempdir()) / "recsvc-bench"


def _folders(items: Items, users: Users, *, reuse: bool) -> tuple[Path, Path]:
    """Return where rows and indexes are, by what they are made of, and by what program text."""
    sample = (
        items.vectors,
        items.lengths,
        items.features,
        items.popularity,
        items.draw,
        items.available,
        items.cluster,
    )
    vectors = _digest(array[:SAMPLE].tobytes() for array in (*sample, users.vectors))
    online, package = Path(recsvc.online.__path__[0]), Path(recsvc.recommend.index.__path__[0])
    written = [(online / f"{name}.py").read_bytes() for name in ("keys", "layout", "row_encode")]
    rows = _digest([registry.features_fingerprint.encode(), *written])
    program = _digest(path.read_bytes() for path in sorted(package.glob("*.py")))
    prefix = f"indexes-{len(items)}-{vectors}-"
    older = sorted(_root().glob(f"{prefix}*/{SECONDS}"), key=lambda path: path.stat().st_mtime) if reuse else []
    indexes = older[-1].parent if older else _root() / f"{prefix}{program}"
    return _root() / f"rows-{len(items)}-{vectors}-{rows}", indexes


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]


def _seconds(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / SECONDS).read_text())
    return found


@contextlib.contextmanager
def _new(folder: Path) -> Iterator[tuple[Path, dict[str, float]]]:
    """Yield a folder to fill, and where to note how long its parts take; then it gets its name, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".", ignore_cleanup_errors=True) as scratch:
        fresh = Path(scratch) / folder.name
        fresh.mkdir()
        seconds: dict[str, float] = {}
        yield fresh, seconds
        (fresh / SECONDS).write_text(json.dumps(seconds))
        for name, took in seconds.items():
            print(f"built: {name}: {took:.1f} s", flush=True)
        try:
            fresh.rename(folder)
        except OSError:  # somebody else was faster
            if not (folder / SECONDS).exists():
                raise


async def _build_rows(folder: Path, items: Items, users: Users) -> None:
    with (
        _new(folder) as (fresh, seconds),
        bare_server(redis_server(REDIS_8_2), dir=fresh, dbfilename=DUMP) as server,
    ):
        for name, view, table in (
            (f"write {len(items):,} rows of items, 4 features", GOODS, _goods(items)),
            (f"write {len(items):,} rows of items, {WIDTH} features", STATS, _stats(items)),
            (f"write {len(users):,} rows of users", TASTE, _taste(users)),
        ):
            began = time.perf_counter()
            async with open_redis(server.url, ConnectionSettings()) as store:
                schema = registry.schema(view)
                done = await load_batches(
                    view, schema, table, store.writer(), now_micros=now_micros(), event_time_column="event_time"
                )
            assert done.written == len(table), done
            seconds[name] = time.perf_counter() - began
        server.admin.save()


def _times(count: int) -> pa.Array:
    return pa.array(np.full(count, now_micros()), pa.timestamp("us", "UTC"))


def _goods(items: Items) -> pa.Table:
    columns: dict[str, object] = {"item_id": np.arange(len(items)), "event_time": _times(len(items))}
    columns |= {n: getattr(items, n) for n in ("popularity", "available", "draw", "cluster")}
    return pa.table(columns)


def _stats(items: Items) -> pa.Table:
    columns: dict[str, object] = {"item_id": np.arange(len(items)), "event_time": _times(len(items))}
    return pa.table(columns | {f"f{n:02}": items.features[:, n] for n in range(WIDTH)})


def _taste(users: Users) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(users.vectors.ravel()), DIMENSION)
    return pa.table({"user_id": np.arange(len(users)), "event_time": _times(len(users)), "embedding": vectors})


def write_model(root: Path) -> None:
    """Write the linear model into a directory of models."""
    model = LinearModel(0.0, tuple(weights().tolist()), (0.0,) * WIDTH, (1.0,) * WIDTH)
    rows = np.random.default_rng(3).normal(size=(8, WIDTH))
    write_bundle(root / "linear", model, name="linear", version="1", service="ranking", registry=registry, warm_up=rows)


def _build_indexes(folder: Path, items: Items) -> None:
    with _new(folder) as (fresh, seconds):
        for kind in KINDS:
            began = time.perf_counter()
            _build_index(fresh / kind, items.of_kind(kind))
            seconds[f"build the index of {len(items):,} vectors, {kind}"] = time.perf_counter() - began


def _build_index(root: Path, vectors: Floats) -> None:
    """Build an index as `recsvc index build` does, and copy it under a second version."""
    table = vector_table([str(number) for number in range(len(vectors))], vectors, Metric.INNER_PRODUCT)
    rng = np.random.default_rng(0)
    queries = item_queries(table, min(QUERIES, len(table)), rng)
    index = build(table, queries, version=FIRST, rng=rng, clock=time.perf_counter)
    first = write(root, index, queries)
    second = root / SECOND
    shutil.copytree(first, second)
    manifest = json.loads((second / MANIFEST).read_text())
    (second / MANIFEST).write_text(json.dumps(manifest | {"version": SECOND}))
    publish(root, FIRST)
