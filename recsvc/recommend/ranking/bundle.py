"""Model bundles: directories that say what is in them, written once, and refused where they do not fit."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import numpy as np

from recsvc.errors import UnknownNameError
from recsvc.recommend.current import CURRENT, point, pointed
from recsvc.recommend.ranking.card import Floats, ModelCard, ModelFeature, service_features
from recsvc.recommend.ranking.errors import BundleError
from recsvc.recommend.ranking.guard import GuardedRanker
from recsvc.recommend.ranking.manifest import (
    MAX_WARM_UP_ROWS,
    NAME,
    FileFacts,
    Manifest,
    WarmUp,
    manifest_bytes,
    read_manifest,
)
from recsvc.recommend.ranking.models import Model, kind_of, read_model
from recsvc.recommend.ranking.ranker import Ranker
from recsvc.registry.registry import Registry

MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 16 * 2**20
MAX_FILE_BYTES: Final = 2**30
RELATIVE: Final = 1e-4
ABSOLUTE: Final = 1e-6
"""How far a warm-up score may be off: float32 sums in another order, on another processor, stay within."""


def load_bundle(directory: Path, registry: Registry) -> Ranker:
    """Return the ranker of a bundle, which has scored its warm-up rows already.

    Raises BundleError, with one line, where the bundle is damaged or was made for other features than the registry's;
    ConfigError where its kind needs an extra that is not installed.
    """
    try:
        return _load(directory, registry)
    except BundleError as error:
        line = " ".join(str(error).split())  # also where a model's runtime had more to say
        raise BundleError(f"model bundle {directory}: {line}") from None


def publish_bundle(root: Path, version: str) -> None:
    """Make a version in the directory of a model the one to serve; raises BundleError where it is none.

    Servers take it within seconds. A directory of models has for each of them such a directory, or a bundle itself.
    """
    read_manifest(_read(root / version / MANIFEST, MAX_MANIFEST_BYTES))
    try:
        point(root, version)
    except OSError as error:
        raise BundleError(f"model {root}: cannot write {CURRENT}: {error.strerror}") from None


def bundle_directory(root: Path) -> Path:
    """Return where the bundle of a model is: the version that CURRENT names, or ``root`` itself.

    Raises BundleError where CURRENT is damaged.
    """
    try:
        version = pointed(root)
    except (OSError, ValueError):
        raise BundleError(f"model {root}: cannot read {CURRENT}; publish a version again") from None
    if version is None:
        return root
    if NAME.fullmatch(version) is None:
        raise BundleError(f"model {root}: {CURRENT} names no version: {version!a}")
    return root / version


def _load(directory: Path, registry: Registry) -> Ranker:
    manifest = read_manifest(_read(directory / MANIFEST, MAX_MANIFEST_BYTES))
    card = _card(manifest, registry)
    files = {name: _verified(directory / name, facts) for name, facts in manifest.files.items()}
    ranker = read_model(manifest.kind, files).ranker(card)
    _warm_up(ranker, card, manifest.warm_up)
    return ranker


def _card(manifest: Manifest, registry: Registry) -> ModelCard:
    """Return the card of a model that reads what the registry's service gives."""
    features = _features(registry, manifest.service)
    card = ModelCard(manifest.name, manifest.version, manifest.service, features)
    given = [f"{f.name} {f.type}" for f in features]
    wanted = [f"{name} {of}" for name, of in manifest.features]
    service = f"service {manifest.service!a}"
    if len(given) != len(wanted):
        raise BundleError(f"trained on {len(wanted)} features, but {service} gives {len(given)}: train it anew")
    for place, (now, then) in enumerate(zip(given, wanted, strict=True)):
        if now != then:
            raise BundleError(f"feature {place} was {then!a}, but {service} gives {now!r}: train it anew")
    if manifest.registry != registry.features_fingerprint:
        trained = f"trained with registry {manifest.registry!a}, this one is {registry.features_fingerprint!r}"
        raise BundleError(f"{trained}: definitions that can change a value have changed, train it anew")
    return card


def _features(registry: Registry, service: str) -> tuple[ModelFeature, ...]:
    try:
        return service_features(registry, service)
    except UnknownNameError:
        known = ", ".join(sorted(registry.services)) or "none"
        raise BundleError(f"trained on feature service {service!a}, which is not defined; there is {known}") from None


