"""A trace as data: the spans that some store of traces keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Scalar = str | bool | int | float

INTERNAL: Final = "internal"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a span ``at`` a time, in microseconds since 1970."""

    name: str
    at: int
    attributes: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A span that another one has to do with, and is no child of."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class Span:
    """One span. ``start`` and ``duration`` are microseconds, since 1970 and long; ``parent`` is a span id, or None.

    ``error`` says what went wrong; it is empty where nothing did. No text in it has characters that do not print.
    """

    id: str
    name: str
    service: str
    start: int
    duration: int
    parent: str | None = None
    kind: str = INTERNAL
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace, in any order; at least one. ``id`` is 32 hex digits."""

    id: str
    spans: tuple[Span, ...]
