"""Feature references: ``view``, ``view:feature``, ``view@v2``, ``view@v2:feature``, ``request:field``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
MAX_NAME: Final = 64
REQUEST: Final = "request"
"""The view name that stands for the request context."""
_REFERENCE: Final = re.compile(r"([a-z][a-z0-9_]*)(?:@v([1-9][0-9]{0,8}))?(?::([a-z][a-z0-9_]*))?", re.ASCII)


def is_name(text: object) -> bool:
    """Whether ``text`` can name a definition: ``[a-z][a-z0-9_]*``, at most 64 characters."""
    return isinstance(text, str) and len(text) <= MAX_NAME and NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference. ``version`` None: the active one. ``feature`` None: all of the view."""

    view: str
    version: int | None
    feature: str | None

    @property
    def prefix(self) -> str:
        """The view's part, as it was written."""
        return self.view if self.version is None else f"{self.view}@v{self.version}"


def parse(text: str) -> Reference | None:
    """Parse ``text``; None where it has not the form of a reference."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    view, version, feature = match.groups()
    return Reference(view, int(version) if version else None, feature)
