"""Numbers as the cells of the live view have them: few digits, never "nan"; "-" where there is no data."""

from __future__ import annotations

from typing import Final

from recsvc.inspect.top_figures import Number
from recsvc.telemetry.metrics import AGES, SECONDS

NONE: Final = "-"
_SPANS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def number(value: Number) -> str:
    """Return three digits, and all those before the point."""
    if value is None:
        return NONE
    for bound, text in ((1e-9, "0"), (0.001, "<.001"), (0.995, f"{value:.3f}"), (9.95, f"{value:.2f}")):
        if value < bound:
            return text
    return f"{value:.1f}" if value < 99.5 else f"{value:,.0f}"  # noqa: PLR2004  # from here on three digits


def percent(share: Number) -> str:
    """Return a share in percent, without the sign."""
    return NONE if share is None else number(share * 100)


def milliseconds(seconds: Number) -> str:
    """Return a time that a histogram of ours knows, up to its highest bound."""
    if seconds is not None and seconds >= SECONDS[-1]:
        return f">{SECONDS[-1] * 1e3:,.0f}"
    return NONE if seconds is None else number(seconds * 1e3)


def megabytes(count: Number) -> str:
    """Return bytes in millions."""
    return NONE if count is None else number(count / 1e6)


def whole(value: Number) -> str:
    """Return a count."""
    return NONE if value is None else f"{value:,.0f}"


def span(seconds: Number) -> str:
    """Return a time in its largest unit."""
    if seconds is None:
        return NONE
    size, unit = next((found for found in _SPANS if seconds >= found[0]), _SPANS[-1])
    return f"{seconds / size:.1f}{unit}"


def age(seconds: Number) -> str:
    """Return an age that a histogram of ours knows, up to its highest bound."""
    above = seconds is not None and seconds >= AGES[-1]
    return f">{AGES[-1] / _SPANS[0][0]:.0f}{_SPANS[0][1]}" if above else span(seconds)
