"""Schemas: every prefix has its fingerprint, which is that of the schema that it is."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from recsvc import INT64, STRING, VECTOR, Feature
from recsvc.registry.schema import Schema
from tests.unit.online.strategies import TYPES, schemas


def test_the_fingerprint_never_changes() -> None:
    """Rows that are stored have it in them: SHA-256 of lines NAME:LAYOUT, the first 4 bytes, little-endian."""
    schema = Schema.of([Feature("age", INT64), Feature("name", STRING[32]), Feature("taste", VECTOR[18])])
    assert schema.lines == ("age:INT64", "name:STRING", "taste:VECTOR[18]")
    assert [f"{f:08x}" for f in schema.fingerprints] == ["42c4b0e3", "69baced7", "66ded362", "f78f9bdf"]
    assert hashlib.sha256(b"age:INT64\nname:STRING\ntaste:VECTOR[18]\n").hexdigest().startswith("df9b8ff7")


@given(schemas)
def test_a_prefix_has_the_fingerprint_that_it_has_alone(schema: Schema) -> None:
    """What a shorter writer puts into its rows, a longer reader knows."""
    for count in range(len(schema) + 1):
        assert schema.prefix(count).fingerprints == schema.fingerprints[: count + 1]
        assert len(schema.prefix(count)) == count


@given(schemas, st.data())
def test_another_type_name_or_order_is_another_fingerprint(schema: Schema, data: st.DataObject) -> None:
    """From the first difference on, all fingerprints differ."""
    place = data.draw(st.integers(0, len(schema) - 1))
    other = data.draw(st.sampled_from(TYPES))
    names, types = list(schema.names), list(schema.types)
    names[place], types[place] = data.draw(st.sampled_from([names[place], "other"])), other
    changed = Schema(tuple(names), tuple(types))
    if changed.lines != schema.lines:
        assert changed.fingerprints[: place + 1] == schema.fingerprints[: place + 1]
        assert all(
            a != b for a, b in zip(changed.fingerprints[place + 1 :], schema.fingerprints[place + 1 :], strict=True)
        )


def test_bounds_of_strings_and_lists_do_not_count() -> None:
    """A longer string is the same bytes in a row."""
    assert Schema(("a",), (STRING[8],)).fingerprints == Schema(("a",), (STRING[9],)).fingerprints
    assert Schema(("a",), (VECTOR[8],)).fingerprints[1] != Schema(("a",), (VECTOR[9],)).fingerprints[1]
