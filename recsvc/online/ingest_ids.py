"""A column of ids into the texts that keys are made from, with a shortcut for columns where all are right."""

from __future__ import annotations

from recsvc.online.ingest_arrow import pa, pc
from recsvc.online.ingest_columns import Bad, canonical, plain
from recsvc.registry import ids
from recsvc.registry.model import MAX_ID_BYTES, Entity
from recsvc.registry.types import Kind


def id_column(array: pa.Array, entity: Entity) -> tuple[list[str], Bad]:
    """Return the ids of n rows as texts, and which of them are none. Integers are their decimal text."""
    array, bad = plain(array)
    if pa.types.is_integer(array.type):
        small = not pa.types.is_uint64(array.type)
        array = array.cast(pa.string())
        right = small or canonical(array) is not None
    elif entity.key_type.kind is Kind.INT64:
        right = pa.types.is_string(array.type) and canonical(array) is not None
    else:
        right = pa.types.is_string(array.type) and _lengths_fit(array)
    if right and array.null_count == 0:
        texts: list[str] = array.to_pylist()
        return texts, bad
    return _one_by_one(array, entity, bad)


def _lengths_fit(array: pa.Array) -> bool:
    sizes = pc.min_max(pc.binary_length(array)).as_py()
    return sizes["min"] is None or (sizes["min"] > 0 and sizes["max"] <= MAX_ID_BYTES)


def _one_by_one(array: pa.Array, entity: Entity, bad: Bad) -> tuple[list[str], Bad]:
    known = {index for index, _ in bad}
    texts: list[str] = []
    for index, value in enumerate(array.to_pylist()):
        text = "" if value is None else str(value)
        wrong = "is null, every row needs an id" if value is None else ids.problem(entity, text)
        if wrong is not None and index not in known:
            bad.append((index, wrong))
        texts.append(text)
    return texts, bad
