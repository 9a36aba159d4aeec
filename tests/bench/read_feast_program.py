"""The program that prepares Feast for the read benchmark: definitions, rows, requests; and that decodes its replies.

Started by read_feast_peer as `python read_feast_program.py JOB.json` in Feast's environment, in the folder that is to
be its repository; takes one JSON object per line and answers each with one. It imports nothing of recsvc, which its
environment does not have.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]  # in Feast's environment
from feast import (  # type: ignore[import-not-found]  # lives in its own environment
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
)
from feast.protos.feast.serving import (  # type: ignore[import-not-found]  # likewise
    ServingService_pb2 as pb,
)
from feast.types import Int64  # type: ignore[import-not-found]
from feast.value_type import ValueType  # type: ignore[import-not-found]

Job = dict[str, Any]
"""``address`` (host:port of Redis), ``views``, ``width`` (features of each), ``users`` (of each)."""
CONFIG = """
project: bench
provider: local
registry: registry.db
online_store: {{type: redis, connection_string: "{address}"}}
entity_key_serialization_version: 3
"""
PER_WRITE = 5_000
_HEAD = struct.Struct("<IB")


def prepare(job: Job) -> None:
    """Apply the definitions, and write all rows."""
    Path("feature_store.yaml").write_text(CONFIG.format(address=job["address"]))
    store = FeatureStore(repo_path=".")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    source = FileSource(path="example.parquet", timestamp_field="event_time")
    frames = [_rows(view, job) for view in range(job["views"])]
    frames[0].head(1).to_parquet("example.parquet")
    views = []
    for number in range(job["views"]):
        names = [f"f{f}" for f in range(number * job["width"], (number + 1) * job["width"])]
        fields = [Field(name="user_id", dtype=Int64), *(Field(name=n, dtype=Int64) for n in names)]
        ttl = timedelta(0)
        views.append(FeatureView(name=f"v{number}", entities=[user], schema=fields, source=source, ttl=ttl))
    store.apply([user, *views])
    for number, frame in enumerate(frames):
        for start in range(0, len(frame), PER_WRITE):
            store.write_to_online_store(f"v{number}", df=frame.iloc[start : start + PER_WRITE])


def _rows(view: int, job: Job) -> pd.DataFrame:
    """Return the rows of read_values: feature fN of user u is u * 1000 + N."""
    users = pd.Series(range(job["users"][view]), dtype="int64")
    columns = {f"f{f}": users * 1000 + f for f in range(view * job["width"], (view + 1) * job["width"])}
    now = datetime.now(UTC)
    return pd.DataFrame({"user_id": users, "event_time": pd.Series([now] * len(users)), **columns})


def answer(order: Job) -> Job:
    """Do what an order says."""
    if order["do"] == "requests":
        return write_requests(order["file"], order["features"], order["users"])
    return {"replies": [values(base64.b64decode(reply)) for reply in order["replies"]]}


def write_requests(file: str, features: list[str], users: list[list[int]]) -> Job:
    """Write GetOnlineFeatures for each list of users, as the load generator takes them."""
    with Path(file).open("wb") as out:
        for ids in users:
            message = pb.GetOnlineFeaturesRequest(features=pb.FeatureList(val=features))
            for user in ids:
                message.entities["user_id"].val.add(int64_val=user)
            body = message.SerializeToString()
            out.write(_HEAD.pack(len(body), 0) + body)
    return {"written": len(users)}


def values(reply: bytes) -> dict[str, list[int]]:
    """Return the values of a reply by name."""
    message = pb.GetOnlineFeaturesResponse.FromString(reply)
    names = message.metadata.feature_names.val
    return {
        name: [value.int64_val for value in vector.values]  # noqa: PD011  # no pandas: a message's field
        for name, vector in zip(names, message.results, strict=True)
        if all(status == pb.FieldStatus.PRESENT for status in vector.statuses)
    }


def main(job: Job, orders: TextIO, answers: TextIO) -> None:
    """Answer orders until there are no more; the first answer says that it is ready."""
    prepare(job)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in orders:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    # What Feast itself prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(json.loads(Path(sys.argv[1]).read_text()), sys.stdin, answers)
