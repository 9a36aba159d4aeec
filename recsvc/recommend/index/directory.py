"""Index directories: written once under another name, never changed, and opened as memory that all workers share.

``<root>/<version>/`` has manifest.json, ``vectors.npy``, the ids, a self-test, and the lists where there are any. Where
the vectors are in Redis, it has the name of their set there instead.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.errors import StoreUnavailableError
from recsvc.online.vector_store import VectorStores
from recsvc.recommend.index import faiss_files
from recsvc.recommend.index import manifest as manifests
from recsvc.recommend.index.arrays import map_array
from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.id_table import IdTable
from recsvc.recommend.index.manifest import FileSum, IvfManifest, Manifest, RedisManifest
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.remote import Facts, RemoteIndex, vector_set
from recsvc.recommend.index.self_test import DEPTH, SLACK, SelfTest, self_test
from recsvc.recommend.index.stored import Stored
from recsvc.recommend.index.table import VectorTable

_CHUNK: Final = 1 << 20
_VECTORS: Final = "vectors.npy"
_ID_TEXT: Final = "id_text.npy"
_ID_ENDS: Final = "id_ends.npy"
_QUERIES: Final = "test_queries.npy"
_BEST: Final = "test_best.npy"


def write(root: Path, index: Stored, queries: NDArray[np.float32]) -> Path:
    """Write an index to ``root/<its version>``, whole or not at all, and return that directory.

    ``queries`` float32[m, d] become its self-test; what it finds of their true best is kept as what to expect of it.
    Raises BadIndexError where the version is there already, or the disk refuses.
    """
    return _write(root, index.version, lambda directory: _fill(directory, index, queries))


def write_remote(root: Path, index: RemoteIndex, table: VectorTable, name: str, queries: NDArray[np.float32]) -> Path:
    """Do the same for an index whose vectors, those of ``table``, are the set ``name`` in Redis already.

    Raises BadIndexError as `write` does, and StoreUnavailableError.
    """
    about = RedisManifest(name, index.facts.graph)
    return _write(root, index.version, lambda directory: _fill_remote(directory, index, table, about, queries))


def _write(root: Path, version: str, fill: Callable[[Path], None]) -> Path:
    manifests.check_version(version)
    final = root / version
    if final.exists():
        raise BadIndexError(f"index {final} exists: an index is never changed; build it under another version")
    try:
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=root))
    except OSError as error:
        raise BadIndexError(f"index {final}: cannot be written: {error.strerror}") from None
    try:
        fill(unfinished)
        unfinished.chmod(0o755)  # mkdtemp's is for its maker alone; servers may run as somebody else
        unfinished.rename(final)
        _flush(root)
    except OSError as error:
        raise BadIndexError(f"index {final}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return final


def _fill(directory: Path, index: Stored, queries: NDArray[np.float32]) -> None:
    np.save(directory / _VECTORS, index.table.vectors, allow_pickle=False)
    ivf = index.save_lists(directory)
    _finish(directory, index, index.table, queries, ivf=ivf)


def _fill_remote(
    directory: Path, index: RemoteIndex, table: VectorTable, about: RedisManifest, queries: NDArray[np.float32]
) -> None:
    _finish(directory, index, table, queries, redis=about)


def _finish(  # noqa: PLR0913 - what stands in every directory, and in some
    directory: Path,
    index: VectorIndex,
    table: VectorTable,
    queries: NDArray[np.float32],
    *,
    ivf: IvfManifest | None = None,
    redis: RedisManifest | None = None,
) -> None:
    test, ids = self_test(table, queries), IdTable.of(table.ids)
    np.save(directory / _ID_TEXT, ids.text, allow_pickle=False)
    np.save(directory / _ID_ENDS, ids.ends, allow_pickle=False)
    np.save(directory / _QUERIES, test.queries, allow_pickle=False)
    np.save(directory / _BEST, test.best, allow_pickle=False)
    files = {path.name: FileSum(path.stat().st_size, _sha256(path)) for path in sorted(directory.iterdir())}
    about = Manifest(
        version=index.version,
        metric=table.metric,
        dimension=table.dimension,
        count=len(table),
        longest=table.longest,
        recall=test.recall(index),
        ivf=ivf,
        files=files,
        redis=redis,
    )
    (directory / manifests.NAME).write_text(manifests.encode(about), encoding="utf-8")
    for path in [*directory.iterdir(), directory]:
        _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path, pause: Callable[[], None] = lambda: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            pause()
    return digest.hexdigest()


def open_index(
    directory: Path,
    *,
    checksums: bool = True,
    stores: VectorStores | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Stored | RemoteIndex:
    """Open an index directory, memory-mapped, and ask it its self-test.

    ``checksums=False`` compares sizes only: for workers, after the process that starts them has looked once; on a
    damaged file of the right size faiss may crash. ``stores`` opens vectors that are in Redis. ``pause`` is called
    every few milliseconds. Raises BadIndexError with one line that says what is wrong.
    """
    about = manifests.read(directory)
    if about.version != directory.resolve().name:
        raise BadIndexError(f"index {directory}: it is version {about.version!r}, so that must be its name")
    needed = {_ID_TEXT, _ID_ENDS, _QUERIES, _BEST} | ({_VECTORS} if about.redis is None else set())
    for name in sorted(needed - about.files.keys()):
        raise BadIndexError(f"index {directory}: the manifest does not list {name}; build the index anew")
    _check_files(directory, about.files, pause, checksums=checksums)
    try:
        index = _index(directory, about, stores)
        found = _self_test(directory, about).recall(index, pause)
    except StoreUnavailableError as error:
        raise BadIndexError(f"index {directory}: {error}") from None
    if found < about.recall - SLACK:
        raise BadIndexError(
            f"index {directory}: its self-test finds {found:.3f} of the true best, "
            f"{about.recall:.3f} when it was built; build it anew"
        )
    return index


def _index(directory: Path, about: Manifest, stores: VectorStores | None) -> Stored | RemoteIndex:
    ids = _ids(directory, about)
    if about.redis is not None:
        return _remote(directory, about, about.redis, ids, stores)
    vectors = map_array(directory / _VECTORS, np.float32, about.count, about.dimension)
    table = VectorTable(ids, vectors, about.metric, about.longest)
    if about.ivf is None:
        return ExactIndex(table, version=about.version)
    return faiss_files.load(directory, about.ivf, table, version=about.version)


def _remote(
    directory: Path, about: Manifest, redis: RedisManifest, ids: IdTable, stores: VectorStores | None
) -> RemoteIndex:
    if stores is None:
        raise BadIndexError(f"index {directory}: its vectors are in Redis: say in which one (--redis)")
    facts = Facts(ids, about.dimension, about.metric, about.longest, redis.graph)
    return RemoteIndex(facts, stores.open(vector_set(redis.name, facts)), version=about.version)


def _check_files(directory: Path, files: Mapping[str, FileSum], pause: Callable[[], None], *, checksums: bool) -> None:
    for name, expected in files.items():
        path = directory / name
        try:
            size = path.stat().st_size
            if size != expected.size:
                raise BadIndexError(
                    f"index {directory}: {name} has {size} bytes, the manifest says {expected.size}: copy it again"
                )
            if checksums and _sha256(path, pause) != expected.sha256:
                raise BadIndexError(f"index {directory}: {name} does not have the manifest's SHA-256: copy it again")
        except OSError as error:
            raise BadIndexError(f"index {directory}: cannot read {name}: {error.strerror}") from None


def _ids(directory: Path, about: Manifest) -> IdTable:
    text = map_array(directory / _ID_TEXT, np.uint8, None)
    ends = map_array(directory / _ID_ENDS, np.int64, about.count)
    if len(text) != (ends[-1] if len(ends) else 0):
        raise BadIndexError(f"index {directory}: {_ID_TEXT} has {len(text)} bytes, {_ID_ENDS} tells otherwise")
    return IdTable(text, ends)


def _self_test(directory: Path, about: Manifest) -> SelfTest:
    queries = map_array(directory / _QUERIES, np.float32, None, about.dimension)
    return SelfTest(queries, map_array(directory / _BEST, np.int64, len(queries), min(DEPTH, about.count)))
