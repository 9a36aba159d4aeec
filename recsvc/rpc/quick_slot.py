"""One feature of GetFeatures' reply: the bytes around its value, and all of them where it has none."""

from __future__ import annotations

from typing import Final

from recsvc.errors import RowFormatError
from recsvc.online.answer import Source, Status
from recsvc.online.row_values import check, split_strings
from recsvc.online.stand_in import StandIn
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.plan import StoredColumn
from recsvc.registry.types import FIXED_WIDTH, VARIABLE, FeatureType, Kind
from recsvc.rpc.quick_wire import sized, strings, tag, text, unless_empty, varint

_FEATURES: Final = tag(pb.GetFeaturesResponse, "features")
_NAME: Final = tag(pb.FeatureValue, "name")
_VALUE: Final = tag(pb.FeatureValue, "value")
_STATUS: Final = tag(pb.FeatureValue, "status")
_SOURCE: Final = tag(pb.FeatureValue, "source")
_ITEMS: Final = tag(pb.Int64List, "values")
"""Of vectors and lists of strings, too."""
_KINDS: Final = {
    Kind.INT64: tag(pb.Value, "int64_value"),
    Kind.FLOAT64: tag(pb.Value, "float64_value"),
    Kind.FLOAT32: tag(pb.Value, "float32_value"),
    Kind.BOOL: tag(pb.Value, "bool_value"),
    Kind.STRING: tag(pb.Value, "string_value"),
    Kind.TIMESTAMP: tag(pb.Value, "timestamp_micros_value"),
    Kind.VECTOR: tag(pb.Value, "vector_value"),
    Kind.INT64_LIST: tag(pb.Value, "int64_list_value"),
    Kind.STRING_LIST: tag(pb.Value, "string_list_value"),
}
_PLACE_BITS: Final = 32
_BEGIN: Final = (1 << _PLACE_BITS) - 1
"""A place is read as one number of 64 bits: where the bytes begin is in its lower half."""


def width(of: FeatureType) -> int:
    """Return how many bytes of a row a value of this type takes; 0 for strings and lists, which have a place there."""
    return 4 * of.bound if of.kind is Kind.VECTOR else FIXED_WIDTH.get(of.kind, 0)


class SlotEncoder:
    """Serializes one feature. ``missing`` is what it is where there is no row."""

    def __init__(self, name: str, slot: StoredColumn, stand_in: StandIn, first: int) -> None:
        """``first`` is where in a row of its view the tail may begin."""
        self.read = slot.read
        self.column = slot.column
        self.type = slot.type
        self.is_variable = slot.type.kind in VARIABLE
        self._first = first
        self._name = text(_NAME, name)
        default = stand_in.default if self.is_variable else stand_in.default.tobytes()
        codes = _codes(Status.NOT_FOUND, stand_in.source)
        self.missing = self._absent(codes) if stand_in.source is Source.NONE else self._present(default, codes)

    def __repr__(self) -> str:
        return f"SlotEncoder({self._name!r}: {self.type})"

    def around(self, source: Source) -> tuple[bytes, bytes]:
        """Return what stands before and behind the bytes of a number or vector from ``source``."""
        codes, size = _codes(Status.PRESENT, source), width(self.type)
        whole = self._present(bytes(size), codes)
        return whole[: -len(codes) - size], codes

    def null(self, source: Source) -> bytes:
        """Return the feature of a row that says there is no value."""
        return self._absent(_codes(Status.NULL_VALUE, source))

    def number(self, raw: bytes, source: Source) -> bytes:
        """Return the feature of the bytes of a number or vector."""
        return self._present(normal(raw) if self.type.kind is Kind.BOOL else raw, _codes(Status.PRESENT, source))

    def tail(self, row: bytes, place: int, source: Source) -> bytes:
        """Return the feature of a string or list, ``place`` as the row has it; RowFormatError where it is none."""
        begin, size = place & _BEGIN, place >> _PLACE_BITS
        if begin < self._first or begin + size > len(row):
            raise RowFormatError("a value's place is outside its row's tail")
        piece = row[begin : begin + size]
        check(self.type, piece)
        return self._present(piece, _codes(Status.PRESENT, source))

    def _present(self, raw: bytes, codes: bytes) -> bytes:
        return sized(_FEATURES, self._name + sized(_VALUE, _value(self.type.kind, raw)) + codes)

    def _absent(self, codes: bytes) -> bytes:
        return sized(_FEATURES, self._name + codes)


def normal(raw: bytes) -> bytes:
    """Return the byte of a BOOL; every other value than 0 is true."""
    return b"\0" if raw == b"\0" else b"\1"


def _codes(status: Status, source: Source) -> bytes:
    return _CODES[status, source]


_CODES: Final = {
    (status, source): _STATUS + varint(status) + _SOURCE + varint(source) for status in Status for source in Source
}


def _value(kind: Kind, raw: bytes) -> bytes:
    """Return a serialized Value of the bytes that a row has of it."""
    if kind is Kind.STRING:
        return sized(_KINDS[kind], raw)
    if kind is Kind.VECTOR or kind is Kind.INT64_LIST:
        return sized(_KINDS[kind], unless_empty(_ITEMS, raw))
    if kind is Kind.STRING_LIST:
        return sized(_KINDS[kind], strings(_ITEMS, split_strings(raw)))
    return _KINDS[kind] + raw
