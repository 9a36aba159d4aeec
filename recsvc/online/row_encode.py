"""Columns to packed rows: one structured array for all that has a fixed width, then the tails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc.online.layout import Layout, bitmap_bytes, field_name
from recsvc.online.row_values import BoolArray, Int64Array, Values
from recsvc.registry.schema import Schema
from recsvc.registry.types import VARIABLE


def encode(
    schema: Schema,
    own: Layout,
    event_micros: Int64Array,
    write_micros: Int64Array,
    columns: Sequence[tuple[Values, BoolArray | None]],
) -> list[bytes]:
    """Return n rows of ``schema``, whose layout is ``own``; see RowCodec.encode."""
    block = np.zeros(len(event_micros), own.dtype)
    block["head"], block["event"], block["write"] = own.head, event_micros, write_micros
    block["valid"] = _bitmaps(len(event_micros), [valid for _, valid in columns])
    tails: list[tuple[int, list[bytes]]] = []
    for index, (values, valid) in enumerate(columns):
        if schema.types[index].kind in VARIABLE:
            tails.append((index, _pieces(values, valid)))
        elif valid is None:
            block[field_name(index)] = values
        else:
            block[field_name(index)][valid] = np.asarray(values)[valid]
    return _with_tails(block, own.size, tails) if tails else _split(block, own.size)


def _bitmaps(n: int, valid: Sequence[BoolArray | None]) -> npt.NDArray[np.uint8]:
    """Return n bitmaps, the first feature in the lowest bit of the first byte."""
    bits = np.zeros((n, 8 * bitmap_bytes(len(valid))), bool)
    for index, column in enumerate(valid):
        bits[:, index] = True if column is None else column
    return np.packbits(bits, axis=1, bitorder="little")


def _pieces(values: Values, valid: BoolArray | None) -> list[bytes]:
    """Return the bytes of each value, none for those that are null."""
    if valid is None:
        return list(values)
    return [v if ok else b"" for v, ok in zip(values, valid, strict=True)]


def _split(block: npt.NDArray[Any], size: int) -> list[bytes]:
    data = block.tobytes()
    return [data[i : i + size] for i in range(0, len(data), size)]


def _with_tails(block: npt.NDArray[Any], size: int, tails: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """Put the pieces of each row behind its fixed part, and their places into it."""
    start = np.full(len(block), size, np.int64)
    for index, pieces in tails:
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        places = block[field_name(index)]
        places[:, 0], places[:, 1] = start, lengths
        start += lengths
    return list(map(b"".join, zip(_split(block, size), *(pieces for _, pieces in tails), strict=True)))
