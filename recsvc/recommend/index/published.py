"""Which version of an index is served: the file CURRENT beside the versions names it, and is swapped in one step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recsvc.online.vector_store import VectorStores
from recsvc.recommend.current import CURRENT, point, pointed
from recsvc.recommend.index import manifest as manifests
from recsvc.recommend.index.directory import open_index
from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.protocol import VectorIndex


@dataclass(frozen=True, slots=True)
class Reopened:
    """The index to serve from now on (None: there is none), and why it is not the newest, if it is not."""

    index: VectorIndex | None
    problem: str | None = None


def publish(root: Path, version: str) -> None:
    """Make a version that was written the one to serve. Whoever reads CURRENT sees the old name or the new one.

    Raises BadIndexError where there is no index of that version, or the disk refuses.
    """
    manifests.check_version(version)
    manifests.read(root / version)
    try:
        point(root, version)
    except OSError as error:
        raise BadIndexError(f"index {root}: cannot write {CURRENT}: {error.strerror}") from None


def newest(root: Path) -> Path | None:
    """Return the directory of the published version, None where none is. Raises BadIndexError where CURRENT is bad."""
    try:
        version = pointed(root)
    except (OSError, ValueError):
        raise BadIndexError(f"index {root}: cannot read {CURRENT}; publish a version again") from None
    if version is None:
        return None
    try:
        manifests.check_version(version)
    except BadIndexError as error:
        raise BadIndexError(f"index {root}: {CURRENT} names no version: {error}") from None
    return root / version


def reopen(
    root: Path,
    serving: VectorIndex | None,
    *,
    checksums: bool = True,
    stores: VectorStores | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Reopened:
    """Open the published version unless it is the one that is served; keep the one that is served if it is bad.

    An index that was replaced goes when the last search lets go of it: its memory is only mapped. ``stores`` opens
    vectors that are in Redis, ``pause`` is called every few milliseconds.
    """
    try:
        directory = newest(root)
        if directory is None:
            return Reopened(serving, None if serving is None else f"index {root}: {CURRENT} is gone")
        if serving is not None and serving.version == directory.name:
            return Reopened(serving)
        return Reopened(open_index(directory, checksums=checksums, stores=stores, pause=pause))
    except BadIndexError as error:
        return Reopened(serving, str(error))


def prune(root: Path, keep: int, stores: VectorStores | None = None) -> list[Path]:
    """Remove all but the published version and the ``keep`` written last beside it, and return what was removed.

    A process that has one of them open keeps its memory; but vectors in Redis go at once, by way of ``stores``: without
    it, such versions stay. Raises BadIndexError where CURRENT is bad, and StoreUnavailableError.
    """
    current = newest(root)
    versions = [path for path in root.iterdir() if (path / manifests.NAME).is_file() and not path.name.startswith(".")]
    others = sorted((path for path in versions if path != current), key=lambda path: path.stat().st_mtime_ns)
    removed = [path for path in others[: max(0, len(others) - keep)] if _without_vectors(path, stores)]
    for path in removed:
        # The manifest first: what is half gone is no version any more.
        (path / manifests.NAME).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
    return removed


def _without_vectors(directory: Path, stores: VectorStores | None) -> bool:
    """Drop what a version has in Redis; tell whether nothing is left there."""
    try:
        about = manifests.read(directory)
    except BadIndexError:  # of another format, or damaged: what it had elsewhere nobody knows
        return True
    if about.redis is None:
        return True
    if stores is None:
        return False
    stores.drop(about.redis.name, about.count)
    return True
