"""Rows come back as they were written, whoever reads them, and bytes that are no row are said to be none."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT32, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, TIMESTAMP, VECTOR
from recsvc.errors import RowFormatError
from recsvc.online.row import NO_TIME, Block, RowCodec, Values, objects, pack_strings, tombstone, unpack_strings
from recsvc.registry.schema import Schema
from recsvc.registry.types import VARIABLE, FeatureType, Kind
from tests.unit.online.strategies import FEW, MANY, NOW, TYPES, Table, as_read, schema_of, tables, texts, value_of

EVERY_TYPE = schema_of(*TYPES)


def facts(schema: Schema, block: Block, place: int) -> list[object]:
    """Tell all that a block says of one row, so that two can be compared; a value only where there is one."""
    found: list[object] = [bool(block.corrupt[place]), bool(block.deleted[place]), int(block.event_micros[place])]
    for index, values in sorted(block.values.items()):
        null, absent = block.null.get(index), block.absent.get(index)
        is_null, is_absent = null is not None and bool(null[place]), absent is not None and bool(absent[place])
        there = not (is_null or is_absent or block.corrupt[place] or block.deleted[place])
        found.append((is_null, is_absent, as_read(schema.types[index], values, place) if there else None))
    return found


def written(table: Table, place: int, known: int) -> list[object]:
    """Tell what ``facts`` must tell of a row of which the writer knew the first ``known`` features."""
    columns = table.columns
    values = [(c[place] is None, False, c[place]) if i < known else (False, True, None) for i, c in enumerate(columns)]
    return [False, False, table.events[place], *values]


@given(tables())
@MANY
def test_what_is_written_is_read(table: Table) -> None:
    """Values of every type, extremes and nulls among them, come back bit by bit."""
    block = RowCodec(table.schema).decode(table.encode(), range(len(table.schema)))
    assert len(block) == len(table.events)
    for place in range(len(block)):
        assert facts(table.schema, block, place) == written(table, place, len(table.schema))


@pytest.mark.parametrize("of", TYPES, ids=str)
def test_a_slot_without_a_value_is_blank(of: FeatureType) -> None:
    """A null is NaN, 0, false or empty in the column, whatever the writer's array had there."""
    valid = np.array([False])
    values: Values = [b"x"]
    if of.kind not in VARIABLE:
        values = np.ones((1, of.bound) if of.kind is Kind.VECTOR else 1)
    row = RowCodec(schema_of(of)).encode(np.array([1]), np.array([1]), [(values, valid)])
    column = RowCodec(schema_of(of)).decode(row, [0]).values[0]
    blank = np.asarray(column[0])
    assert blank.size == 0 or not blank.any() or np.isnan(blank.astype(float)).all()


@given(tables(max_rows=3))
@FEW
def test_every_prefix_reads_every_prefix(table: Table) -> None:
    """A reader of some first features takes those that it shares with the writer; what the writer lacked is absent."""
    schema = table.schema
    for write, read in product(range(1, len(schema) + 1), repeat=2):
        reader = schema.prefix(read)
        block = RowCodec(reader).decode(table.encode(write), range(read))
        short = Table(reader, table.events, table.columns[:read])
        for place in range(len(table.events)):
            assert facts(reader, block, place) == written(short, place, write)


def test_a_writer_and_a_reader_without_features_agree() -> None:
    """A row of no features is a header, and says its time to readers of more."""
    rows = RowCodec(schema_of()).encode(np.array([5]), np.array([6]), [])
    assert [len(r) for r in rows] == [24]
    block = RowCodec(schema_of(INT64, STRING)).decode(rows, [0, 1])
    assert facts(schema_of(INT64, STRING), block, 0) == [False, False, 5, (False, True, None), (False, True, None)]


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[Schema, list[bytes]]:
    """Draw rows of writers of several prefixes, tombstones, and bytes of any kind, in any order."""
    table = draw(tables(max_rows=3))
    rows = [r for count in range(len(table.schema) + 1) for r in table.encode(count)]
    rows.append(tombstone(draw(st.integers(0, NOW)), NOW))
    rows += draw(st.lists(st.binary(max_size=80), max_size=3))
    if rows:
        row = draw(st.sampled_from(rows))
        rows.append(row[: draw(st.integers(0, len(row)))])
    return table.schema, draw(st.permutations(rows))


@given(mixtures())
@MANY
def test_rows_of_many_writers_decode_together_as_alone(mixture: tuple[Schema, list[bytes]]) -> None:
    """Decoding rows in one go says of each what decoding it alone says."""
    schema, rows = mixture
    codec, wanted = RowCodec(schema), range(len(schema))
    block = codec.decode(rows, wanted)
    for place, row in enumerate(rows):
        assert facts(schema, block, place) == facts(schema, codec.decode([row], wanted), 0)


