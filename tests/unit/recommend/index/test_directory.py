"""Index directories: what was written is what is opened, and what is not whole is refused with a line that says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsvc.recommend.index import manifest as manifests
from recsvc.recommend.index.directory import open_index, write
from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.faiss_index import FaissIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.stored import Stored
from recsvc.recommend.index.table import VectorTable, vector_table
from tests.parts.vector_indexes import exact, planned, queries_for

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def table() -> VectorTable:
    """Three hundred vectors, enough for a few lists."""
    vectors = np.random.default_rng(1).normal(size=(300, 4))
    return vector_table([f"é{n}\n" for n in range(300)], vectors, Metric.INNER_PRODUCT)


@pytest.fixture(params=["exact", "faiss"])
def directory(request: pytest.FixtureRequest, table: VectorTable, tmp_path: Path) -> Path:
    """A directory that was just written, of each kind."""
    index: Stored = exact(table, tmp_path) if request.param == "exact" else planned(table, tmp_path)
    return write(tmp_path / "root", index, queries_for(table, 4))


def rewrite(directory: Path, change: Change) -> None:
    """Change the manifest of an index."""
    path = directory / manifests.NAME
    fields = json.loads(path.read_text(encoding="utf-8"))
    change(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")


def test_an_index_comes_back_as_it_was(directory: Path, table: VectorTable) -> None:
    """Ids, vectors and answers are the same, and nothing unfinished is left beside it."""
    index, truth = open_index(directory), ExactIndex(table, version="v1")
    assert list(index.ids) == list(table.ids)
    assert np.array_equal(index.vectors(np.arange(300)), table.vectors)
    for query in queries_for(table, 5):
        assert index.search(query, 10).places.tolist() == truth.search(query, 10).places.tolist()
    assert [path.name for path in directory.parent.iterdir()] == ["v1"]


def test_its_vectors_are_shared_memory(directory: Path) -> None:
    """They are mapped from the file and cannot be written to."""
    index = open_index(directory)
    assert isinstance(index, ExactIndex | FaissIndex)
    vectors = index._table.vectors
    assert isinstance(vectors.base, np.memmap)
    assert not vectors.flags.writeable


def test_a_version_is_never_written_twice(directory: Path, table: VectorTable, tmp_path: Path) -> None:
    """An index that is there may be in use: it is left alone."""
    before = (directory / manifests.NAME).read_bytes()
    with pytest.raises(BadIndexError, match="exists: an index is never changed"):
        write(directory.parent, exact(table, tmp_path), queries_for(table, 1))
    assert (directory / manifests.NAME).read_bytes() == before


@pytest.mark.parametrize("version", ["", ".hidden", "../up", "a/b", "x" * 65, "a b"])
def test_a_version_must_be_a_plain_name(version: str, table: VectorTable, tmp_path: Path) -> None:
    """It becomes a directory's name, so it cannot lead elsewhere."""
    with pytest.raises(BadIndexError, match="it must be 1 to 64 of"):
        write(tmp_path, ExactIndex(table, version=version), queries_for(table, 1))


def test_an_index_of_nothing_can_be_written_and_opened(tmp_path: Path) -> None:
    """A catalogue without any vector is an index, too."""
    table = vector_table([], np.empty((0, 3)), Metric.L2)
    index = open_index(write(tmp_path, exact(table, tmp_path), queries_for(table, 2)))
    assert (len(index), index.dimension, list(index.ids)) == (0, 3, [])
    assert len(index.search(np.ones(3, dtype=np.float32), 5)) == 0


def test_every_file_that_is_damaged_is_found(directory: Path) -> None:
    """A flipped bit, a missing end and a missing file are each refused with the file's name, whichever file it is."""
    for path in sorted(directory.iterdir()):
        whole = path.read_bytes()
        for damaged in (whole[:-1] + bytes([whole[-1] ^ 0x80]), whole[: len(whole) // 2], b""):
            path.write_bytes(damaged)
            with pytest.raises(BadIndexError, match=path.name):
                open_index(directory)
        path.unlink()
        with pytest.raises(BadIndexError, match=path.name):
            open_index(directory)
        path.write_bytes(whole)
    assert len(open_index(directory)) == 300


def test_without_checksums_sizes_still_count(directory: Path) -> None:
    """A worker that does not read everything again still refuses a file that is cut short."""
    vectors = directory / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-4])
    with pytest.raises(BadIndexError, match=r"vectors.npy has 4924 bytes, the manifest says 4928"):
        open_index(directory, checksums=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda m: m.update(format="recsvc-index/9"), "has format 'recsvc-index/9'", id="format"),
        pytest.param(lambda m: m.pop("metric"), "lacks 'metric'", id="no metric"),
        pytest.param(lambda m: m.update(metric="HAMMING"), "'HAMMING' is not a valid Metric", id="metric"),
        pytest.param(lambda m: m.update(dimension=5), r"\(300, 4\), not float32 \(300, 5\)", id="dimension"),
        pytest.param(lambda m: m.update(dimension=0), "at least 1", id="no dimension"),
        pytest.param(lambda m: m.update(count=True), "count is True", id="count of truth"),
        pytest.param(lambda m: m.update(count=299), r"not int64 \(299\)", id="count"),
        pytest.param(lambda m: m.update(recall=float("nan")), "recall is nan", id="NaN"),
        pytest.param(lambda m: m.update(longest=-1.0), "longest is -1.0", id="longest"),
        pytest.param(lambda m: m.update(version="v2"), "it is version 'v2'", id="another's manifest"),
        pytest.param(lambda m: m.update(files={}), "does not list id_ends.npy", id="no files"),
        pytest.param(lambda m: m["files"].update({"../x": {}}), "no name of a file", id="file elsewhere"),
        pytest.param(lambda m: m["files"]["vectors.npy"].update(sha256="0"), "sha256 is '0'", id="checksum"),
        pytest.param(lambda m: m.update(ivf={"planner": {"steps": []}}), "lacks 'gather_at_most'", id="half a planner"),
        pytest.param(
            lambda m: m.update(ivf={"planner": {"gather_at_most": 0, "counted": 1, "depth": 1, "steps": []}}),
            "planner: rates must fall from 1",
            id="planner",
        ),
    ],
)
def test_a_manifest_that_is_wrong_says_where(directory: Path, change: Change, message: str) -> None:
    """One line names the directory and the field."""
    rewrite(directory, change)
    with pytest.raises(BadIndexError, match=message) as raised:
        open_index(directory)
    assert "\n" not in str(raised.value)
    assert str(directory) in str(raised.value)


def test_an_index_that_finds_less_than_when_it_was_built_is_refused(directory: Path, table: VectorTable) -> None:
    """Files that are whole but of another index fail the self-test."""
    best = directory / "test_best.npy"
    np.save(best, (np.load(best) + 150) % len(table))

    def resum(fields: dict[str, Any]) -> None:
        digest = hashlib.sha256(best.read_bytes()).hexdigest()
        fields["files"][best.name] = {"size": best.stat().st_size, "sha256": digest}

    rewrite(directory, resum)
    with pytest.raises(BadIndexError, match="its self-test finds 0"):
        open_index(directory)


def test_what_cannot_be_written_leaves_nothing(table: VectorTable, tmp_path: Path) -> None:
    """Where the root is a file, the error says so and names the index."""
    root = tmp_path / "file"
    root.write_text("not a directory", encoding="utf-8")
    with pytest.raises(BadIndexError, match="cannot be written"):
        write(root, exact(table, tmp_path), queries_for(table, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
