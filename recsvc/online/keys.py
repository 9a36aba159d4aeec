r"""The name of a row in Redis.

    fs:{TAG}:ENTITIES[:ID]…:VIEW:vN

TAG decides the cluster slot. For an entity that a request names once it is the id; for one that is spread it is ``~``
and a bucket, CRC-32 (ISO-HDLC, zlib's) of the id's UTF-8 modulo the spread; a pair has the tag of its first entity.
ENTITIES are the view's entities joined by ``+``; the IDs that follow are those that do not stand in the tag. In ids
every byte of ``%:{}*?[]\^"'~`` and every byte up to 0x20 and 0x7F is written as ``%XX``, so that keys of different
rows differ, and none has a character that Redis' patterns know.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote
from zlib import crc32

from recsvc.registry.model import Entity, FeatureView

_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f%:{}*?\[\]\\^\"'~]")
_KEY: Final = re.compile(
    r"fs:\{([^{}]+)\}:([a-z0-9_]+(?:\+[a-z0-9_]+)*)((?::[^:{}]+)*):([a-z0-9_]+):v([1-9][0-9]{0,8})", re.DOTALL
)
_BUCKET: Final = re.compile(r"~(0|[1-9][0-9]{0,3})", re.ASCII)


def escape(text: str) -> str:
    """Write an id so that it can stand in a key; the identity for ids of letters, digits and most signs."""
    return _UNSAFE.sub(lambda m: f"%{ord(m[0]):02X}", text)


def bucket(text: str, spread: int) -> int:
    """Return the bucket of an id of an entity that is spread."""
    return crc32(text.encode()) % spread


class KeyMaker:
    """Makes the keys of one view's rows from columns of ids."""

    def __init__(self, view: FeatureView) -> None:
        self._first: Entity = view.entities[0]
        self._middle = f"}}:{'+'.join(e.name for e in view.entities)}"
        self._suffix = f":{view.name}:v{view.version}"

    def __repr__(self) -> str:
        return f"KeyMaker(fs:{{…{self._middle}…{self._suffix})"

    def keys(self, columns: Sequence[Sequence[str]]) -> list[bytes]:
        """Return one key per row; ``columns`` has the ids (see ids) of each entity of the view, all of one length."""
        escaped = [_escaped(column) for column in columns]
        spread = self._first.spread
        if spread is None:
            tags: Sequence[str] = escaped[0]
            rest = escaped[1:]
        else:
            tags = [f"~{crc32(i.encode()) % spread}" for i in columns[0]]
            rest = escaped
        middle, suffix = self._middle, self._suffix
        if not rest:
            return [f"fs:{{{tag}{middle}{suffix}".encode() for tag in tags]
        if len(rest) == 1:
            return [f"fs:{{{tag}{middle}:{i}{suffix}".encode() for tag, i in zip(tags, rest[0], strict=True)]
        joined = map(":".join, zip(*rest, strict=True))
        return [f"fs:{{{tag}{middle}:{ids}{suffix}".encode() for tag, ids in zip(tags, joined, strict=True)]


def _escaped(ids: Sequence[str]) -> Sequence[str]:
    """Escape a column; one search over all of it finds that there is nothing to do, as nearly always."""
    if _UNSAFE.search("".join(ids)) is None:
        return ids
    return [escape(i) for i in ids]


def by_tag(keys: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Return the hash tags of our keys, each with the indices of its keys."""
    pieces = b"}".join(keys).split(b"}")  # two of each key: half of what a search in each takes
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, start in enumerate(pieces[::2]):
        groups[start].append(index)
    return {start[len("fs:{") :]: indices for start, indices in groups.items()}


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """What a key names: ``ids`` are (entity name, id) in the view's order."""

    ids: tuple[tuple[str, str], ...]
    view: str
    version: int


def parse(key: bytes) -> ParsedKey | None:
    """Take a key apart; None where it is not the key of a row."""
    try:
        match = _KEY.fullmatch(key.decode())
    except UnicodeDecodeError:
        return None
    if match is None:
        return None
    tag, joined, rest, view, version = match.groups()
    entities, escaped = joined.split("+"), rest.split(":")[1:]
    if not _BUCKET.fullmatch(tag):
        escaped.insert(0, tag)
    ids = [unquote(i) for i in escaped]
    if len(ids) != len(entities) or [escape(i) for i in ids] != escaped:
        return None
    return ParsedKey(tuple(zip(entities, ids, strict=True)), view, int(version))


def tag_for(entity: Entity, text: str) -> str:
    """Return the hash tag of rows whose first entity is ``entity`` with this id."""
    return escape(text) if entity.spread is None else f"~{bucket(text, entity.spread)}"