@given(tables(max_rows=1), st.data())
@MANY
def test_only_what_is_wanted_is_decoded(table: Table, data: st.DataObject) -> None:
    """Features that nobody wants are not in the block, and the others are as if all were wanted."""
    wanted = sorted(data.draw(st.sets(st.integers(0, len(table.schema) - 1))))
    rows, codec = table.encode(), RowCodec(table.schema)
    block, whole = codec.decode(rows, wanted), codec.decode(rows, range(len(table.schema)))
    assert sorted(block.values) == wanted
    for place in range(len(rows)):
        everything = facts(table.schema, whole, place)
        assert facts(table.schema, block, place) == everything[:3] + [everything[3 + i] for i in wanted]


@given(st.binary(max_size=300))
@MANY
def test_any_bytes_are_a_row_or_are_not(data: bytes) -> None:
    """No bytes make the decoder raise; those that it does not take have a reason."""
    block = RowCodec(EVERY_TYPE).decode([data], range(len(EVERY_TYPE)))
    assert bool(block.corrupt[0]) == bool(block.reasons)


@st.composite
def damaged_rows(draw: st.DrawFn) -> bytes:
    """Draw a row of every type with one thing wrong: bits flipped, cut short, or with bytes after its end."""
    values = [[draw(value_of(t))] for t in TYPES]
    row = bytearray(Table(EVERY_TYPE, [NOW], values).encode()[0])
    if draw(st.booleans()):
        for bit in draw(st.lists(st.integers(0, 8 * len(row) - 1), min_size=1, max_size=3)):
            row[bit // 8] ^= 1 << bit % 8
        return bytes(row)
    return draw(st.sampled_from([bytes(row[:cut]) for cut in range(len(row))])) + draw(st.binary(max_size=2))


@given(damaged_rows())
@MANY
def test_a_damaged_row_never_raises(row: bytes) -> None:
    """Flipped bits and lost bytes make a row corrupt or another row, and its values are still of their types."""
    block = RowCodec(EVERY_TYPE).decode([row], range(len(EVERY_TYPE)))
    assert bool(block.corrupt[0]) == bool(block.reasons)
    for index, of in enumerate(TYPES):
        as_read(of, block.values[index], 0)
    assert set(block.values[TYPES.index(BOOL)].view(np.uint8).tolist()) <= {0, 1}


@pytest.mark.parametrize("cut", range(45))
def test_a_row_cut_short_is_corrupt(cut: int) -> None:
    """Whatever is lost at the end is noticed."""
    schema = schema_of(INT64, STRING[8])
    (row,) = RowCodec(schema).encode(np.array([1]), np.array([1]), [(np.array([7]), None), ([b"abcd"], None)])
    assert len(row) == 45
    block = RowCodec(schema).decode([row[:cut]], [0, 1])
    assert block.corrupt.tolist() == [True]
    assert len(block.reasons) == 1


@pytest.mark.parametrize(("byte", "value"), [(0, 0), (0, 2), (0, 255), (1, 2), (1, 0x80), (1, 3)])
def test_other_formats_are_refused(byte: int, value: int) -> None:
    """A row of another format, or with a flag that this one does not know, is not guessed at."""
    (row,) = RowCodec(schema_of(INT64)).encode(np.array([1]), np.array([1]), [(np.array([7]), None)])
    changed = bytearray(row)
    changed[byte] = value
    block = RowCodec(schema_of(INT64)).decode([bytes(changed), row], [0])
    assert block.corrupt.tolist() == [True, False]
    assert "this version reads format 1" in block.reasons[0]


@pytest.mark.parametrize(
    "other",
    [schema_of(FLOAT64), Schema(("other",), (INT64,)), schema_of(TIMESTAMP, INT64)],
    ids=["type", "name", "two"],
)
def test_rows_of_another_schema_are_refused(other: Schema) -> None:
    """A row says by the fingerprint of its features that they are not the reader's."""
    columns: list[Any] = [(np.array([7]), None)] * len(other)
    rows = RowCodec(other).encode(np.array([1]), np.array([1]), columns)
    block = RowCodec(schema_of(INT64, INT64)).decode(rows, [0])
    assert block.corrupt.tolist() == [True]
    assert "written by another schema" in block.reasons[0]


def test_a_place_outside_the_tail_is_corrupt() -> None:
    """A string whose place points into the header or the fixed part, or past the end, is not read."""
    codec = RowCodec(schema_of(STRING[8]))
    (row,) = codec.encode(np.array([1]), np.array([1]), [([b"abcd"], None)])
    assert codec.decode([row], [0]).values[0][0] == "abcd"
    for start, length in [(0, 4), (24, 4), (32, 4), (33, 5), (34, 4), (2**32 - 1, 2**32 - 1), (37, 1), (38, 0)]:
        changed = row[:25] + start.to_bytes(4, "little") + length.to_bytes(4, "little") + row[33:]
        assert codec.decode([changed], [0]).corrupt.tolist() == [True], (start, length)


@pytest.mark.parametrize(
    ("of", "data"),
    [
        (STRING[8], b"\xff"),
        (STRING[8], "é".encode()[:1]),
        (STRING[8], b"\xed\xa0\x80"),
        (INT64_LIST[8], b"1234567"),
        (STRING_LIST[8, 8], b""),
        (STRING_LIST[8, 8], b"\0\0\0"),
        (STRING_LIST[8, 8], b"\x01\0\0\0"),
        (STRING_LIST[8, 8], b"\xff\xff\xff\xff"),
        (STRING_LIST[8, 8], b"\x01\0\0\0\x02\0\0\0a"),
        (STRING_LIST[8, 8], b"\x01\0\0\0\x01\0\0\0ab"),
        (STRING_LIST[8, 8], b"\x01\0\0\0\x01\0\0\0\xff"),
    ],
    ids=repr,
)
def test_a_value_that_is_not_of_its_type_is_corrupt(of: FeatureType, data: bytes) -> None:
    """Bytes behind the fixed part that are no value make their row corrupt, and no other."""
    codec = RowCodec(schema_of(INT64, of))
    good = {Kind.STRING: b"a", Kind.INT64_LIST: b"12345678", Kind.STRING_LIST: pack_strings(["a"])}[of.kind]
    rows = codec.encode(np.array([1, 1]), np.array([1, 1]), [(np.array([7, 8]), None), ([data, good], None)])
    block = codec.decode(rows, [0, 1])
    assert block.corrupt.tolist() == [True, False]
    assert codec.decode(rows, [0]).corrupt.tolist() == [False, False]


@pytest.mark.parametrize("byte", [1, 2, 0x7F, 0x80, 0xFF])
def test_any_byte_but_0_is_true(byte: int) -> None:
    """A BOOL comes out as 0 or 1, alone and among rows of other writers: other bytes would spoil a packed reply."""
    codec = RowCodec(schema_of(BOOL, BOOL))
    (row,) = codec.encode(np.array([1]), np.array([1]), [(np.array([False]), None), (np.array([True]), None)])
    changed = row[:25] + bytes([byte, byte])
    for rows in (
        [changed],
        [changed, *RowCodec(schema_of(BOOL)).encode(np.array([1]), np.array([1]), [(np.array([True]), None)])],
    ):
        block = codec.decode(rows, [0, 1])
        assert not block.corrupt.any()
        assert [block.values[i].view(np.uint8)[0] for i in (0, 1)] == [1, 1]


def test_a_newer_writers_row_has_room_for_what_it_counts() -> None:
    """A row that says it has more features than its bytes can hold is corrupt, also for who knows fewer of them."""
    whole = schema_of(INT64, BOOL, BOOL)
    columns: list[Any] = [(np.array([7]), None), (np.array([True]), None), (np.array([True]), None)]
    (row,) = RowCodec(whole).encode(np.array([1]), np.array([1]), columns)
    for known, corrupt in product((1, 2), (False, True)):
        reader = RowCodec(whole.prefix(known))
        for cut in (1, 2) if corrupt else (0,):
            assert reader.decode([row[: len(row) - cut]], range(known)).corrupt.tolist() == [corrupt]
    assert RowCodec(whole.prefix(0)).decode([row[:27], row[:28]], []).corrupt.tolist() == [True, False]
    assert RowCodec(whole.prefix(1)).decode([row + b"tail"], [0]).corrupt.tolist() == [False]


def test_a_tombstone_says_when_and_has_no_values() -> None:
    """A tombstone is deleted, not corrupt; one of another length is corrupt, with a reason."""
    codec = RowCodec(EVERY_TYPE)
    rows = [tombstone(7, 8), tombstone(7, 8) + b"x", tombstone(-1, 8), tombstone(7, 8)[:-1]]
    block = codec.decode(rows, range(len(EVERY_TYPE)))
    assert block.deleted.tolist() == [True, False, True, False]
    assert block.corrupt.tolist() == [False, True, False, True]
    assert block.event_micros.tolist() == [7, NO_TIME, -1, NO_TIME]
    assert len(block.reasons) == 1


@given(st.lists(texts, max_size=6))
def test_string_lists_come_back(items: list[str]) -> None:
    """A list of strings, empty ones among them, is its bytes and back."""
    assert unpack_strings(pack_strings(items)) == tuple(items)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_string_list_or_a_format_error(data: bytes) -> None:
    """Nothing but RowFormatError comes out of bytes that are no list; those that are one pack to themselves."""
    try:
        items = unpack_strings(data)
    except RowFormatError:
        return
    assert pack_strings(items) == data


def test_the_largest_values_fit() -> None:
    """Strings, lists and vectors at their largest bound come back, and their neighbours with them."""
    bound = 65_536
    schema = schema_of(STRING[bound], VECTOR[bound], INT64_LIST[bound], STRING_LIST[bound, 1], INT64)
    text, numbers = "\U0001f600" * (bound // 4), np.arange(bound)
    vector = np.arange(bound, dtype=np.float32).reshape(1, -1)
    columns: list[Any] = [
        ([text.encode()], None),
        (vector, None),
        ([numbers.astype("<i8").tobytes()], None),
        ([pack_strings(["x"] * bound)], None),
        (np.array([-1]), None),
    ]
    codec = RowCodec(schema)
    block = codec.decode(codec.encode(np.array([1]), np.array([1]), columns), range(5))
    assert not block.corrupt.any()
    assert block.values[0][0] == text
    assert np.array_equal(block.values[1], vector)
    assert np.array_equal(block.values[2][0], numbers)
    assert block.values[3][0] == ("x",) * bound
    assert block.values[4].tolist() == [-1]


def test_many_features_fit() -> None:
    """A view of as many features as are allowed has a bitmap of as many bits."""
    n = 2_000
    schema = schema_of(*[BOOL] * n)
    valid = np.arange(n) % 3 > 0
    columns: list[Any] = [(np.array([i % 2 == 0]), valid[i : i + 1]) for i in range(n)]
    block = RowCodec(schema).decode(RowCodec(schema).encode(np.array([1]), np.array([1]), columns), range(n))
    for i in range(n):
        null = block.null.get(i)
        assert (null is not None and bool(null[0])) == (i % 3 == 0)
        assert bool(block.values[i][0]) == (i % 2 == 0 and i % 3 > 0)


def test_float32_takes_the_nearest_of_a_float64_column() -> None:
    """A writer may give float64 for a FLOAT32; the row has the nearest 32-bit number."""
    codec = RowCodec(schema_of(FLOAT32))
    rows = codec.encode(np.array([1]), np.array([1]), [(np.array([0.1]), None)])
    assert codec.decode(rows, [0]).values[0].tolist() == [float(np.float32(0.1))]


def test_objects_keep_items_that_are_sequences() -> None:
    """Equal-length lists do not become a matrix."""
    column = objects([(1, 2), (3, 4)])
    assert column.shape == (2,)
    assert column.tolist() == [(1, 2), (3, 4)]


def test_a_codec_shows_how_large_its_rows_are() -> None:
    """repr() has the number of features and the bytes of the fixed part."""
    codec = RowCodec(schema_of(INT64, FLOAT64))
    (row,) = codec.encode(np.array([1]), np.array([1]), [(np.array([1]), None)] * 2)
    assert repr(codec) == f"RowCodec(2 features, {len(row)} bytes fixed)"


@pytest.mark.parametrize(
    ("wide", "narrow", "value"),
    [
        (STRING[8], STRING[4], b"12345"),
        (INT64_LIST[3], INT64_LIST[2], bytes(24)),
        (STRING_LIST[3, 4], STRING_LIST[2, 4], pack_strings(["a", "b", "c"])),
        (STRING_LIST[3, 4], STRING_LIST[3, 2], pack_strings(["abc"])),
    ],
    ids=str,
)
def test_what_is_over_its_bound_is_corrupt(wide: FeatureType, narrow: FeatureType, value: bytes) -> None:
    """How large an answer can be is computed from the bounds, so a row that does not keep them is not believed."""
    rows = RowCodec(schema_of(wide)).encode(
        np.array([1, 1]), np.array([1, 1]), [([value, value[:0]], np.array([1, 0]) > 0)]
    )
    assert RowCodec(schema_of(wide)).decode(rows, [0]).corrupt.tolist() == [False, False]
    block = RowCodec(schema_of(narrow)).decode(rows, [0])
    assert block.corrupt.tolist() == [True, False]
    assert block.reasons
