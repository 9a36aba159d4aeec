"""Conditions that Redis itself can test: a TAG, a range of a NUMERIC, an attribute of a vector set; and INKEYS instead.

recsvc uses none of the first three: what may be recommended is known here, up to date to seconds, and is no condition
on fields that were written with an index. These figures say what that costs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.table import VectorTable
from tests.bench.report import Figures, table
from tests.bench.vectors_stand import COUNTED, Cost, Stand, middle

PER_WRITE = 500
SHARES = (0.01, 0.05, 0.2)
Search = Callable[[NDArray[np.float32], float], list[bytes]]


def conditions(stand: Stand, vectors: VectorTable, queries: NDArray[np.float32], k: int) -> tuple[Table, Figures]:
    """Search under conditions that pass a share of the vectors, the first ones, told in each way."""
    write(stand, vectors)
    shown = table("Conditions, unit lengths", "passes", "told as", *("recall", "least"), "p50, ms", *_CPU)
    figures: Figures = {}
    truth = ExactIndex(vectors, version="truth")
    for share in SHARES:
        allowed = np.arange(len(vectors)) < share * len(vectors)
        for name, search in searches(stand, len(vectors), k).items():
            found, recall = [], []
            for query in queries:
                keys, one = stand.timed(partial(search, query, share))
                assert isinstance(keys, list)
                places = np.array([int(key[1:] if key[:1] == b"c" else key) for key in keys], dtype=np.int64)
                assert allowed[places].all()
                best = truth.search(query, COUNTED, allowed).places
                recall.append(float(np.isin(best, places).mean()))
                found.append(one)
            middling: Cost = middle(found, recall)
            shown.add_row(f"{share:.0%}", name, *middling.cells())
            figures[f"conditions, {share:.0%}, {name}"] = middling.figures()
        shown.add_section()
    return shown, figures


_CPU = ("CPU of Redis, ms", "of the client", "of both")


def write(stand: Stand, vectors: VectorTable) -> None:
    """Write vectors with a number, tags and attributes."""
    spec = ["TYPE", "FLOAT32", "DIM", vectors.dimension, "DISTANCE_METRIC", "L2", "INITIAL_CAP", len(vectors)]
    fields = ["t", "TAG", "n", "NUMERIC", "v", "VECTOR", "HNSW", len(spec) + 2, *spec, "M", 16]
    stand.client.execute_command("FT.CREATE", "conditions", "PREFIX", 1, "c", "SCHEMA", *fields)
    for start in range(0, len(vectors), PER_WRITE):
        pipeline = stand.client.pipeline(transaction=False)
        for place, row in enumerate(vectors.vectors[start : start + PER_WRITE], start):
            blob = row.astype("<f4").tobytes()
            tags = ",".join(f"s{share}".replace(".", "_") for share in SHARES if place < share * len(vectors))
            pipeline.hset(f"c{place}", mapping={"v": blob, "n": place, "t": tags})
            words = ["FP32", blob, str(place), "Q8", "EF", 200, "M", 16, "SETATTR", json.dumps({"n": place})]
            pipeline.execute_command("VADD", "filtered", *words)
        pipeline.execute()


def searches(stand: Stand, count: int, k: int) -> Mapping[str, Search]:
    """Return the ways."""

    def engine(query: NDArray[np.float32], condition: str, *more: object) -> list[bytes]:
        words = [f"{condition}=>[KNN {k} @v $q AS away]", "NOCONTENT", "SORTBY", "away", *more]
        words += ["PARAMS", 2, "q", query.tobytes(), "LIMIT", 0, k, "DIALECT", 2]
        found: list[bytes] = stand.client.execute_command("FT.SEARCH", "conditions", *words)[1:]
        return found

    def named(query: NDArray[np.float32], share: float) -> list[bytes]:
        keys = [f"c{place}" for place in range(round(share * count))]
        return engine(query, "*", "INKEYS", len(keys), *keys)

    def filtered(query: NDArray[np.float32], share: float) -> list[bytes]:
        words = ["FP32", query.tobytes(), "COUNT", k, "EF", k, "FILTER", f".n < {share * count:.0f}"]
        found: list[bytes] = stand.client.execute_command("VSIM", "filtered", *words, "FILTER-EF", count)
        return found

    return {
        "TAG": lambda query, share: engine(query, f"@t:{{s{share}}}".replace(".", "_")),
        "NUMERIC range": lambda query, share: engine(query, f"@n:[0 ({share * count:.0f}]"),
        "INKEYS": named,
        "VSIM FILTER": filtered,
    }
