"""A text that nobody may read in a log, an error or a repr."""

from __future__ import annotations

from typing import Self


class Secret(str):
    """A secret: a password, a key. It shows as a placeholder wherever it is formatted; ``encode`` gives its bytes."""

    __slots__ = ()

    def __new__(cls, text: str = "") -> Self:
        """Return ``text`` as a secret; one that is a secret stays what it is."""
        return super().__new__(cls, str.__str__(text))

    def __repr__(self) -> str:
        return "Secret()"

    def __str__(self) -> str:
        return "[redacted]" if self else ""

    def __format__(self, _: str) -> str:
        return str(self)
