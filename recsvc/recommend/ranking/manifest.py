"""The manifest of a model bundle: what the model is, what it reads, what its files hold, what it must answer.

    {"format": 1, "kind": "LINEAR", "name": "clicks", "version": "2026-11-21",
     "service": "ranking", "features": [{"name": "film:year", "type": "INT64"}], "registry": "0123456789abcdef",
     "files": {"weights.json": {"bytes": 120, "sha256": "…"}},
     "warm_up": {"rows": [[1999], [null]], "scores": [0.25, 0.5]}}

``registry`` is the fingerprint of the registry that the model was trained with. A null in a row is a missing value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from recsvc.recommend.ranking.card import Floats
from recsvc.recommend.ranking.errors import BundleError
from recsvc.recommend.ranking.json_fields import Fields

FORMAT: Final = 1
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""Names and versions of models, and their files: nothing that leads out of a directory."""
MAX_WARM_UP_ROWS: Final = 1_000
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ModelKind(Enum):
    """What a bundle holds; the value is the name in its manifest."""

    DOT_PRODUCT = "DOT_PRODUCT"
    LINEAR = "LINEAR"
    LOGISTIC = "LOGISTIC"
    ONNX = "ONNX"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The size and the SHA-256 (hexadecimal) of a file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class WarmUp:
    """Rows (a feature matrix) and the scores that the model gave them when the bundle was written."""

    rows: Floats
    scores: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """A manifest, read; ``features`` are (name, text of the type)."""

    kind: ModelKind
    name: str
    version: str
    service: str
    features: tuple[tuple[str, str], ...]
    registry: str
    files: Mapping[str, FileFacts]
    warm_up: WarmUp


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest; raises BundleError with the first thing that is wrong."""
    fields = Fields.parse(data, "manifest.json")
    found = fields.integer("format")
    if found != FORMAT:
        raise BundleError(f"manifest.json: its format is {found}; this version of recsvc reads format {FORMAT}")
    return Manifest(
        kind=_kind(fields.text("kind")),
        name=fields.text("name", NAME),
        version=fields.text("version", NAME),
        service=fields.text("service"),
        features=tuple((f.text("name"), f.text("type")) for f in fields.list_of_fields("features")),
        registry=fields.text("registry"),
        files=_files(fields.named_fields("files")),
        warm_up=_warm_up(fields.fields("warm_up")),
    )


def _kind(text: str) -> ModelKind:
    try:
        return ModelKind(text)
    except ValueError:
        known = ", ".join(k.value for k in ModelKind)
        raise BundleError(f"manifest.json: its kind is {text!a}; this version of recsvc knows {known}") from None


def _files(listed: Mapping[str, Fields]) -> dict[str, FileFacts]:
    for name in listed:
        if NAME.fullmatch(name) is None:
            raise BundleError(f"manifest.json: a file is named {name!a}; it must be a plain name ({NAME.pattern})")
    return {name: FileFacts(f.integer("bytes"), f.text("sha256", _SHA256)) for name, f in listed.items()}


def _warm_up(fields: Fields) -> WarmUp:
    rows, scores = fields.rows("rows"), fields.numbers("scores")
    if len(rows) != len(scores) or len(rows) > MAX_WARM_UP_ROWS:
        right = f"there must be 1 to {MAX_WARM_UP_ROWS} rows with a score each"
        raise BundleError(f"manifest.json: 'warm_up' has {len(rows)} rows and {len(scores)} scores; {right}")
    return WarmUp(rows, np.array(scores, np.float64))


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the text of a manifest."""
    rows = [[None if math.isnan(x) else x for x in row] for row in manifest.warm_up.rows.tolist()]
    document = {
        "format": FORMAT,
        "kind": manifest.kind.value,
        "name": manifest.name,
        "version": manifest.version,
        "service": manifest.service,
        "features": [{"name": name, "type": of} for name, of in manifest.features],
        "registry": manifest.registry,
        "files": {name: {"bytes": f.size, "sha256": f.sha256} for name, f in manifest.files.items()},
        "warm_up": {"rows": rows, "scores": manifest.warm_up.scores.tolist()},
    }
    return json.dumps(document, indent=1, allow_nan=False).encode()
