"""What is an id: canonical decimal for INT64 entities, 1 to 512 bytes of UTF-8 for STRING ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from recsvc.registry.model import MAX_ID_BYTES, Entity
from recsvc.registry.types import INT64_MAX, INT64_MIN, Kind

_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_SAFE: Final = 18
"""Digits of a number that surely has 64 bits."""
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
        return None if text.isascii() or is_utf8(text) else f"{_shown(text)} cannot be written as UTF-8"
    if not is_utf8(text):
        return f"{_shown(text)} cannot be written as UTF-8"
    size = len(text.encode())
    return f"has {size} bytes, an id has at most {max_bytes}" if size > max_bytes else None


def problems(entity: Entity, texts: Sequence[str], max_bytes: int = MAX_ID_BYTES) -> Iterable[tuple[int, str]]:
    """Yield (index, problem) of each text that is not an id of ``entity``."""
    if are_ids(entity, texts, max_bytes):
        return
    for index, text in enumerate(texts):
        wrong = problem(entity, text, max_bytes)
        if wrong is not None:
            yield index, wrong


def are_ids(entity: Entity, texts: Sequence[str], max_bytes: int = MAX_ID_BYTES) -> bool:
    """Say whether all of a column are ids, as a few looks at all of it together find; False: look at each."""
    if entity.key_type.kind is Kind.INT64:
        return _are_numbers(texts)
    lengths = set(map(len, texts))
    joined = "".join(texts)
    return 0 not in lengths and max(lengths, default=0) * 4 <= max_bytes and (joined.isascii() or is_utf8(joined))


def _are_numbers(texts: Sequence[str]) -> bool:
    """Say whether all are decimal with 1 to 18 digits, no sign and no zero in front."""
    lengths = set(map(len, texts))
    lines = "\n".join(texts)
    if 0 in lengths or max(lengths, default=0) > _SAFE or lines.startswith("0") or "\n0" in lines:
        return False
    digits = lines.replace("\n", "")
    return digits.isascii() and digits.encode().isdigit() and len(lines) - len(digits) == len(texts) - 1


def is_utf8(text: str) -> bool:
    """Say whether a text can be written as UTF-8: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
