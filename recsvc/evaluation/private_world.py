"""A server whose store, indexes and embeddings are made of the training part alone, and of nothing else.

The training part is written as a data set of its own, and all is computed from those files: what is not in them cannot
get into a view, a popularity count, a list of what was seen, an index or a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from recsvc.app import connection_settings, running
from recsvc.client import AsyncClient
from recsvc.config import Settings
from recsvc.demo.data import open_data
from recsvc.evaluation.data_set import DataSet, write_part
from recsvc.evaluation.films import load_views, publish_films
from recsvc.evaluation.learning import interactions
from recsvc.evaluation.splits import Mask
from recsvc.online.redis_open import open_redis
from recsvc.registry.registry import Registry
from recsvc.training.als import AlsParameters, Embeddings, train_als

CALL_TIMEOUT_S: Final = 30.0
PATIENT: Final = Settings(
    listen="127.0.0.1:0",
    lame_duck_s=0.0,
    refuse_s=0.0,
    # Quality is measured here, not speed: no candidate is given up because the machine is busy.
    recommend_target_ms=10_000,
    redis_timeout_ms=5_000,
    default_deadline_ms=30_000,
    breaker="closed",
)


@dataclass(frozen=True, slots=True)
class Served:
    """Which definitions are served, by the text that names them, and with the models of which directory."""

    registry: Registry
    spec: str
    models: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A server that runs, and what it was made of. ``shift``: what was added to all times; ``end``: the last rating."""

    client: AsyncClient = field(repr=False)
    redis_url: str = field(repr=False)
    indexes: Path
    embeddings: Embeddings
    shift: timedelta
    end: datetime


@asynccontextmanager
async def private_world(
    data: DataSet,
    train: Mask,
    parameters: AlsParameters,
    served: Served,
    say: Callable[[str], None] = lambda _text: None,
) -> AsyncIterator[World]:
    """Serve what the ratings marked in ``train`` tell, from a Redis that ends with this.

    ``say`` gets what is being done. Raises what reading, training, storing and starting raise.
    """
    with TemporaryDirectory(prefix="recsvc-evaluate-") as name:
        root = Path(name)
        files, indexes = root / "data", root / "indexes"
        files.mkdir()
        write_part(data, train, files)
        say("embeddings")
        embeddings = await asyncio.to_thread(train_als, interactions(data, train), parameters)
        async with open_redis("embedded", connection_settings(PATIENT)) as redis:
            say("views and indexes")
            with open_data(files, datetime.now(UTC)) as tables:
                await load_views(tables, served.registry, redis)
                await publish_films(tables, served.registry, embeddings, redis, indexes)
                shift, end = tables.shift, tables.end
            settings = replace(PATIENT, redis=redis.url, index_dir=str(indexes), model_dir=str(served.models or ""))
            async with (
                running(settings, served.spec, served.registry) as app,
                AsyncClient(app.address, timeout=CALL_TIMEOUT_S) as client,
            ):
                yield World(client, redis.url, indexes, embeddings, shift, end)
