"""Fills a store and a directory of indexes with films, as definitions like those of the demo want them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recsvc.app import now_micros
from recsvc.demo import recommending
from recsvc.demo.data import DemoData
from recsvc.online.ingest import load_batches
from recsvc.online.redis_open import OpenRedis
from recsvc.recommend.index.building import publish_vectors
from recsvc.recommend.index.metric import Metric
from recsvc.registry.registry import Registry
from recsvc.training.als import Embeddings
from recsvc.training.publish import Target, publish_embeddings, version_at


async def load_views(
    data: DemoData, registry: Registry, redis: OpenRedis, say: Callable[[str], None] = lambda _text: None
) -> None:
    """Load every view that has a query; the others hold embeddings. ``say`` gets a line for each."""
    for view in registry.views.values():
        if view.live_source is not None and view.live_source.query:
            table = data.compute(view)
            report = await load_batches(view, registry.schema(view), table, redis.writer(), now_micros=now_micros())
            say(f"loaded {view.label}: {report}")


async def publish_films(
    data: DemoData, registry: Registry, embeddings: Embeddings, redis: OpenRedis, indexes: Path
) -> None:
    """Publish what films are found by: their genres, and the embeddings of films and users."""
    now, end = now_micros(), round(data.end.timestamp() * 1e6)
    ids, genres = recommending.genre_vectors(data)
    publish_vectors(indexes / recommending.GENRE_INDEX, ids, genres, Metric.COSINE, version=version_at(now))
    target = Target(
        user_feature="user_als:vector",
        item_feature="film_als:vector",
        directory=indexes,
        indexes={name: Metric(metric) for name, metric in recommending.INDEXES.items()},
    )
    await publish_embeddings(registry, target, embeddings, redis.writer(), event_micros=end, now_micros=now)
