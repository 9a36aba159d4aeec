"""Ids of entities in spans: a keyed hash, so that who has the key finds a user's traces, and nobody else a user."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

SIZE: Final = 8
"""Bytes of the hash, shown as twice as many hex digits: among 10 million users some 3 in a million share one."""
LEAST_KEY: Final = 16
"""Characters of the key, at least."""


class IdHash:
    """Makes the hash of an id (BLAKE2b with a key, RFC 7693), 16 hex digits. Raises ValueError for a short key."""

    def __init__(self, key: str) -> None:
        if len(key) < LEAST_KEY:
            raise ValueError(f"the key has {len(key)} characters, it must have at least {LEAST_KEY}")
        self._key = blake2b(key.encode(), digest_size=32).digest()  # a key of the hash may have 64 bytes at most

    def __repr__(self) -> str:
        return "IdHash()"

    def __call__(self, id_: str) -> str:
        """Return the hash."""
        return blake2b(id_.encode(), digest_size=SIZE, key=self._key).hexdigest()
