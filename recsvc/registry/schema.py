"""The order and types of a view's stored features, with the fingerprint of every prefix.

Appending features is compatible both ways, so a row says how many features its writer knew and the fingerprint of
those; whoever knows the same or more features can check it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from recsvc.registry.model import Feature
from recsvc.registry.types import FeatureType


@dataclass(frozen=True, slots=True)
class Schema:
    """Names and types of a view's features, in order. ``fingerprints[n]`` (32 bits) is that of the first n."""

    names: tuple[str, ...]
    types: tuple[FeatureType, ...]
    fingerprints: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprints", tuple(_prefix_fingerprints(self.lines)))

    @classmethod
    def of(cls, features: Iterable[Feature]) -> Schema:
        """Build the schema of a view's features."""
        listed = tuple(features)
        return cls(tuple(f.name for f in listed), tuple(f.type for f in listed))

    @property
    def lines(self) -> tuple[str, ...]:
        """``name:LAYOUT`` of each feature: the text that is fingerprinted, and kept in the store beside the rows."""
        return tuple(f"{n}:{t.layout}" for n, t in zip(self.names, self.types, strict=True))

    def prefix(self, count: int) -> Schema:
        """Return the schema of the first ``count`` features."""
        return Schema(self.names[:count], self.types[:count])

    def __len__(self) -> int:
        return len(self.names)


def misfit(stored: Sequence[str], ours: Sequence[str]) -> str | None:
    """Say where rows of a schema with lines ``stored`` do not fit one with ``ours``; None: one begins the other."""
    for place, (there, here) in enumerate(zip(stored, ours, strict=False), 1):
        if there != here:
            found = f"the store holds rows whose feature {place} is {there!r}, here it is {here!r}"
            return f"{found}; give the view a new version"
    return None


def _prefix_fingerprints(lines: Iterable[str]) -> Iterable[int]:
    """Yield the first 4 bytes, little-endian, of SHA-256 over the lines, each ended by a newline, for every prefix."""
    digest = hashlib.sha256()
    yield int.from_bytes(digest.digest()[:4], "little")
    for line in lines:
        digest.update(f"{line}\n".encode())
        yield int.from_bytes(digest.digest()[:4], "little")
