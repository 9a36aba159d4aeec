"""Builds a FaissIndex: lists, then a planner that is fitted to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.faiss_index import FaissIndex
from recsvc.recommend.index.faiss_lists import make_lists, number_of_lists
from recsvc.recommend.index.fit import FitSettings, Fitted, fit_gathering, fit_steps
from recsvc.recommend.index.planner import Planner
from recsvc.recommend.index.scale import Scale
from recsvc.recommend.index.table import VectorTable


def build(  # noqa: PLR0913 - what the index is of, and the randomness and time that building takes
    table: VectorTable,
    queries: NDArray[np.float32],
    *,
    version: str,
    rng: np.random.Generator,
    clock: Callable[[], float],
    lists: int | None = None,
    settings: FitSettings | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> FaissIndex:
    """Build an index of a table, fitted to ``queries`` float32[m, d]: user embeddings, or `item_queries`.

    ``lists`` None: as many as suits the table. ``step`` is told what is done next. Raises BadIndexError.
    """
    if len(table) == 0 or len(queries) == 0:
        raise BadIndexError(f"{len(table)} vectors and {len(queries)} queries: lists need at least one of each")
    settings = settings or FitSettings()
    scale = Scale.of(table)
    step("make lists")
    made = make_lists(table, scale, lists or number_of_lists(len(table)), rng)
    step("fit shares")
    steps = fit_steps(Fitted(table, scale, made), queries, settings, rng)
    planner = Planner(0, settings.counted, settings.depth, steps)
    by_list = table.vectors.take(made.members, axis=0)
    probing = FaissIndex(table, by_list, lists=made, planner=planner, version=version)
    step("fit gathering")
    exact = ExactIndex(table, version=version)
    most = fit_gathering(exact, probing, queries, settings=settings, rng=rng, clock=clock)
    return probing.with_planner(replace(planner, gather_at_most=most))
