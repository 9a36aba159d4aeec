"""W3C trace context as it comes in, and whether a call is sampled: decided from a few characters, before anything else.

https://www.w3.org/TR/trace-context/ section 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"
PROPAGATORS: Final = frozenset({"tracecontext", BAGGAGE})
"""What OTEL_PROPAGATORS may name, and names where it is not set."""
_HEADER: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_LOWER_64: Final = (1 << 64) - 1


class Parent(NamedTuple):
    """The span of the caller."""

    trace_id: int
    span_id: int
    sampled: bool


def parent_of(header: str | None) -> Parent | None:
    """Return what a ``traceparent`` says; None where there is none, or it is not valid."""
    found = None if header is None else _HEADER.fullmatch(header)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return Parent(int(trace, 16), int(span, 16), bool(int(flags, 16) & 1))


class Carrier(NamedTuple):
    """The headers that a trace is carried in."""

    traceparent: str | None
    tracestate: str | None
    baggage: str | None


NO_CARRIER: Final = Carrier(None, None, None)


def carrier_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Carrier:
    """Return them from a call's metadata; of several of one name the last counts, two traceparents are none."""
    found: dict[str, str] = {}
    for key, value in metadata or ():
        if key in {TRACEPARENT, TRACESTATE, BAGGAGE} and isinstance(value, str):
            if key == TRACEPARENT and key in found:
                return NO_CARRIER
            found[key] = f"{found[key]},{value}" if key in found else value
    return Carrier(found.get(TRACEPARENT), found.get(TRACESTATE), found.get(BAGGAGE)) if found else NO_CARRIER


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which calls are sampled: a ``ratio``, by trace id; ``by_parent``: as the caller's span is, if there is one.

    ``late``: whether one that is not may leave a late span.
    The rule for a trace id is that of OpenTelemetry's TraceIdRatioBased, so that all services take the same ones.
    """

    ratio: float = 1.0
    by_parent: bool = True
    late: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"{self.ratio} is no share of calls")

    def takes(self, parent: Parent | None, trace_id: int) -> bool:
        """Say whether a call in this trace is sampled."""
        if self.by_parent and parent is not None:
            return parent.sampled
        return trace_id & _LOWER_64 < round(self.ratio * (1 << 64))


def sampling_of(environment: Mapping[str, str]) -> Sampling:
    """Return what ``OTEL_TRACES_SAMPLER`` and ``OTEL_TRACES_SAMPLER_ARG`` say. Raises ValueError, which names them."""
    name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    by_parent = name.startswith("parentbased_")
    match name.removeprefix("parentbased_"):
        case "always_on":
            return Sampling(1.0, by_parent)
        case "always_off":
            return Sampling(0.0, by_parent, late=by_parent)  # without a parent to go by, off means off
        case "traceidratio":
            text = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1.0"
            try:
                return Sampling(float(text), by_parent)
            except ValueError:
                raise ValueError(f"OTEL_TRACES_SAMPLER_ARG: {text!r} is not a share from 0 to 1") from None
    raise ValueError(
        f"OTEL_TRACES_SAMPLER: there is no sampler {name!r}; there are always_on, always_off and traceidratio, each"
        " also with parentbased_ before it"
    )
