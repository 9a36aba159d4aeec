"""A text that nobody may read in a log, an error or a repr."""

from __future__ import annotations


class Secret(str):
    """A secret: a password, a key. It shows as a placeholder wherever it is formatted; ``encode`` gives its bytes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret()"

    def __str__(self) -> str:
        return "[redacted]" if self else ""

    def __format__(self, _: str) -> str:
        return str(self)
