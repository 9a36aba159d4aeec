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
from itertools import groupby
from typing import Final
from urllib.parse import unquote
from zlib import crc32

from recsvc.registry.model import Entity, FeatureView

_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f%:{}*?\[\]\\^\"'~]")
_SAFE: Final = bytes(b for b in range(256) if b >= 0x80 or _UNSAFE.match(chr(b)) is None)  # noqa: PLR2004  # not ASCII
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
        # What stands before the id of a spread entity, by its bucket, and between two such ids.
        self._starts = [f"fs:{{~{i}{self._middle}:".encode() for i in range(self._first.spread or 0)]
        self._between = [f"{self._suffix}\n".encode() + start for start in self._starts]
        self._is_alone = len(view.entities) == 1

    def __repr__(self) -> str:
        return f"KeyMaker(fs:{{…{self._middle}…{self._suffix})"

    def keys(self, columns: Sequence[Sequence[str]]) -> list[bytes]:
        """Return one key per row.

        ``columns`` has the ids (see ids) of each entity of the view: one for each row, or a single one for all rows.
        """
        if self._is_alone and not self._starts:
            return _joined("fs:{", _escaped(columns[0]), self._middle + self._suffix)
        escaped = [_escaped(column) for column in columns]
        varying = [i for i, column in enumerate(columns) if len(column) != 1]
        if len(varying) > 1:
            return self._pairs(columns[0], escaped)
        place = varying[0] if varying else 0
        ids = escaped[place]
        if place == 0 and self._starts:
            return self._spread(columns[0], ids, escaped[1:])
        pieces = [column[0] if i != place else "\n" for i, column in enumerate(escaped)]
        if self._first.spread is None:
            tag, rest = pieces[0], pieces[1:]
        else:
            tag, rest = f"~{bucket(columns[0][0], self._first.spread)}", pieces
        before, after = f"fs:{{{tag}{self._middle}{''.join(f':{i}' for i in rest)}{self._suffix}".split("\n")
        return _joined(before, ids, after)

    def _spread(self, given: Sequence[str], ids: Sequence[str], rest: Sequence[Sequence[str]]) -> list[bytes]:
        """Return keys whose tag is the bucket of the id; of all other entities there is one id."""
        texts, spread = _joined("", ids, ""), len(self._starts)
        hashes = map(crc32, texts if ids is given else [i.encode() for i in given])
        if rest:
            after = f"{''.join(f':{column[0]}' for column in rest)}{self._suffix}".encode()
            return [self._starts[crc % spread] + i + after for i, crc in zip(texts, hashes, strict=True)]
        between = self._between
        pieces = [b""] * (2 * len(texts))
        pieces[::2] = [between[crc % spread] for crc in hashes]
        pieces[1::2] = texts
        pieces.append(self._suffix.encode())
        return b"".join(pieces).split(b"\n")[1:]  # what stands before the first line end is but a suffix

    def _pairs(self, given: Sequence[str], escaped: Sequence[Sequence[str]]) -> list[bytes]:
        """Return keys of rows that differ in more than one id."""
        n = next(len(column) for column in escaped if len(column) != 1)
        columns = [column if len(column) == n else list(column) * n for column in escaped]
        spread = self._first.spread
        if spread is None:
            tags, rest = columns[0], columns[1:]
        else:
            tags, rest = [f"~{crc32(i.encode()) % spread}" for i in given], columns
            tags = tags if len(tags) == n else tags * n
        middle, suffix = self._middle, self._suffix
        joined = map(":".join, zip(*rest, strict=True))
        return [f"fs:{{{tag}{middle}:{ids}{suffix}".encode() for tag, ids in zip(tags, joined, strict=True)]


def _joined(before: str, ids: Sequence[str], after: str) -> list[bytes]:
    """Return each id between the same texts: in one piece, and cut at line ends, which no escaped id has."""
    if len(ids) < 2:  # noqa: PLR2004  # nothing to join
        return [f"{before}{i}{after}".encode() for i in ids]
    between = f"{after}\n{before}"
    return f"{before}{between.join(ids)}{after}".encode().split(b"\n")


def _escaped(ids: Sequence[str]) -> Sequence[str]:
    """Escape a column; one look at all of it finds that there is nothing to do, as nearly always."""
    if "".join(ids).encode().translate(None, _SAFE):
        return [escape(i) for i in ids]
    return ids


def by_tag(keys: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Return the hash tags of our keys, each with the indices of its keys."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, start in enumerate(_starts(keys)):
        groups[start].append(index)
    return {start[len("fs:{") :]: indices for start, indices in groups.items()}


def tag_runs(keys: Sequence[bytes]) -> tuple[list[int] | None, list[int]]:
    """Return an order of our keys with those of one hash tag side by side, and how many there are of each tag.

    The order is a list of indices; None: they stand so.
    """
    starts = _starts(keys)
    runs = [(start, len(list(run))) for start, run in groupby(starts)]
    counts = dict(runs)
    if len(counts) == len(runs):
        return None, list(counts.values())
    order = sorted(range(len(keys)), key=starts.__getitem__)
    return order, [len(list(run)) for _, run in groupby(map(starts.__getitem__, order))]


def _starts(keys: Sequence[bytes]) -> list[bytes]:
    """Return what stands before the closing brace, of each key; in two steps, for a search in each takes longer."""
    return b"}".join(keys).split(b"}")[::2] if keys else []


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
