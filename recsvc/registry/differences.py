"""What differs between two catalogues or two placements: a line for each field, also of the parts that they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Final

from recsvc.registry.fingerprint import facts
from recsvc.registry.model import Entity

_ONE: Final = {"sources": "source", "experiments": "experiment", "variants": "variant"}
"""What a part of such a field is called; its parts have names."""


def differences(old: Any, new: Any) -> Iterator[str]:  # noqa: ANN401  # two definitions of one kind, or parts of such
    """Yield a line for each field that differs."""
    for field in fields(old):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if facts(before) == facts(after):
            continue
        if field.name in _ONE:
            yield from _named(field.name, before, after)
        elif isinstance(before, list | tuple):
            yield f"{field.name} {listed_difference(list(map(text_of, before)), list(map(text_of, after)))}"
        elif is_part(before) and type(before) is type(after):
            yield from (f"{field.name}: {line}" for line in differences(before, after))
        else:
            yield f"{field.name} {text_of(before)} -> {text_of(after)}"


def listed_difference(before: Sequence[str], after: Sequence[str]) -> str:
    """Say what of a list was removed, and what was added."""
    gone, fresh = [v for v in before if v not in after], [v for v in after if v not in before]
    moved = "" if gone or fresh else "order changed"
    return ", ".join(p for p in (f"removed {gone}" if gone else "", f"added {fresh}" if fresh else "", moved) if p)


def _named(name: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    """Yield the differences of parts that are known by their names."""
    before, after = {part.name: part for part in old}, {part.name: part for part in new}
    yield from (f"{_ONE[name]} {gone!r} removed" for gone in before if gone not in after)
    for part in after.values():
        was = before.get(part.name)
        if was is None:
            yield f"{_ONE[name]} {part.name!r} added: {text_of(part)}"
        elif type(was) is not type(part):
            yield f"{_ONE[name]} {part.name!r}: {text_of(was)} -> {text_of(part)}"
        else:
            yield from (f"{_ONE[name]} {part.name!r}: {line}" for line in differences(was, part))
    if [n for n in before if n in after] != [n for n in after if n in before]:
        yield f"{name} order changed"


def is_part(value: object) -> bool:
    """Say whether a value has fields of its own, and is not known by its name as an entity is."""
    return is_dataclass(value) and not isinstance(value, type | Entity)


def text_of(value: Any) -> str:  # noqa: ANN401  # a value of a field
    """Return a value as short as it can be told: of parts only what is not as usual, of entities the name."""
    if isinstance(value, Entity):
        return value.name
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(text_of, value))}]"
    if not is_part(value):
        return str(value)
    told = [(f.name, getattr(value, f.name)) for f in fields(value) if not _is_usual(f, getattr(value, f.name))]
    return f"{type(value).__name__}({', '.join(f'{name}={text_of(given)}' for name, given in told)})"


def _is_usual(field: Any, value: object) -> bool:  # noqa: ANN401  # a dataclass's Field
    return field.default is not MISSING and facts(value) == facts(field.default)
