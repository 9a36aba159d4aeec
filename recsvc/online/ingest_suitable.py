"""Whether a column's Arrow type can hold what is wanted at all: said once for the file, not for each of its rows."""

from __future__ import annotations

from typing import Final

from recsvc.online.ingest_arrow import pa
from recsvc.online.ingest_columns import is_list, is_text
from recsvc.online.ingest_rules import TimeUnit
from recsvc.online.ingest_times import is_temporal
from recsvc.registry.types import FeatureType, Kind

_TAKES: Final = {
    Kind.INT64: frozenset({"text", "integer", "float", "decimal"}),
    Kind.FLOAT64: frozenset({"text", "integer", "float", "decimal"}),
    Kind.FLOAT32: frozenset({"text", "integer", "float", "decimal"}),
    Kind.BOOL: frozenset({"text", "integer", "bool"}),
    Kind.STRING: frozenset({"text", "integer"}),
    Kind.TIMESTAMP: frozenset({"text", "time"}),
    Kind.VECTOR: frozenset({"text", "list of text", "list of integer", "list of float", "list of decimal"}),
    Kind.INT64_LIST: frozenset({"text", "list of text", "list of integer", "list of float", "list of decimal"}),
    Kind.STRING_LIST: frozenset({"text", "list of text"}),
}
_NUMBERS: Final = frozenset({"integer", "float"})


def id_problem(field: pa.Field) -> str | None:
    """Say why a column cannot hold ids, or None."""
    if family(field.type) in {"text", "integer", "null"}:
        return None
    return f"column {field.name!r} is {field.type}, ids are text or integers: cast it"


def type_problem(field: pa.Field, of: FeatureType, unit: TimeUnit | None) -> str | None:
    """Say why a column cannot hold a feature of type ``of``, or None."""
    found = family(field.type)
    if found in _TAKES[of.kind] or found in {"null", "list of null"}:
        return None
    if of.kind is Kind.TIMESTAMP and found in _NUMBERS:
        hint = "say what it counts since 1970: --event-time-unit s, ms or us"
        return None if unit else f"column {field.name!r} is {field.type}, a time is wanted; {hint}"
    return f"column {field.name!r} is {field.type}, which cannot be {of}: cast it"


def family(of: pa.DataType) -> str:
    """Return what a column of an Arrow type holds, in the words of the tables above; else the type's name."""
    types = pa.types
    if isinstance(of, pa.BaseExtensionType):
        return family(of.storage_type)
    if types.is_dictionary(of):
        return family(of.value_type)
    if is_list(of):
        return f"list of {family(of.value_type)}"
    kinds = {
        "null": types.is_null(of),
        "text": is_text(of),
        "integer": types.is_integer(of),
        "float": types.is_floating(of),
        "decimal": types.is_decimal(of),
        "bool": types.is_boolean(of),
        "time": is_temporal(of),
    }
    return next((name for name, fits in kinds.items() if fits), str(of))
