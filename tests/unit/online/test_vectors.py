"""The documented format is the code's: test vectors, and a second implementation written from FORMAT.md's words."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from recsvc import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    INT64_LIST,
    STRING,
    STRING_LIST,
    TIMESTAMP,
    VECTOR,
    Entity,
    Feature,
    FeatureView,
)
from recsvc.online import redis_writer
from recsvc.online.keys import KeyMaker, bucket, parse
from recsvc.online.row import Block, RowCodec, pack_strings, tombstone
from recsvc.registry.schema import Schema
from recsvc.registry.types import FeatureType, Kind
from tests.unit.online.strategies import MANY, NOW, Table, ids, tables
from tests.vectors import independent, make
from tests.vectors.independent import CORRUPT, DELETED, UNKNOWN

VECTORS: dict[str, Any] = json.loads(make.FILE.read_text(encoding="utf-8"))
FORMAT = (Path(redis_writer.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
TYPES = {t.kind.value: t for t in (INT64, FLOAT64, FLOAT32, BOOL, STRING, TIMESTAMP)} | {
    "INT64_LIST": INT64_LIST[8],
    "STRING_LIST": STRING_LIST[8, 64],
}
FLOATS = {Kind.FLOAT64: ("<f8", "Q"), Kind.FLOAT32: ("<f4", "I"), Kind.VECTOR: ("<f4", "I")}


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    """Return parameters with their descriptions as ids."""
    return [pytest.param(v, id=v["what"]) for v in vectors]


def type_of(layout: str) -> FeatureType:
    """Return the type of a layout."""
    return VECTOR[int(layout[7:-1])] if layout.startswith("VECTOR") else TYPES[layout]


def schema_of(features: list[list[str]]) -> Schema:
    """Return the schema of features as vectors have them."""
    return Schema(tuple(name for name, _ in features), tuple(type_of(layout) for _, layout in features))


def layouts(schema: Schema) -> list[independent.Feature]:
    """Return a schema as the second implementation takes it."""
    return [(name, of.layout) for name, of in zip(schema.names, schema.types, strict=True)]


def to_column(of: FeatureType, value: Any) -> tuple[Any, Any]:  # noqa: ANN401  # a value of any type
    """Return a value of a vector as RowCodec.encode takes it."""
    valid = np.array([value is not None])
    if of.kind in FLOATS:
        dtype, code = FLOATS[of.kind]
        words = [] if value is None else value if isinstance(value, list) else [value]
        words = words or ["0"] * max(of.bound, 1)
        array = np.frombuffer(b"".join(struct.pack(f"<{code}", int(w, 16)) for w in words), dtype)
        return (array.reshape(1, -1) if of.kind is Kind.VECTOR else array), valid
    if of.kind is Kind.STRING:
        return [(value or "").encode()], valid
    if of.kind is Kind.INT64_LIST:
        return [struct.pack(f"<{len(value or [])}q", *map(int, value or []))], valid
    if of.kind is Kind.STRING_LIST:
        return [pack_strings(value or [])], valid
    return np.array([int(value or 0)], bool if of.kind is Kind.BOOL else np.int64), valid


def from_block(schema: Schema, block: Block, place: int) -> str | tuple[int, list[Any]]:
    """Tell of a decoded row what the second implementation tells."""
    if block.corrupt[place]:
        return CORRUPT
    if block.deleted[place]:
        return DELETED
    return int(block.event_micros[place]), [from_column(schema, block, i, place) for i in range(len(schema))]


def from_column(schema: Schema, block: Block, index: int, place: int) -> Any:  # noqa: ANN401  # a value of any type
    """Return one decoded value as vectors have it."""
    absent, null, kind = block.absent.get(index), block.null.get(index), schema.types[index].kind
    if absent is not None and absent[place]:
        return UNKNOWN
    if null is not None and null[place]:
        return None
    item = block.values[index][place]
    if kind in FLOATS:
        dtype, code = FLOATS[kind]
        width = np.dtype(dtype).itemsize
        words = [f"{w:0{2 * width}x}" for (w,) in struct.iter_unpack(f"<{code}", np.asarray(item, dtype).tobytes())]
        return words if kind is Kind.VECTOR else words[0]
    if kind is Kind.INT64_LIST:
        return list(map(str, item.tolist()))
    if kind is Kind.BOOL:
        return bool(item)
    return item if kind is Kind.STRING else list(item) if kind is Kind.STRING_LIST else str(item)


def read(schema: Schema, row: bytes) -> str | tuple[int, list[Any]]:
    """Read a row with the code."""
    return from_block(schema, RowCodec(schema).decode([row], range(len(schema))), 0)


def test_the_file_is_what_the_second_implementation_makes() -> None:
    """Vectors are added by running tests.vectors.make, and never edited: those that there are must stay."""
    assert make.document() == VECTORS


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda v: v["key"])
def test_keys(vector: dict[str, Any]) -> None:
    """The code makes the key, takes it apart, and a cluster keeps it in the slot."""
    entities = [Entity(e["name"], f"{e['name']}_id", spread=e["spread"]) for e in vector["entities"]]
    view = FeatureView(vector["view"], entities, [Feature("x", INT64)], version=vector["version"])
    key = vector["key"].encode()
    assert KeyMaker(view).keys([[i] for i in vector["ids"]]) == [key]
    assert key_slot(key) == vector["slot"]
    parsed = parse(key)
    assert parsed is not None
    assert [i for _, i in parsed.ids] == vector["ids"]


@pytest.mark.parametrize("vector", VECTORS["buckets"], ids=lambda v: v["id"][:16])
def test_buckets(vector: dict[str, Any]) -> None:
    """The code puts ids into the same buckets."""
    assert bucket(vector["id"], 32) == vector["bucket_of_32"]
    assert bucket(vector["id"], 2**32) == vector["crc32"]


@pytest.mark.parametrize("vector", VECTORS["schemas"])
def test_fingerprints(vector: dict[str, Any]) -> None:
    """The code gives every prefix of the features the same fingerprint."""
    schema = schema_of(vector["features"])
    assert [f"{f:08x}" for f in schema.fingerprints] == vector["fingerprints"]
    assert list(schema.lines) == [f"{name}:{layout}" for name, layout in vector["features"]]


@pytest.mark.parametrize("vector", named(VECTORS["rows"]))
def test_rows(vector: dict[str, Any]) -> None:
    """The code writes these bytes, and reads from them these values, bit by bit."""
    schema, row = schema_of(vector["features"]), bytes.fromhex(vector["row"])
    event, write = int(vector["event_time_us"]), int(vector["write_time_us"])
    columns = [to_column(t, v) for t, v in zip(schema.types, vector["values"], strict=True)]
    assert RowCodec(schema).encode(np.array([event]), np.array([write]), columns) == [row]
    assert read(schema, row) == (event, vector["values"])
    assert independent.decode(layouts(schema), row) == (event, vector["values"])


@pytest.mark.parametrize("vector", VECTORS["tombstones"], ids=lambda v: v["row"])
def test_tombstones(vector: dict[str, Any]) -> None:
    """The code writes these tombstones, and takes them for such."""
    row = bytes.fromhex(vector["row"])
    assert tombstone(int(vector["event_time_us"]), int(vector["write_time_us"])) == row
    assert read(schema_of(VECTORS["schemas"][0]["features"]), row) == DELETED


@pytest.mark.parametrize("vector", named(VECTORS["corrupt"]))
def test_corrupt_rows(vector: dict[str, Any]) -> None:
    """Both implementations refuse these rows."""
    schema, row = schema_of(vector["features"]), bytes.fromhex(vector["row"])
    assert read(schema, row) == CORRUPT
    assert independent.decode(layouts(schema), row) == CORRUPT


@given(tables(max_rows=3))
@MANY
def test_both_write_the_same_rows(table: Table) -> None:
    """Whatever the schema and the values, the second implementation writes the code's bytes."""
    features, rows = layouts(table.schema), table.encode()
    for row, event in zip(rows, table.events, strict=True):
        decoded = independent.decode(features, row)
        assert not isinstance(decoded, str)
        assert decoded[0] == event
        assert independent.encode(features, event, NOW, decoded[1]) == row


