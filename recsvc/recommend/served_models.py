"""The models that rank: loaded from bundles, again where another one was published; the last good one is kept."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from recsvc.errors import ConfigError, RecsvcError
from recsvc.recommend.ranking.bundle import bundle_directory, load_bundle
from recsvc.recommend.ranking.guard import GuardedRanker
from recsvc.registry.registry import Registry

log = logging.getLogger(__name__)


class _Known(NamedTuple):
    """What was found of a model: ``seen`` in its directory, with definitions whose features have a fingerprint.

    ``ranker``: the last good one of those that fit these definitions.
    """

    seen: object
    fingerprint: str
    ranker: GuardedRanker | None


class ServedModels:
    """Loads models from ``root``: for each a bundle, or versions of one, of which the file CURRENT names one."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._known: dict[str, _Known] = {}
        self._one_at_a_time = Lock()

    def __repr__(self) -> str:
        return f"ServedModels({list(self._known)})"

    def load(self, registry: Registry) -> dict[str, GuardedRanker]:
        """Return the rankers that can be had. What is wrong with a model is logged when it is seen first.

        Takes as long as models take to load. Any thread may call it.
        """
        names = sorted({p.ranker for p in registry.placements.values() if p.ranker is not None})
        with self._one_at_a_time:
            self._known = {name: self._loaded(name, registry) for name in names}
            return {name: known.ranker for name, known in self._known.items() if known.ranker is not None}

    def _loaded(self, name: str, registry: Registry) -> _Known:
        fingerprint, before, seen = registry.features_fingerprint, self._known.get(name), self._seen(name)
        if before is not None and (seen, fingerprint) == (before.seen, before.fingerprint):
            return before
        try:
            ranker = GuardedRanker(load_bundle(self._directory(name), registry))
        except RecsvcError as error:
            kept = None if before is None or before.fingerprint != fingerprint else before.ranker
            stays = "" if kept is None else f"; version {kept.inner.version} stays"
            log.error("ranker %s is not served: %s%s", name, error, stays)  # noqa: TRY400  # the error says it all
            return _Known(seen, fingerprint, kept)
        log.info("ranker %s: version %s is served", name, ranker.inner.version)
        return _Known(seen, fingerprint, ranker)

    def _seen(self, name: str) -> object:
        """Return what is another where another bundle is there, or it is missing for another reason."""
        try:
            return _state(self._directory(name))
        except RecsvcError as error:
            return str(error)

    def _directory(self, name: str) -> Path:
        """Return where the bundle is; raises RecsvcError where nobody knows."""
        if self._root is None:
            raise ConfigError("there is no directory of models (--model-dir)")
        return bundle_directory(self._root / name)


def _state(directory: Path) -> object:
    """Return what is another where another bundle is there, or one of its files was replaced."""
    try:
        files = sorted((path.name, path.stat()) for path in directory.iterdir())
    except OSError as error:
        return str(error)
    return str(directory), [(name, of.st_ino, of.st_size, of.st_mtime_ns) for name, of in files]
