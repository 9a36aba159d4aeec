"""The same rows in Parquet, CSV and TSV, with every type, are the same bytes in the store, and what was meant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsvc import (
    BOOL,
    FLOAT32,
    INT64,
    INT64_LIST,
    STRING,
    STRING_LIST,
    TIMESTAMP,
    VECTOR,
    Entity,
    Feature,
    FeatureView,
    Source,
)
from recsvc.online.ingest import open_reader
from recsvc.online.ingest_convert import Converter
from recsvc.online.row import RowCodec
from recsvc.registry.schema import Schema

NOW = 1_800_000_000_000_000
PROFILE = FeatureView(
    "profile",
    [Entity("user", "user_id", INT64)],
    [
        Feature("age", INT64),
        Feature("score", FLOAT32),
        Feature("member", BOOL),
        Feature("name", STRING[16]),
        Feature("joined", TIMESTAMP),
        Feature("taste", VECTOR[2]),
        Feature("seen", INT64_LIST[3]),
        Feature("tags", STRING_LIST[2, 8]),
    ],
    source=Source("profiles", event_time="at"),
)
SCHEMA = Schema.of(PROFILE.features)
SAMPLE: Mapping[str, Sequence[Any]] = {
    "user_id": [196, 7, -3],
    "at": ["2026-01-31T12:00:00.25Z", "2026-01-30T23:30:00-01:00", "1969-12-31T00:00:00Z"],
    "age": [49, None, -(2**63)],
    "score": [0.5, 3e38, None],
    "member": [True, None, False],
    "name": ['Ann "X"\nLee', None, "Zoë, Jr"],
    "joined": ["2020-02-29T00:00:00Z", None, "1600-01-01T00:00:00.000001Z"],
    "taste": [[0.25, -1.5], None, [1e-8, 3.0]],
    "seen": [[1, 2, 3], None, []],
    "tags": [["a", 'q"ü'], None, []],
}


def sample_parquet(path: Path) -> None:
    """Write the sample with the types that Parquet has for it."""
    columns = {name: pa.array(values) for name, values in SAMPLE.items()}
    for name in ("at", "joined"):
        moments = [None if text is None else dt.datetime.fromisoformat(text) for text in SAMPLE[name]]
        columns[name] = pa.array(moments, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table(columns), path)


def sample_text(delimiter: str) -> str:
    """Write the sample as delimited text, quoting by hand where it must be."""

    def cell(value: Any) -> str:  # noqa: ANN401  # whatever the sample has
        match value:
            case None:
                return ""
            case list():
                text = "[" + ",".join(f'"{escaped(v)}"' if isinstance(v, str) else str(v) for v in value) + "]"
            case _:
                text = str(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in f'{delimiter}"\n') else text

    def escaped(text: str) -> str:
        return text.replace('"', '\\"')

    lines = [delimiter.join(SAMPLE)]
    lines += [delimiter.join(map(cell, row)) for row in zip(*SAMPLE.values(), strict=True)]
    return "\n".join(lines) + "\n"


def packed(path: Path) -> list[tuple[str, bytes]]:
    """Return (user id, row) of each row of a file."""
    converter = Converter(PROFILE, SCHEMA, now_micros=NOW)
    reader = open_reader(path)
    assert converter.check(reader.columns, reader.name) == ()
    rows: list[tuple[str, bytes]] = []
    for piece in reader.pieces(converter.needed):
        found = converter.convert(piece.batch)
        assert (found.rejected, list(piece.malformed)) == ([], [])
        encoded = RowCodec(SCHEMA).encode(found.event_micros, np.zeros(len(found), np.int64), found.columns)
        rows += zip(found.ids[0], encoded, strict=True)
    return rows


def values(row: bytes) -> list[Any]:
    """Return the values of a row; None for null."""
    block = RowCodec(SCHEMA).decode([row], range(len(SCHEMA)))
    nulls = [index in block.null and bool(block.null[index][0]) for index in range(len(SCHEMA))]
    found = [np.asarray(block.values[index][0]).tolist() for index in range(len(SCHEMA))]
    return [None if null else value for null, value in zip(nulls, found, strict=True)]


def test_parquet_csv_and_tsv_give_the_same_rows(tmp_path: Path) -> None:
    """Every type, null, empty and extreme value is the same bytes from each format, and what was meant."""
    sample_parquet(tmp_path / "rows.parquet")
    for name, delimiter in (("rows.csv", ","), ("rows.tsv", "\t")):
        (tmp_path / name).write_text(sample_text(delimiter), encoding="utf-8", newline="")
    parquet, csv, tsv = (packed(tmp_path / name) for name in ("rows.parquet", "rows.csv", "rows.tsv"))
    assert parquet == csv == tsv
    assert [user for user, _ in parquet] == ["196", "7", "-3"]
    full, empty, extreme = (values(row) for _, row in parquet)
    joined = int(dt.datetime(2020, 2, 29, tzinfo=dt.UTC).timestamp()) * 10**6
    assert full == [49, 0.5, True, 'Ann "X"\nLee', joined, [0.25, -1.5], [1, 2, 3], ["a", 'q"ü']]
    assert empty == [None, float(np.float32(3e38)), *[None] * 6]
    assert extreme[0] == -(2**63)
    assert extreme[6:] == [[], []]