@given(tables(max_rows=2), st.data())
@MANY
def test_both_read_the_same_from_any_bytes(table: Table, data: st.DataObject) -> None:
    """Rows of shorter and longer writers, with bits flipped, cut or lengthened, are read alike by both."""
    known = data.draw(st.integers(0, len(table.schema)))
    schema = table.schema.prefix(known)
    for row in table.encode(data.draw(st.integers(0, len(table.schema)))):
        changed = bytearray(row[: data.draw(st.integers(0, 2 * len(row)))] + data.draw(st.binary(max_size=2)))
        for bit in data.draw(st.lists(st.integers(0, max(8 * len(changed) - 1, 0)), max_size=2)) if changed else []:
            changed[bit // 8] ^= 1 << bit % 8
        for candidate in (row, bytes(changed)):
            assert read(schema, candidate) == independent.decode(layouts(schema), candidate)


@given(st.lists(ids, min_size=1, max_size=3), st.one_of(st.none(), st.integers(1, 1_024)))
@MANY
def test_both_make_the_same_keys(texts: list[str], spread: int | None) -> None:
    """Whatever the ids, the second implementation makes the code's keys and slots."""
    entities = [(f"e{i}", spread if i == 0 else 7) for i in range(len(texts))]
    view = FeatureView(
        "v", [Entity(name, f"{name}_id", spread=s) for name, s in entities], [Feature("x", INT64)], version=3
    )
    (key,) = KeyMaker(view).keys([[text] for text in texts])
    assert independent.key(entities, texts, "v", 3) == key
    assert independent.slot(key) == key_slot(key)


def test_the_scripts_are_those_of_the_document() -> None:
    """Who copies the scripts out of FORMAT.md runs what the writer runs."""
    scripts = [s.strip() for s in re.findall(r"```lua\n(.*?)```", FORMAT, re.DOTALL)]
    assert scripts == [redis_writer._SCRIPT.strip(), redis_writer._RECORD_SCRIPT.strip()]


@pytest.mark.parametrize("key", re.findall(r"`(fs:\{[^`]*:v\d+)`", FORMAT))
def test_the_examples_of_the_document_are_keys(key: str) -> None:
    """Each key that FORMAT.md shows can be taken apart."""
    assert parse(key.encode()) is not None
