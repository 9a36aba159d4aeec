"""The embeddings that a view has, read from the store to be indexed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recsvc.errors import ConfigError
from recsvc.online.answer import Source
from recsvc.online.columns import ViewColumns
from recsvc.online.reader import ViewRows
from recsvc.online.row import RowCodec
from recsvc.online.whole_view import WholeView
from recsvc.registry.model import FeatureView
from recsvc.registry.plan import ViewRead
from recsvc.registry.registry import Registry
from recsvc.registry.types import Kind


def embedding(registry: Registry, reference: str) -> tuple[FeatureView, int]:
    """Return the view of an embedding, and which of its features it is. Raises ConfigError and UnknownNameError."""
    prefix, _, name = reference.partition(":")
    view = registry.view(prefix)
    schema = registry.schema(view)
    if name not in schema.names or schema.types[schema.names.index(name)].kind is not Kind.VECTOR:
        listed = [f"{prefix}:{n}" for n, t in zip(schema.names, schema.types, strict=True) if t.kind is Kind.VECTOR]
        raise ConfigError(f"{reference!r} is no VECTOR of {view.label}; there is {', '.join(listed) or 'none'}")
    if len(view.entities) != 1:
        raise ConfigError(f"{view.label} is of {len(view.entities)} entities; an index is of items, so of one")
    return view, schema.names.index(name)


async def read_embeddings(  # noqa: PLR0913, PLR0917  # what of which rows, and who wants to know how far it is
    registry: Registry,
    view: FeatureView,
    feature: int,
    rows: WholeView,
    now_micros: int,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> tuple[list[str], NDArray[np.float32]]:
    """Return ids and vectors float32[n, d] of all rows that have one which is fresh enough and finite.

    ``on_progress`` gets how many rows were read. Raises StoreUnavailableError.
    """
    schema = registry.schema(view)
    columns, read = ViewColumns(view, RowCodec(schema)), ViewRead(view, schema, (feature,))
    found: dict[str, NDArray[np.float32]] = {}
    done = 0
    async for piece in rows.scan():
        there = [(item, row) for item, row in piece if row is not None]
        if there:
            decoded = columns.decode(read, ViewRows([row for _, row in there], Source.STORE), now_micros)
            column = decoded.columns[feature]
            known = np.broadcast_to(column.has_value(), len(there)) & np.isfinite(column.values).all(axis=1)
            found.update((there[i][0], column.values[i]) for i in np.flatnonzero(known).tolist())
        done += len(piece)
        on_progress(done)
    width = schema.types[feature].bound
    vectors = np.array(list(found.values()), np.float32).reshape(len(found), width)
    return list(found), vectors
