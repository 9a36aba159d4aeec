"""The packed twin says on the wire exactly what the contract says."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Final

import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.internal import api_implementation
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.errors import StartupError
from recsvc.pb import packed, serving_pb2

MESSAGES: Final = sorted(serving_pb2.DESCRIPTOR.message_types_by_name)
_F: Final = FieldDescriptor
_SCALARS: Final[dict[int, st.SearchStrategy[Any]]] = {
    _F.TYPE_DOUBLE: st.floats(),
    _F.TYPE_FLOAT: st.floats(width=32),
    _F.TYPE_SFIXED64: st.integers(-(2**63), 2**63 - 1),
    _F.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    _F.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    _F.TYPE_FIXED64: st.integers(0, 2**64 - 1),
    _F.TYPE_FIXED32: st.integers(0, 2**32 - 1),
    _F.TYPE_UINT32: st.integers(0, 2**32 - 1),
    _F.TYPE_UINT64: st.integers(0, 2**64 - 1),
    _F.TYPE_BOOL: st.booleans(),
    _F.TYPE_STRING: st.text(max_size=5),
}
_DTYPES: Final = {
    _F.TYPE_DOUBLE: "<f8",
    _F.TYPE_FLOAT: "<f4",
    _F.TYPE_SFIXED64: "<i8",
    _F.TYPE_FIXED64: "<u8",
    _F.TYPE_FIXED32: "<u4",
    _F.TYPE_BOOL: "?",
    _F.TYPE_ENUM: "u1",
}


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _one(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.type == _F.TYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == _F.TYPE_MESSAGE:
        return _messages(field.message_type)
    return _SCALARS[field.type]


def _content(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if _is_map(field):
        entry = field.message_type.fields_by_name
        return st.dictionaries(_one(entry["key"]), _one(entry["value"]), max_size=2)
    return st.lists(_one(field), max_size=4) if field.is_repeated else _one(field)


@st.composite
def _messages(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    """Any message of the contract: each field set or not, at most one of a oneof."""
    fields = {field.name: field for field in descriptor.fields if field.containing_oneof is None}
    for oneof in descriptor.oneofs:
        chosen = draw(st.sampled_from(list(oneof.fields)))
        fields[chosen.name] = chosen
    names = draw(st.sets(st.sampled_from(sorted(fields)))) if fields else set()
    return GetMessageClass(descriptor)(**{name: draw(_content(fields[name])) for name in sorted(names)})


def _as_twin(message: Message) -> packed.Twin:
    """The same message, filled in as the server does: packed lists as the bytes of arrays."""
    name = message.DESCRIPTOR.full_name.removeprefix("recsvc.v1.")
    twin = packed.message(name)() if name in MESSAGES else type(message)()
    for field, content in message.ListFields():
        if _is_map(field):
            _copy_map(field, content, getattr(twin, field.name))
        elif field.is_repeated and field.type in _DTYPES:
            setattr(twin, field.name, np.array(content, dtype=_DTYPES[field.type]).tobytes())
        elif field.is_repeated:
            getattr(twin, field.name).extend(_as_twin(c) if isinstance(c, Message) else c for c in content)
        elif isinstance(content, Message):
            part = getattr(twin, field.name)
            part.SetInParent()
            part.MergeFromString(_as_twin(content).SerializeToString())
        else:
            setattr(twin, field.name, content)
    return twin


def _copy_map(field: FieldDescriptor, content: Any, twin: Any) -> None:  # noqa: ANN401  # maps have no common class
    for key in content:
        if field.message_type.fields_by_name["value"].message_type is None:
            twin[key] = content[key]
        else:
            twin[key].CopyFrom(_as_twin(content[key]))


def _canonical(message: packed.Twin) -> bytes:
    """Bytes to compare messages of one class by, also where they hold NaN."""
    serialized: bytes = message.SerializeToString(deterministic=True)
    return serialized


def test_every_message_of_the_contract_has_its_twin() -> None:
    """Each message of serving.proto is there under its name, in a package of its own."""
    names = {name for name in vars(packed) if name in MESSAGES}
    assert names == set(MESSAGES)
    assert all(getattr(packed, n).DESCRIPTOR.full_name == f"recsvc.v1.packed.{n}" for n in MESSAGES)


def test_no_list_of_numbers_is_left_to_read_value_by_value() -> None:
    """Every repeated number, bool and enum of the contract is a bytes field of the twin, with the same number."""
    lists = [
        field
        for message in serving_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.is_repeated and field.type not in (_F.TYPE_STRING, _F.TYPE_MESSAGE)
    ]
    twins = [packed.message(f.containing_type.name).DESCRIPTOR.fields_by_number[f.number] for f in lists]
    assert [t.name for t in twins] == [f.name for f in lists]
    assert {(t.type, t.is_repeated) for t in twins} == {(_F.TYPE_BYTES, False)}


@pytest.mark.parametrize("name", MESSAGES)
@settings(max_examples=40)
@given(data=st.data())
def test_twin_and_contract_read_each_other(name: str, data: st.DataObject) -> None:
    """What the twin writes reads as the message it stands for, and the other way round."""
    public = getattr(serving_pb2, name)
    message = data.draw(_messages(public.DESCRIPTOR))
    twin = _as_twin(message)
    assert _canonical(public.FromString(twin.SerializeToString())) == _canonical(message)
    assert _canonical(packed.message(name).FromString(message.SerializeToString())) == _canonical(twin)


def test_an_empty_column_is_still_a_column_of_its_type() -> None:
    """A column of no rows keeps its kind, although its empty list is not sent."""
    twin = packed.ColumnValues(float64s=packed.Float64Column(values=np.empty(0).tobytes()))
    assert serving_pb2.ColumnValues.FromString(twin.SerializeToString()).WhichOneof("kind") == "float64s"
    assert packed.ColumnValues.FromString(twin.SerializeToString()).WhichOneof("kind") == "float64s"


def test_lists_in_chunks_are_for_the_public_classes() -> None:
    """A list that its sender split or did not pack is whole in the public class only: requests are parsed with that."""
    chunks = b"\x0a\x08" + np.int64(1).tobytes() + b"\x0a\x08" + np.int64(2).tobytes()
    unpacked = b"\x09" + np.int64(3).tobytes()
    assert list(serving_pb2.Int64Ids.FromString(chunks + unpacked).values) == [1, 2, 3]
    assert packed.Int64Ids.FromString(chunks + unpacked).values == np.int64(2).tobytes()


def test_upb_is_the_backend_of_this_environment() -> None:
    """With protobuf from a wheel there is nothing to refuse."""
    packed.require_upb()


def test_the_pure_python_backend_is_refused() -> None:
    """On the pure-Python backend the twin still imports, and require_upb says what to do."""
    code = "from recsvc.pb import packed\ntry: packed.require_upb()\nexcept Exception as e: print(type(e).__name__, e)"
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("StartupError ")
    assert "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION" in done.stdout


def test_refusal_is_a_startup_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any backend but upb is refused with StartupError that names it."""
    monkeypatch.setattr(api_implementation, "Type", lambda: "cpp")
    with pytest.raises(StartupError, match="'cpp' backend"):
        packed.require_upb()
