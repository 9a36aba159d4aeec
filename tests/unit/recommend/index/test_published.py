"""Which version is served: the published one, and the last good one where that is bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsvc.recommend.current import CURRENT
from recsvc.recommend.index.directory import write
from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import newest, prune, publish, reopen
from recsvc.recommend.index.table import vector_table

QUERY = np.ones((1, 2), dtype=np.float32)


def written(root: Path, *versions: str) -> None:
    """Write small indexes, whose only item is named after the version."""
    for version in versions:
        table = vector_table([f"of-{version}"], np.ones((1, 2)), Metric.L2)
        write(root, ExactIndex(table, version=version), QUERY)


def test_nothing_is_newest_until_something_is_published(tmp_path: Path) -> None:
    """An index that was written is not served before it is published; publishing another replaces it."""
    assert newest(tmp_path / "nowhere") is None
    written(tmp_path, "b", "a")
    assert newest(tmp_path) is None
    for version in ("b", "a"):
        publish(tmp_path, version)
        assert newest(tmp_path) == tmp_path / version
    assert sorted(path.name for path in tmp_path.iterdir()) == [CURRENT, "a", "b"]


def test_what_was_not_written_is_not_published(tmp_path: Path) -> None:
    """CURRENT keeps its name where the new one has no index."""
    written(tmp_path, "a")
    publish(tmp_path, "a")
    with pytest.raises(BadIndexError, match=r"cannot read manifest\.json"):
        publish(tmp_path, "b")
    assert newest(tmp_path) == tmp_path / "a"


@pytest.mark.parametrize("name", ["", "../elsewhere", "\udcff"])
def test_a_current_that_names_no_version_is_an_error(tmp_path: Path, name: str) -> None:
    """A path that leads out of the root, an empty file and bytes that are no text are refused."""
    (tmp_path / CURRENT).write_bytes(name.encode(errors="surrogateescape"))
    with pytest.raises(BadIndexError, match=CURRENT):
        newest(tmp_path)


def test_reopening_follows_what_is_published(tmp_path: Path) -> None:
    """The index changes when another version is published, and is the same object while none is."""
    assert reopen(tmp_path, None).index is None
    written(tmp_path, "a", "b")
    publish(tmp_path, "a")
    first = reopen(tmp_path, None)
    assert first.problem is None
    assert reopen(tmp_path, first.index).index is first.index
    publish(tmp_path, "b")
    second = reopen(tmp_path, first.index)
    assert second.index is not None
    assert (second.index.ids[0], second.problem) == ("of-b", None)


@pytest.mark.parametrize("checksums", [True, False])
def test_the_last_good_index_stays_where_the_new_one_is_bad(tmp_path: Path, *, checksums: bool) -> None:
    """A bad version is reported each time, and what was served goes on; without one there is none."""
    written(tmp_path, "a", "b")
    publish(tmp_path, "a")
    serving = reopen(tmp_path, None).index
    publish(tmp_path, "b")
    (tmp_path / "b" / "vectors.npy").write_bytes(b"")
    for _ in range(2):
        kept = reopen(tmp_path, serving, checksums=checksums)
        assert kept.index is serving
        assert "vectors.npy has 0 bytes" in str(kept.problem)
    assert reopen(tmp_path, None, checksums=checksums).index is None


def test_a_current_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    """What is served goes on, and the problem says what is gone."""
    written(tmp_path, "a")
    publish(tmp_path, "a")
    serving = reopen(tmp_path, None).index
    (tmp_path / CURRENT).unlink()
    kept = reopen(tmp_path, serving)
    assert kept.index is serving
    assert "CURRENT is gone" in str(kept.problem)


def test_an_index_outlives_its_directory(tmp_path: Path) -> None:
    """One that is in use answers after its files were pruned."""
    written(tmp_path, "a", "b", "c", "d")
    publish(tmp_path, "a")
    serving = reopen(tmp_path, None).index
    publish(tmp_path, "b")
    assert [path.name for path in prune(tmp_path, keep=1)] == ["a", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [CURRENT, "b", "d"]
    assert serving is not None
    assert serving.search(QUERY[0], 1).places.tolist() == [0]
    assert serving.ids[0] == "of-a"
