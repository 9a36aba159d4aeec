"""The packed twin of the contract: columns as `bytes`, so that they reach numpy without a loop over values.

Python's protobuf has no buffer interface for `repeated` numbers: 10,000 doubles cost 0.5 ms to reach numpy, a `bytes`
field 3 µs. On the wire both look the same: a tag, a length, and the numbers one after the other. So each message here
is the message of serving.proto of that name, with every packed `repeated` field of fixed width (and bool, and enum with
numbers below 128) turned into one `bytes` field of the same number. It is made from the contract when this module is
imported, and cannot drift from it.

Write a field with `ndarray.tobytes()` (little-endian, enums as uint8), read it with `numpy.frombuffer`. An empty field
is not sent, which is also how an empty packed list looks.

Parse with the twin only what recsvc itself has written. Another sender may split a packed list into chunks or not pack
it at all; the public classes read those, while a `bytes` field keeps the last chunk only and passes over unpacked
values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from google.protobuf import duration_pb2, empty_pb2, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal import api_implementation

from recsvc.errors import StartupError
from recsvc.pb import serving_pb2

Twin: TypeAlias = Any
"""An instance of one of the classes below. They are made at import, so a type checker cannot see into them."""

_F = FieldDescriptorProto
_ARRAYS: Final = frozenset(
    {
        _F.TYPE_DOUBLE,
        _F.TYPE_FLOAT,
        _F.TYPE_FIXED64,
        _F.TYPE_FIXED32,
        _F.TYPE_SFIXED64,
        _F.TYPE_SFIXED32,
        _F.TYPE_BOOL,
    }
)
"""Types whose values all have the same width on the wire; a bool has one byte."""
_ONE_BYTE: Final = 128
"""Below it, a number of an enum is one byte on the wire."""


def require_upb() -> None:
    """Refuse to start on protobuf's pure-Python backend, which has no limit to how deep a request may be nested.

    Raises StartupError.
    """
    backend = api_implementation.Type()
    if backend != "upb":
        raise StartupError(
            f"protobuf runs on its {backend!r} backend, recsvc needs 'upb': "
            "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, and install protobuf from a wheel"
        )


def twin_of(contract: FileDescriptorProto) -> FileDescriptorProto:
    """Return `contract` with each packed list as a `bytes` field, as package `….packed`."""
    twin = FileDescriptorProto()
    twin.CopyFrom(contract)
    twin.name = contract.name.replace(".proto", "_packed.proto")
    twin.package = f"{contract.package}.packed"
    del twin.service[:]
    one_byte = {f".{contract.package}.{enum.name}" for enum in contract.enum_type if _is_one_byte(enum)}
    for field in _fields(twin.message_type):
        if _is_array(field, one_byte):
            _make_bytes(field)
        elif field.type_name:
            field.type_name = field.type_name.replace(f".{contract.package}.", f".{twin.package}.", 1)
    return twin


def _fields(messages: Iterable[DescriptorProto]) -> Iterable[FieldDescriptorProto]:
    for message in messages:
        yield from message.field
        yield from _fields(message.nested_type)


def _is_one_byte(enum: EnumDescriptorProto) -> bool:
    return all(0 <= value.number < _ONE_BYTE for value in enum.value)


def _is_array(field: FieldDescriptorProto, one_byte: set[str]) -> bool:
    if field.label != _F.LABEL_REPEATED or (field.options.HasField("packed") and not field.options.packed):
        return False
    return field.type in _ARRAYS or (field.type == _F.TYPE_ENUM and field.type_name in one_byte)


def _make_bytes(field: FieldDescriptorProto) -> None:
    field.label = _F.LABEL_OPTIONAL
    field.type = _F.TYPE_BYTES
    field.ClearField("type_name")
    field.options.ClearField("packed")


def _register(contract: FileDescriptorProto) -> tuple[DescriptorPool, str]:
    """Add the twin to a pool of its own, so that it stays out of reflection and of other people's pools."""
    pool = DescriptorPool()
    for needed in (duration_pb2, empty_pb2):
        pool.AddSerializedFile(needed.DESCRIPTOR.serialized_pb)  # type: ignore[no-untyped-call]
    twin = twin_of(contract)
    pool.AddSerializedFile(twin.SerializeToString())  # type: ignore[no-untyped-call]
    return pool, twin.package


_CONTRACT: Final = FileDescriptorProto.FromString(serving_pb2.DESCRIPTOR.serialized_pb)
_POOL, _PACKAGE = _register(_CONTRACT)


def message(name: str) -> type[Any]:
    """Return the twin of the contract's message `name`. KeyError where there is none."""
    descriptor = _POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}")  # type: ignore[no-untyped-call]
    return message_factory.GetMessageClass(descriptor)


FloatVector: Final = message("FloatVector")
Int64List: Final = message("Int64List")
StringList: Final = message("StringList")
Value: Final = message("Value")
Int64Column: Final = message("Int64Column")
Float64Column: Final = message("Float64Column")
Float32Column: Final = message("Float32Column")
BoolColumn: Final = message("BoolColumn")
StringColumn: Final = message("StringColumn")
TimestampColumn: Final = message("TimestampColumn")
VectorColumn: Final = message("VectorColumn")
Int64ListColumn: Final = message("Int64ListColumn")
StringListColumn: Final = message("StringListColumn")
ColumnValues: Final = message("ColumnValues")
Degradation: Final = message("Degradation")
ServedView: Final = message("ServedView")
StringIds: Final = message("StringIds")
Int64Ids: Final = message("Int64Ids")
KeyColumn: Final = message("KeyColumn")
FeatureValue: Final = message("FeatureValue")
FeatureColumn: Final = message("FeatureColumn")
GetFeaturesRequest: Final = message("GetFeaturesRequest")
GetFeaturesResponse: Final = message("GetFeaturesResponse")
GetFeaturesBatchRequest: Final = message("GetFeaturesBatchRequest")
GetFeaturesBatchResponse: Final = message("GetFeaturesBatchResponse")
ValueList: Final = message("ValueList")
RangeEnd: Final = message("RangeEnd")
ValueRange: Final = message("ValueRange")
Filter: Final = message("Filter")
RecommendRequest: Final = message("RecommendRequest")
Reason: Final = message("Reason")
CandidateSource: Final = message("CandidateSource")
RecommendedItem: Final = message("RecommendedItem")
StageScore: Final = message("StageScore")
Contribution: Final = message("Contribution")
ExperimentAssignment: Final = message("ExperimentAssignment")
FilterDrop: Final = message("FilterDrop")
Diagnostics: Final = message("Diagnostics")
RecommendResponse: Final = message("RecommendResponse")
