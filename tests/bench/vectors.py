"""Benchmark of vectors in Redis: its Query Engine, with and without a graph, against its vector sets.

All answer the same searches through the same index (`RemoteIndex`), so all pass the same filters and have the same
scores; what differs is what finds candidates, and how vectors are fetched. A vector set keeps directions rounded, so
beside it the vectors stand as strings, which one MGET fetches. A graph looks at as many as it must for the recall.

CPU is that of redis-server, all its threads, and of this process. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.table import Table

from recsvc.online.redis_vector_sets import RedisVectorSets
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.remote import Facts, RemoteIndex, vector_set
from recsvc.recommend.index.table import VectorTable, vector_table
from tests.bench.report import Figures, Report, machine, publish, rounded, table
from tests.bench.vectors_conditions import conditions
from tests.bench.vectors_rivals import Quantization, VectorSetStore
from tests.bench.vectors_stand import Cost, Stand, cost, standing

RATES: Final = (1.0, 0.5, 0.1, 0.05, 0.01, 0.001)
RECALL: Final = 0.98
K: Final = 500
NORMS: Final = ("unit", "spread")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    vectors: int = 100_000
    components: int = 64
    searches: int = 30
    norms: Sequence[str] = NORMS


@dataclass(frozen=True, slots=True)
class Built:
    """An index, and what it cost to build."""

    name: str
    index: RemoteIndex
    cost: Cost
    megabytes: float


def vectors_of(sizes: Sizes, norms: str) -> VectorTable:
    """Make clustered vectors, all of length 1 or of log-normal lengths (sigma .8), as matrix factorization has them."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(200, sizes.components))
    made = centres[rng.integers(200, size=sizes.vectors)] + 0.7 * rng.normal(size=(sizes.vectors, sizes.components))
    made /= np.linalg.norm(made, axis=1)[:, None]
    if norms == "spread":
        made *= np.exp(0.8 * rng.normal(size=sizes.vectors))[:, None]
    return vector_table([str(i) for i in range(sizes.vectors)], made, Metric.INNER_PRODUCT)


def queries_of(vectors: VectorTable, sizes: Sizes) -> NDArray[np.float32]:
    """Make queries near vectors, as users are near what they like."""
    rng = np.random.default_rng(2)
    near = vectors.vectors[rng.integers(len(vectors), size=sizes.searches)]
    near = near / np.linalg.norm(near, axis=1)[:, None] + rng.normal(scale=0.04, size=near.shape)
    return np.asarray(near, dtype=np.float32)


@contextmanager
def built(stand: Stand, vectors: VectorTable) -> Iterator[list[Built]]:
    """Build the index in each way, one beside the other."""
    sets, made = RedisVectorSets(stand.url, search_s=30.0), []
    with ExitStack() as stack:
        stack.callback(sets.close)
        for graph in (False, True):
            # Also where recsvc would not: a graph by products of vectors of spread lengths.
            facts = replace(Facts.of(vectors, graph=False), graph=graph)
            kept = vector_set(f"bench:{graph}", facts)
            found, megabytes = stand.building(partial(sets.write, kept, vectors.vectors, lambda _written: None))
            stack.callback(sets.drop, kept.name, kept.count)
            index = RemoteIndex(facts, sets.open(kept), version="bench")
            made.append(Built("FT.SEARCH, HNSW" if graph else "FT.SEARCH, FLAT", index, found, megabytes))
        for kind in (Quantization.EIGHT_BITS, Quantization.NONE):
            facts = replace(Facts.of(vectors, graph=False), graph=True)
            store = VectorSetStore(stand.client, kind.name.lower(), vectors.longest, kind)
            found, megabytes = stand.building(partial(store.write, vectors.vectors))
            stack.callback(store.drop)
            index = RemoteIndex(facts, store, version="bench")
            made.append(Built(f"VSIM, {kind.value}", index, found, megabytes))
        yield made


def measure(sizes: Sizes) -> Report:
    """Measure all."""
    tables: list[Table] = []
    figures: Figures = {}
    for norms in sizes.norms:
        with standing() as stand:
            vectors = vectors_of(sizes, norms)
            queries = queries_of(vectors, sizes)
            with built(stand, vectors) as made:
                tables += [_building(made, norms), searches := _headed(norms)]
                figures[f"{norms}, building"] = {one.name: one.cost.figures() for one in made}
                for rate in RATES:
                    allowed = [np.random.default_rng(i).random(len(vectors)) < rate for i in range(len(queries))]
                    for one in made:
                        found = cost(stand, one.index, vectors, queries, allowed, K)
                        searches.add_row(f"{rate:.1%}", one.name, *found.cells())
                        figures[f"{norms}, {rate:.1%}, {one.name}"] = found.figures()
                    searches.add_section()
            if norms == "unit":
                shown, told = conditions(stand, vectors, queries, K)
                tables.append(shown)
                figures.update(told)
    return Report("vectors", tables, figures, notes=[f"{K} retrieved, recall counted over the true best 100."])


def _building(made: Sequence[Built], norms: str) -> Table:
    shown = table(f"Building, {norms} lengths", "in", "s", "CPU of Redis, s", "MB")
    for one in made:
        shown.add_row(
            one.name, f"{one.cost.wall_ms / 1e3:.1f}", f"{one.cost.server_ms / 1e3:.1f}", f"{one.megabytes:.0f}"
        )
    return shown


def _headed(norms: str) -> Table:
    columns = ("pass rate", "with", "recall", "least", "p50, ms", "CPU of Redis, ms", "of the client", "of both")
    return table(f"Searches, {norms} lengths", *columns)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    usual = Sizes()
    parser = argparse.ArgumentParser(prog="python -m tests.bench.vectors", description=__doc__)
    parser.add_argument("--vectors", type=int, default=usual.vectors)
    parser.add_argument("--components", type=int, default=usual.components)
    parser.add_argument("--searches", type=int, default=usual.searches)
    parser.add_argument("--norms", choices=[*NORMS, "both"], default="both")
    asked = parser.parse_args(arguments)
    norms = NORMS if asked.norms == "both" else (asked.norms,)
    sizes = Sizes(asked.vectors, asked.components, asked.searches, norms)
    began = machine()
    try:
        report = measure(sizes)
    except pytest.skip.Exception as skipped:
        print(f"not measured: {skipped}", file=sys.stderr)
        return 1
    settings: Mapping[str, object] = {
        "vectors": sizes.vectors,
        "components": sizes.components,
        "searches": sizes.searches,
        "k": rounded(K),
    }
    publish("vectors", [report], began, dict(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
