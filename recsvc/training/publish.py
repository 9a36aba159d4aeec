"""Puts embeddings where they are served: rows of feature views, and indexes.

A query vector and an index of two trainings do not go together. So the vectors of the items come first, then the
indexes, and the vectors of the users last: servers take the index within seconds (INDEX_INTERVAL_S of
recsvc/recommend/pipeline.py) and rows as their copies run out, and only in between are retrieved items no better than
others. A user of whom the new training knows nothing keeps the old vector, until the view's ``max_age`` ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsvc.errors import ConfigError
from recsvc.online.ingest import RowWriter, load_batches
from recsvc.online.ingest_arrow import pa
from recsvc.online.ingest_report import LoadReport
from recsvc.recommend.embeddings import embedding
from recsvc.recommend.index.building import publish_vectors
from recsvc.recommend.index.metric import Metric
from recsvc.registry.model import FeatureView
from recsvc.registry.registry import Registry
from recsvc.registry.types import EPOCH
from recsvc.training.als import Embeddings
from recsvc.training.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Target:
    """Where embeddings go: two references of VECTOR features, and the metric of each index by its name.

    Each index is a directory of that name in ``directory``.
    """

    user_feature: str
    item_feature: str
    directory: Path
    indexes: Mapping[str, Metric] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """What was written. ``version`` is that of all indexes."""

    items: LoadReport
    users: LoadReport
    version: str


def check_target(registry: Registry, target: Target, dimension: int) -> tuple[FeatureView, FeatureView]:
    """Return the views of users and items; raises ConfigError where the vectors do not go there.

    Worth asking before a training that takes long.
    """
    user_view, item_view = (_view_of(registry, text, dimension) for text in (target.user_feature, target.item_feature))
    if user_view.entities == item_view.entities:
        entity = user_view.entities[0].name
        raise ConfigError(f"{target.user_feature!r} and {target.item_feature!r} are both features of {entity}")
    return user_view, item_view


def _view_of(registry: Registry, reference: str, dimension: int) -> FeatureView:
    view, place = embedding(registry, reference)
    schema = registry.schema(view)
    if len(schema.names) > 1:
        others = ", ".join(name for name in schema.names if name != schema.names[place])
        raise ConfigError(
            f"{view.label} has more than the embedding ({others}): a training writes whole rows, so it"
            " needs a view of its own"
        )
    if schema.types[place].bound != dimension:
        raise ConfigError(f"{reference!r} is {schema.types[place]}, the vectors have {dimension} components")
    return view


async def publish_embeddings(  # noqa: PLR0913  # what, where to, and by which clock
    registry: Registry,
    target: Target,
    embeddings: Embeddings,
    writer: RowWriter,
    *,
    event_micros: int,
    now_micros: int,
    step: Callable[[str], None] = lambda _what: None,
) -> Published:
    """Write the vectors and publish the indexes. ``event_micros``: up to when the training knew what happened.

    Raises ConfigError and DefinitionError where the vectors do not fit, TrainingError where the store has later ones,
    BadIndexError, and StoreUnavailableError; what was written until then stays.
    """
    user_view, item_view = check_target(registry, target, embeddings.dimension)
    times, version = (event_micros, now_micros), version_at(now_micros)
    step(f"writing {len(embeddings.items):,} vectors of {item_view.label}")
    items = await _write(registry, item_view, embeddings.items, embeddings.item_vectors, writer, times)
    for name, metric in target.indexes.items():
        publish_vectors(
            target.directory / name,
            embeddings.items,
            embeddings.item_vectors,
            metric,
            version=version,
            step=_about(name, step),
        )
    step(f"writing {len(embeddings.users):,} vectors of {user_view.label}")
    users = await _write(registry, user_view, embeddings.users, embeddings.user_vectors, writer, times)
    return Published(items, users, version)


def _about(index: str, step: Callable[[str], None]) -> Callable[[str], None]:
    """Return a step of an index, which tells whose it is."""
    return lambda what: step(f"index {index}: {what}")


def version_at(micros: int) -> str:
    """Return the version of what is published at a time."""
    return f"{EPOCH + timedelta(microseconds=micros):%Y%m%dT%H%M%S.%f}"


async def _write(  # noqa: PLR0913, PLR0917  # rows of which view, and when they are of
    registry: Registry,
    view: FeatureView,
    ids: Sequence[str],
    vectors: npt.NDArray[np.float32],
    writer: RowWriter,
    times: tuple[int, int],
) -> LoadReport:
    """Write the one feature of a view."""
    (entity,), (name,) = view.entities, registry.schema(view).names
    event_micros, now_micros = times
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    table = pa.table(
        {
            entity.join_key: pa.array(ids, pa.string()),
            name: pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
            _EVENT_TIME: pa.array(np.full(len(ids), event_micros), pa.timestamp("us", "UTC")),
        }
    )
    report = await load_batches(
        view, registry.schema(view), table, writer, now_micros=now_micros, event_time_column=_EVENT_TIME
    )
    if report.rejected:
        raise TrainingError(f"{view.label}: {report.rejected:,} vectors were refused, such as {report.examples[0]}")
    if report.stale:
        known = datetime.fromtimestamp(event_micros / 1e6, UTC)
        raise TrainingError(
            f"{view.label}: {report.stale:,} vectors in the store are later than {known:%Y-%m-%d %H:%M:%S} UTC, up to"
            " which this training knows what happened: train on data that is as new"
        )
    return report


_EVENT_TIME = "event_time of the training"
"""No feature has such a name."""
