"""Finds what in catalogues and placements is not of the kind that their fields say: a timeout given as ``0.05``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from recsvc.registry.model import Entity
from recsvc.registry.placement import Catalogue, Placement


def kind_problems(defined: Catalogue | Placement) -> Iterator[str]:
    """Yield a line for each field, of this or of a part of it, whose value is of another kind."""
    yield from _fields(f"{type(defined).__name__.lower()} {defined.name!r}: ", defined)


def _fields(where: str, given: Any) -> Iterator[str]:  # noqa: ANN401  # any dataclass
    for name, hint in get_type_hints(type(given)).items():
        yield from _value(f"{where}{name}", getattr(given, name), hint)


def _value(where: str, given: object, hint: Any) -> Iterator[str]:  # noqa: ANN401  # a type, or what typing makes of one
    origin = get_origin(hint)
    if origin is tuple:
        return  # buckets, which the check of experiments looks into
    if origin is Sequence:
        yield from _items(where, given, get_args(hint)[0])
    elif not any(_is(given, kind) for kind in _kinds(hint)):
        yield f"{where} must be {' or '.join(_name(kind) for kind in _kinds(hint))}, not {given!r}"
    elif is_dataclass(given) and not isinstance(given, Entity):
        yield from _fields(f"{where}.", given)


def _items(where: str, given: object, hint: Any) -> Iterator[str]:  # noqa: ANN401  # as above
    if isinstance(given, str) or not isinstance(given, Sequence):
        names = " or ".join("(begin, end)" if get_origin(kind) else _name(kind) for kind in _kinds(hint))
        yield f"{where} must be a list of {names}, not {given!r}"
        return
    for index, item in enumerate(given):
        yield from _value(f"{where}[{index}]", item, hint)


def _kinds(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401  # as above
    """Return the members of a union, or the only type."""
    return (hint,) if isinstance(hint, type) or get_origin(hint) is tuple else get_args(hint)


def _name(kind: Any) -> str:  # noqa: ANN401  # as above
    return "None" if kind is type(None) else str(kind.__name__)


def _is(given: object, kind: Any) -> bool:  # noqa: ANN401  # as above
    """Whether a value is of a type; an int may stand for a float, a bool for no number."""
    if isinstance(given, bool):
        return kind is bool
    return isinstance(given, (int, float) if kind is float else kind)
