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


def problem(entity: Entity, text: str, max_bytes: int = MAX_ID_BYTES) -> str | None:
    """Say why ``text`` is not an id of ``entity`` (of at most ``max_bytes`` where it is a STRING), or None."""
    if entity.key_type.kind is Kind.INT64:
        if _DECIMAL.fullmatch(text) and INT64_MIN <= int(text) <= INT64_MAX:
            return None
        return f"{_shown(text)} is not canonical decimal of 64 bits, such as '196' (no leading zeros, no '+')"
    if not text:
        return "an id must not be empty"
    if len(text) * 4 <= max_bytes:
        return None if text.isascii() or _is_utf8(text) else f"{_shown(text)} cannot be written as UTF-8"
    if not _is_utf8(text):
        return f"{_shown(text)} cannot be written as UTF-8"
    size = len(text.encode())
    return f"has {size} bytes, an id has at most {max_bytes}" if size > max_bytes else None


def problems(entity: Entity, texts: Sequence[str], max_bytes: int = MAX_ID_BYTES) -> Iterable[tuple[int, str]]:
    """Yield (index, problem) of each text that is not an id of ``entity``."""
    for index, text in enumerate(texts):
        wrong = problem(entity, text, max_bytes)
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
