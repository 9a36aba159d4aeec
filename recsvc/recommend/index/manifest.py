"""The manifest of an index directory: what is in it, how to search it, and how to know that it is whole."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.planner import Planner, Step

FORMAT: Final = "recsvc-index/2"
NAME: Final = "manifest.json"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_SET = re.compile(r"[A-Za-z0-9._:~%-]{1,255}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileSum:
    """Size of a file in bytes, and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IvfManifest:
    """How the lists of an index are searched."""

    planner: Planner


@dataclass(frozen=True, slots=True)
class RedisManifest:
    """The ``name`` of the set in Redis that has the vectors; ``graph``: a graph leads the search there."""

    name: str
    graph: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of an index without reading its vectors.

    ``longest`` is the length of its longest vector, ``recall`` what its self-test found when it was built, ``ivf`` None
    where it is searched exactly, ``redis`` None where its vectors are in the directory.
    """

    version: str
    metric: Metric
    dimension: int
    count: int
    longest: float
    recall: float
    ivf: IvfManifest | None
    files: Mapping[str, FileSum]
    redis: RedisManifest | None = None


def check_version(version: str) -> None:
    """Raise BadIndexError where ``version`` cannot name a directory of an index."""
    if not _VERSION.fullmatch(version):
        raise BadIndexError(
            f"version {version!r}: it must be 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit"
        )


def encode(manifest: Manifest) -> str:
    """Return the text of manifest.json."""
    return json.dumps({"format": FORMAT, **asdict(manifest)}, indent=2, allow_nan=False) + "\n"


def read(directory: Path) -> Manifest:
    """Read the manifest of an index directory. Raises BadIndexError with a line that says what is wrong with it."""
    try:
        text = (directory / NAME).read_text(encoding="utf-8")
    except OSError as error:
        raise BadIndexError(f"index {directory}: cannot read {NAME}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadIndexError(f"index {directory}: {NAME} is not UTF-8 text") from None
    return decode(text, where=f"index {directory}: {NAME}")


def decode(text: str, *, where: str) -> Manifest:
    """Read the text of a manifest; ``where`` starts the line of an error. Raises BadIndexError."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise BadIndexError(f"{where} is not JSON: {error}") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        found = fields.get("format") if isinstance(fields, dict) else None
        raise BadIndexError(
            f"{where} has format {found!r}: this version of recsvc reads {FORMAT!r}; build the index anew"
        )
    try:
        return _manifest(fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"is wrong: {error}"
        raise BadIndexError(f"{where} {what}") from None


def _manifest(fields: Mapping[str, Any]) -> Manifest:
    ivf = fields["ivf"]
    return Manifest(
        version=_text(fields, "version", _VERSION),
        metric=Metric(fields["metric"]),
        dimension=_whole(fields, "dimension", least=1),
        count=_whole(fields, "count"),
        longest=_real(fields, "longest"),
        recall=_real(fields, "recall", most=1.0),
        ivf=None if ivf is None else IvfManifest(_planner(ivf["planner"])),
        files={name: _file(name, sums) for name, sums in fields["files"].items()},
        redis=None if fields.get("redis") is None else _redis(fields["redis"]),
    )


def _redis(fields: Mapping[str, Any]) -> RedisManifest:
    return RedisManifest(_text(fields, "name", _SET), _truth(fields, "graph"))


def _truth(fields: Mapping[str, Any], name: str) -> bool:
    value = fields[name]
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, not true or false")  # noqa: TRY004 - one kind of error for all fields
    return value


def _planner(fields: Mapping[str, Any]) -> Planner:
    steps = [Step(_real(step, "rate"), _real(step, "share"), _real(step, "far")) for step in fields["steps"]]
    gather_at_most, counted, depth = (_whole(fields, name) for name in ("gather_at_most", "counted", "depth"))
    planner = Planner(gather_at_most, counted, depth, steps)
    if problem := planner.problem():
        raise ValueError(f"planner: {problem}")
    return planner


def _file(name: str, sums: Mapping[str, Any]) -> FileSum:
    if not _FILE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a file in an index")
    return FileSum(_whole(sums, "size"), _text(sums, "sha256", _SHA256))


def _text(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = fields[name]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{name} is {value!r}")
    return value


def _whole(fields: Mapping[str, Any], name: str, least: int = 0) -> int:
    value = fields[name]
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {value!r}, not a whole number of at least {least}")
    return value


def _real(fields: Mapping[str, Any], name: str, most: float = sys.float_info.max) -> float:
    value = fields[name]
    if type(value) not in (int, float) or not 0.0 <= value <= most:
        raise ValueError(f"{name} is {value!r}, not a number from 0 to {most:g}")
    return float(value)
