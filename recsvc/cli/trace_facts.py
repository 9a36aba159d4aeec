"""What to say of a span in a few words: the attributes that help at 3 a.m., and events and links as a line each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from recsvc.inspect.trace_layout import time_text
from recsvc.inspect.trace_spans import Event, Scalar, Span
from recsvc.inspect.trace_tree import Placed, Tree
from recsvc.telemetry import names

LONGEST: Final = 80
"""Characters of a value."""


def title_of(span: Span) -> str:
    """Return the name of a span; of a candidate source with the source, which tells it from those beside it."""
    source = span.attributes.get(names.SOURCE_NAME)
    return span.name if source is None else f"{span.name} {_short(source)}"


def kind_of(span: Span) -> str:
    """Return what a span is, where its name is none of ours; empty where that says no more than the name."""
    system = span.attributes.get(names.DB_SYSTEM)
    return "" if system is None else f"a command to {_short(system)}"


def facts_of(span: Span) -> list[str]:
    """Return what is worth saying, the most important first; an error is not among it."""
    found = (say(span.attributes[name], span.attributes) for name, say in _FACTS.items() if name in span.attributes)
    return [fact for fact in found if fact] + list(_by_prefix(span.attributes))


def degraded_of(span: Span) -> list[str]:
    """Return what did not work though an answer came, such as `STORE_UNAVAILABLE profile@v1`."""
    return _list(span.attributes.get(names.DEGRADED, ""))


def event_text(event: Event) -> str:
    """Return an event in a line."""
    values = " ".join(f"{_tail(name)}={_short(value)}" for name, value in event.attributes.items())
    return f"{event.name} {values}".rstrip()


def links_of(placed: Placed, tree: Tree, found: Mapping[str, Placed]) -> Iterator[str]:
    """Yield the spans that a span has to do with, but for those right above and below it, where this shows already.

    ``found``: the spans of the tree by id.
    """
    for link in dict.fromkeys(placed.span.links):
        other = found.get(link.span_id) if link.trace_id == tree.trace_id else None
        if other is None:
            yield f"span {link.span_id} of trace {link.trace_id}"
        elif other.span.parent != placed.span.id and placed.span.parent != other.span.id:
            yield f"{title_of(other.span)} (span {link.span_id})"


def _by_prefix(attributes: Mapping[str, Scalar]) -> Iterator[str]:
    """Yield the hashes of entities, and the hops that were too short for a span."""
    for name, value in attributes.items():
        if name.startswith(_ENTITY):
            yield f"{name.removeprefix(_ENTITY)} #{_short(value)}"
    hops = {name.removeprefix(_HOP): value for name, value in attributes.items() if name.startswith(_HOP)}
    longest = sorted(((us, hop) for hop, us in hops.items() if isinstance(us, int | float)), reverse=True)
    if longest:
        yield "short parts: " + ", ".join(f"{hop} {time_text(us)}" for us, hop in longest)


_ENTITY: Final = names.ENTITY.removesuffix("*")
_HOP: Final = names.HOP_US.removesuffix("*")
_Say = Callable[[Scalar, Mapping[str, Scalar]], str]


def _plain(words: str) -> _Say:
    return lambda value, _: words.format(_short(value)) if value != "" else ""


def _count(one: str, many: str = "", *, above: int = -1) -> _Say:
    """Say a number, where it is over ``above``."""

    def say(value: Scalar, _: Mapping[str, Scalar]) -> str:
        if not isinstance(value, int | float) or value <= above:
            return ""
        return f"{value:,} {one if value == 1 else many or one}"

    return say


def _store(system: Scalar, attributes: Mapping[str, Scalar]) -> str:
    address, port = (attributes.get(name, "") for name in (names.SERVER_ADDRESS, names.SERVER_PORT))
    place = f"{_short(address)}:{port}" if port else _short(address)
    return f"{_short(system)} at {place}" if place else _short(system)


def _joined(joined: Scalar, attributes: Mapping[str, Scalar]) -> str:
    age = attributes.get(names.AGE_AT_JOIN)
    if not joined:
        return ""
    return "joined a fetch" + (f" that was under way for {time_text(age)}" if isinstance(age, int | float) else "")


def _passed(passed: Scalar, attributes: Mapping[str, Scalar]) -> str:
    return f"{_number(passed)} of {_number(attributes.get(names.CATALOGUE_SIZE, '?'))} items may come"


# In this order. Attributes of callers' spans are those of the conventions too.
_FACTS: Final[Mapping[str, _Say]] = {
    names.RPC_STATUS: _plain("{}"),
    "rpc.grpc.status_code": _plain("gRPC status {}"),
    "http.request.method": _plain("{}"),
    "url.path": _plain("{}"),
    "http.response.status_code": _plain("HTTP {}"),
    names.SERVICE: _plain("feature service {}"),
    names.PLACEMENT: _plain("placement {}"),
    names.DB_SYSTEM: _store,
    names.DB_BATCH: _count("command", "commands"),
    names.POOL_WAIT: lambda us, _: f"after {time_text(us)} for a connection" if isinstance(us, int | float) else "",
    names.ROWS: _count("row", "rows"),
    names.FEATURES_COUNT: _count("feature", "features"),
    names.HITS: _count("hit", "hits"),
    names.MISSES: _count("miss", "misses"),
    names.STALE: _count("stale row", "stale rows", above=0),
    names.KEYS: _count("row waited for", "rows waited for"),
    names.JOINED: _joined,
    names.CALLERS: _count("calls waited for it", above=1),
    names.CANDIDATES: _count("candidate", "candidates"),
    names.PASSED: _passed,
    names.SLATE_ITEMS: _count("item in the slate", "items in the slate"),
    names.RANKED_BY: _plain("ordered by {}"),
    names.MODEL: _plain("model {}"),
    names.FACTOR: lambda part, _: f"quality {part:.0%}" if isinstance(part, int | float) and part < 1 else "",
}


def _list(value: Scalar) -> list[str]:
    """Return the texts of a list, which Jaeger keeps as JSON; of another value itself."""
    try:
        found = json.loads(value) if isinstance(value, str) and value.startswith("[") else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list):
        return [_short(str(item)) for item in found]
    return [_short(value)] if value != "" else []


def _tail(name: str) -> str:
    return name.removeprefix("recsvc.")


def _number(value: Scalar) -> str:
    return f"{value:,}" if isinstance(value, int | float) else _short(value)


def _short(value: Scalar) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
