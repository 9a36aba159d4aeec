"""Measuring an index tells a good one from a bad one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.planner import Planner, Step
from recsvc.recommend.index.table import vector_table
from recsvc.recommend.index.verify import measure
from tests.parts.vector_indexes import exact, planned, queries_for


def test_recall_falls_with_the_lists_that_are_probed(tmp_path: Path) -> None:
    """The exact index finds everything, one that probes as little as it can finds less; none is short."""
    vectors = np.random.default_rng(1).normal(size=(4_000, 6))
    table = vector_table([str(n) for n in range(4_000)], vectors, Metric.L2)
    hasty = planned(table, tmp_path).with_planner(Planner(0, 1, 500, [Step(1.0, 1e-9, 1e-9), Step(1e-9, 1e-9, 1e-9)]))
    rng, rates = np.random.default_rng(2), (1.0, 0.3, 0.0)
    truth, less = (
        measure(index, table, queries_for(table, 10), rates, rng) for index in (exact(table, tmp_path), hasty)
    )
    assert [(row.rate, row.recall, row.least, row.short) for row in truth] == [(rate, 1.0, 1.0, 0) for rate in rates]
    assert less[0].least <= less[0].recall < 1.0
    assert [row.short for row in less] == [0, 0, 0]
