"""The values of one view's row as slices of it, without numpy: for one row that takes longer to begin than to read."""

from __future__ import annotations

import struct
from typing import Any, Final

from recsvc.online.layout import HEADER_BYTES, bitmap_bytes, field_name, layout
from recsvc.registry.plan import ViewRead
from recsvc.registry.types import VARIABLE
from recsvc.rpc.quick_slot import width

EVENT_TIME: Final = 1
"""Where in an unpacked row its event time stands (µs since 1970)."""
BITMAP: Final = 2
"""Where in an unpacked row its validity bitmap stands; the values of the view's wanted features follow."""


class ViewSlices:
    """Unpacks rows that a writer of the very same schema wrote."""

    def __init__(self, read: ViewRead) -> None:
        own = layout(read.schema, len(read.schema))
        self.first = own.smallest
        self._size = own.size
        self._is_variable = own.variable
        self._head = (own.head or 0).to_bytes(8, "little")
        max_age = read.view.effective_max_age
        self._max_age_micros = None if max_age is None else max_age.total_seconds() * 1e6
        self._struct = struct.Struct(_format(read, own.dtype.fields or {}))
        self.full = ((1 << len(read.schema)) - 1).to_bytes(bitmap_bytes(len(read.schema)), "little")

    def __repr__(self) -> str:
        return f"ViewSlices({self._struct.format})"

    def unpack(self, row: bytes, now_micros: int) -> tuple[Any, ...] | None:
        """Return (head, event time, bitmap, values …): bytes of numbers and vectors, places of what is variable.

        None where the row is out of the ordinary.
        """
        if len(row) != self._size and (not self._is_variable or len(row) < self._size):
            return None
        values = self._struct.unpack_from(row)
        if values[0] != self._head:
            return None
        if self._max_age_micros is not None and now_micros - values[1] > self._max_age_micros:
            return None
        return values


def _format(read: ViewRead, fields: Any) -> str:  # noqa: ANN401  # numpy's
    """Return a struct format: head, event time, bitmap, each wanted feature; what lies between is passed over."""
    parts = [f"<8sq8x{bitmap_bytes(len(read.schema))}s"]
    end = HEADER_BYTES + bitmap_bytes(len(read.schema))
    for index in read.columns:
        of, offset = read.schema.types[index], fields[field_name(index)][1]
        size = 8 if of.kind in VARIABLE else width(of)
        parts.append(f"{offset - end}x" + ("Q" if of.kind in VARIABLE else f"{size}s"))
        end = offset + size
    return "".join(parts)
