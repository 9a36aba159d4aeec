"""The program that runs in Feast's environment: writes rows to Feast's online store when told to, and reads some back.

Started by feast_peer as `python feast_program.py JOB.json`; takes one JSON object per line (``{"do": "write", …}``) and
answers each with one. It imports nothing of recsvc, which its environment does not have.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
from feast import (  # type: ignore[import-not-found]  # lives in its own environment
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
)
from feast.types import Float64, Int64  # type: ignore[import-not-found]
from feast.value_type import ValueType  # type: ignore[import-not-found]

Job = dict[str, Any]
"""``address`` (host:port of Redis), ``rows`` (an Arrow file), ``names`` of the features, ``folder`` for its files."""
VIEW = "features"


class Program:
    """Feast with one view, in two configurations: as it comes, and with ``skip_dedup``."""

    def __init__(self, job: Job) -> None:
        with pa.OSFile(job["rows"]) as file:
            self._rows = pa.ipc.open_file(file).read_all().to_pandas()
        self._names = job["names"]
        self._stores = {skip: self._store(job, skip_dedup=skip) for skip in (False, True)}

    def __repr__(self) -> str:
        return f"Program({len(self._rows)} rows × {len(self._names)})"

    def _store(self, job: Job, *, skip_dedup: bool) -> FeatureStore:
        folder = Path(job["folder"])
        example = folder / "example.parquet"
        self._rows.head(1).to_parquet(example)
        store = FeatureStore(
            config=RepoConfig(
                project="bench",
                provider="local",
                registry=str(folder / f"registry-{skip_dedup}.db"),
                online_store={"type": "redis", "connection_string": job["address"], "skip_dedup": skip_dedup},
                entity_key_serialization_version=3,
            )
        )
        user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
        fields = [Field(name="user_id", dtype=Int64), *(Field(name=n, dtype=Float64) for n in self._names)]
        source = FileSource(path=str(example), timestamp_field="event_time")
        view = FeatureView(name=VIEW, entities=[user], schema=fields, source=source, ttl=timedelta(0))
        store.apply([user, view])
        return store

    def answer(self, order: Job) -> Job:
        """Do what an order says."""
        if order["do"] == "write":
            return self._write(order["rows"], order["chunk"], skip_dedup=order["skip_dedup"])
        return self._read(order["ids"])

    def _write(self, rows: int, chunk: int, *, skip_dedup: bool) -> Job:
        store = self._stores[skip_dedup]
        frames = [self._rows.iloc[start : min(start + chunk, rows)] for start in range(0, rows, chunk)]
        cpu, wall = time.process_time(), time.perf_counter()
        for frame in frames:
            store.write_to_online_store(VIEW, df=frame)
        return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}

    def _read(self, ids: list[int]) -> Job:
        features = [f"{VIEW}:{name}" for name in self._names]
        rows = [{"user_id": i} for i in ids]
        found = self._stores[False].get_online_features(features=features, entity_rows=rows).to_dict()
        return {"values": {name: found[name] for name in self._names}}


def main(job: Job, orders: TextIO, answers: TextIO) -> None:
    """Answer orders until there are no more; the first answer says that it is ready."""
    program = Program(job)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in orders:
        print(json.dumps(program.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    # What Feast itself prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(json.loads(Path(sys.argv[1]).read_text()), sys.stdin, answers)