def _verified(path: Path, facts: FileFacts) -> bytes:
    """Return the bytes of a file, those that were checked."""
    data = _read(path, MAX_FILE_BYTES)
    if len(data) != facts.size:
        raise BundleError(f"{path.name} has {len(data)} bytes, the manifest says {facts.size}: copy the bundle again")
    if hashlib.sha256(data).hexdigest() != facts.sha256:
        raise BundleError(f"{path.name} is not the file that was written (its SHA-256 differs): copy the bundle again")
    return data


def _read(path: Path, most: int) -> bytes:
    """Return the bytes of a file of at most ``most``."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise BundleError(f"{path.name} is missing, or no file")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise BundleError(f"{path.name} has more than {most} bytes")
    return data


def _warm_up(ranker: Ranker, card: ModelCard, warm_up: WarmUp) -> None:
    """Score the warm-up rows, and compare; the first call of a model is its slowest, so nobody waits for it either."""
    if warm_up.rows.shape[1] != card.width:
        width = warm_up.rows.shape[1]
        raise BundleError(f"{MANIFEST}: its warm-up rows have {width} numbers, the features make {card.width}")
    scores = _scored(ranker, card, warm_up.rows)
    wrong = np.flatnonzero(~np.isclose(scores, warm_up.scores, RELATIVE, ABSOLUTE))
    if len(wrong):
        row = int(wrong[0])
        found = f"scores {len(wrong)} of {len(scores)} warm-up rows otherwise than when it was written"
        raise BundleError(f"{found} (row {row}: {scores[row]:.9g}, was {warm_up.scores[row]:.9g})")


def _scored(ranker: Ranker, card: ModelCard, rows: Floats) -> Floats:
    ranking = GuardedRanker(ranker).rank(rows, card.names)
    if ranking.scores is None:
        raise BundleError(f"cannot score its warm-up rows: {ranking.detail}")
    return ranking.scores


def write_bundle(  # noqa: PLR0913  # what a manifest says
    directory: Path, model: Model, *, name: str, version: str, service: str, registry: Registry, warm_up: Floats
) -> Ranker:
    """Write a bundle, all of it or nothing, and return its ranker.

    ``warm_up``: a feature matrix of 1 to 1,000 rows; rows as they are in serving, with missing values where those can
    be. Raises BundleError where the model does not fit the service, its rows, or ``directory`` exists already.
    """
    card = _named(name, version, service, registry)
    ranker = model.ranker(card)
    if not 1 <= len(warm_up) <= MAX_WARM_UP_ROWS:
        raise BundleError(f"{len(warm_up)} warm-up rows; there must be 1 to {MAX_WARM_UP_ROWS}")
    rows = np.where(np.isfinite(warm_up), warm_up, np.nan)  # JSON has no infinities
    files = dict(model.files())
    manifest = Manifest(
        kind=kind_of(model),
        name=name,
        version=version,
        service=service,
        features=tuple((f.name, str(f.type)) for f in card.features),
        registry=registry.features_fingerprint,
        files={n: FileFacts(len(data), hashlib.sha256(data).hexdigest()) for n, data in files.items()},
        warm_up=WarmUp(rows, _scored(ranker, card, rows)),
    )
    _write(directory, files | {MANIFEST: manifest_bytes(manifest)})
    return ranker


def _named(name: str, version: str, service: str, registry: Registry) -> ModelCard:
    for what, text in (("name", name), ("version", version)):
        if NAME.fullmatch(text) is None:
            raise BundleError(f"the model's {what} is {text!a}; it must be of {NAME.pattern}")
    return ModelCard(name, version, service, _features(registry, service))


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files beside ``directory``, then give them its name; a reader never finds half a bundle."""
    if directory.exists():
        raise BundleError(f"{directory} exists already; a bundle is written once, take another directory")
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, data in files.items():
            with (fresh / name).open("xb") as file:
                file.write(data)
                os.fsync(file.fileno())
        fresh.chmod(0o755)  # mkdtemp's are for the owner alone; servers may run as somebody else
        fresh.rename(directory)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
