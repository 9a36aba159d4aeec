"""What is an id: canonical decimal for INT64 entities, 1 to 512 bytes of UTF-8 for STRING ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from recsvc.registry.model import MAX_ID_BYTES, Entity
from recsvc.registry.types import INT64_MAX, INT64_MIN, Kind

_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
SHOWN: Final = 64
"""How many characters of a wrong id an error repeats."""


def problem(entity: Entity, text: str) -> str | None:
    """Say why ``text`` is not an id of ``entity``, or None where it is one."""
    if entity.key_type.kind is Kind.INT64:
        if _DECIMAL.fullmatch(text) and INT64_MIN <= int(text) <= INT64_MAX:
            return None
        return f"{_shown(text)} is not canonical decimal of 64 bits, such as '196' (no leading zeros, no '+')"
    if not text:
        return "an id must not be empty"
    if len(text) * 4 <= MAX_ID_BYTES:
        return None if text.isascii() or _is_utf8(text) else f"{_shown(text)} cannot be written as UTF-8"
    if not _is_utf8(text):
        return f"{_shown(text)} cannot be written as UTF-8"
    size = len(text.encode())
    return f"has {size} bytes, an id has at most {MAX_ID_BYTES}" if size > MAX_ID_BYTES else None


def problems(entity: Entity, texts: Sequence[str]) -> Iterable[tuple[int, str]]:
    """Yield (index, problem) of each text that is not an id of ``entity``."""
    for index, text in enumerate(texts):
        wrong = problem(entity, text)
        if wrong is not None:
            yield index, wrong


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
