"""The row codec: columns to packed rows, packed rows to columns, many at a time and without touching single numbers.

FORMAT.md describes the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from recsvc.online.layout import FORMAT, HEADER, TOMBSTONE, layout
from recsvc.online.row_decode import NO_TIME, Block, RowDecoder
from recsvc.online.row_encode import encode
from recsvc.online.row_values import BoolArray, Int64Array, Values, blank, objects, pack_strings, unpack_strings
from recsvc.registry.schema import Schema

__all__ = [
    "NO_TIME",
    "Block",
    "BoolArray",
    "Int64Array",
    "RowCodec",
    "Values",
    "blank",
    "objects",
    "pack_strings",
    "tombstone",
    "unpack_strings",
]


def tombstone(event_micros: int, write_micros: int) -> bytes:
    """Return the row that says that an entity was deleted, as of ``event_micros``."""
    return HEADER.pack(FORMAT, TOMBSTONE, 0, 0, event_micros, write_micros)


class RowCodec:
    """Encodes and decodes rows of one schema.

    A newer writer's surplus features are ignored, an older writer's missing ones are absent.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._own = layout(schema, len(schema))
        self._decoder = RowDecoder(schema)

    def __repr__(self) -> str:
        return f"RowCodec({len(self.schema)} features, {self._own.size} bytes fixed)"

    def encode(
        self,
        event_micros: Int64Array,
        write_micros: Int64Array,
        columns: Sequence[tuple[Values, BoolArray | None]],
    ) -> list[bytes]:
        """Return n rows. ``columns`` has (values, which are valid) of every feature in order; None: all are valid."""
        return encode(self.schema, self._own, event_micros, write_micros, columns)

    def decode(self, rows: Sequence[bytes], wanted: Sequence[int]) -> Block:
        """Decode the features with the indices ``wanted`` out of n rows.

        Rows that cannot be read are marked, never raised.
        """
        return self._decoder.decode(rows, wanted)
