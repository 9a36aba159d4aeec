"""`recsvc index`: embeddings of the store become an index that is published, and measured against the exact scan."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from recsvc.cli.main import main
from recsvc.errors import StoreUnavailableError
from recsvc.online.redis_vector_sets import RedisVectorSets
from recsvc.online.vector_store import VectorSet
from recsvc.recommend.index.building import publish_in_redis
from recsvc.recommend.index.directory import open_index
from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import newest
from recsvc.registry.loader import load
from tests.parts.topologies import Endpoint
from tests.rpc.rows import Rows

pytestmark = pytest.mark.e2e

DEFINITIONS = """
from recsvc import FLOAT64, INT64, VECTOR, Entity, Feature, FeatureView, Registry

item = Entity("item", join_key="item_id", key_type=INT64, spread=4)
user = Entity("user", join_key="user_id", key_type=INT64)
vectors = FeatureView("vectors", entities=[item], features=[Feature("als", VECTOR[4]), Feature("n", FLOAT64)])
pairs = FeatureView("pairs", entities=[user, item], features=[Feature("v", VECTOR[4])])
registry = Registry(views=[vectors, pairs])
"""
COUNT = 300


@pytest.fixture
def definitions(tmp_path: Path) -> str:
    """A file of definitions."""
    file = tmp_path / "features.py"
    file.write_text(DEFINITIONS, encoding="utf-8")
    return str(file)


def write_vectors(client: redis.Redis, definitions: str) -> NDArray[np.float32]:
    """Write the vectors of items 0, 1, …, and an item without one."""
    vectors = np.random.default_rng(3).normal(size=(COUNT, 4)).astype(np.float32)
    rows, view = Rows(client), load(definitions).view("vectors")
    for item, vector in enumerate(vectors):
        rows.put(view, [str(item)], {"als": vector.tolist(), "n": 1.0})
    rows.put(view, ["1000"], {"als": None, "n": 1.0})
    return vectors


def build(definitions: str, url: str, root: Path, feature: str = "vectors:als", *more: str) -> int:
    """Run the command."""
    words = ["index", "build", definitions, feature, "--name", "als", "--index-dir", str(root), "--redis", url]
    return main([*words, *more])


def test_embeddings_become_an_index(
    definitions: str, redis_8: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every item with a vector is in the published index, one without is not; verify finds all that the scan finds."""
    client = redis.Redis.from_url(redis_8.admin_url)
    client.flushall()
    vectors = np.random.default_rng(3).normal(size=(COUNT, 4)).astype(np.float32)
    rows, view = Rows(client), load(definitions).view("vectors")
    ids = [str(i) for i in range(COUNT)]
    for item, vector in zip(ids, vectors, strict=True):
        rows.put(view, [item], {"als": vector.tolist(), "n": 1.0})
    rows.put(view, ["1000"], {"als": None, "n": 1.0})
    root = tmp_path / "indexes"
    assert build(definitions, redis_8.url, root) == 0
    output = capsys.readouterr()
    directory = newest(root / "als")
    assert output.out == f"published {directory}: {COUNT} vectors of 4 components, COSINE, scanned\n"
    assert output.err == ""
    assert directory is not None
    index = open_index(directory)
    assert sorted(index.ids) == sorted(ids)
    assert main(["index", "verify", "als", "--index-dir", str(root)]) == 0
    assert "1.0000" in capsys.readouterr().out
    assert main(["index", "verify", "als", "--index-dir", str(root), "--least", "1.5"]) == 1


def test_a_build_in_redis_publishes_an_index_that_verifies(
    definitions: str, redis_search: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --in-redis the directory has no vectors; the index has them, searches there, and verify measures it."""
    client = redis.Redis.from_url(redis_search.admin_url)
    vectors = write_vectors(client, definitions)
    root = tmp_path / "indexes"
    assert build(definitions, redis_search.url, root, "vectors:als", "--in-redis") == 0
    assert f"{COUNT} vectors of 4 components, COSINE, in Redis\n" in capsys.readouterr().out
    directory = newest(root / "als")
    assert directory is not None
    assert not (directory / "vectors.npy").exists()
    with closing(RedisVectorSets(redis_search.url, search_s=10.0)) as sets:
        index = open_index(directory, stores=sets)
        place = list(index.ids).index("7")
        unit = vectors[7] / np.linalg.norm(vectors[7])
        np.testing.assert_allclose(index.vectors(np.array([place])), [unit], rtol=1e-6)
    words = ["index", "verify", "als", "--index-dir", str(root), "--redis", redis_search.url]
    assert main(words) == 0
    assert "1.0000" in capsys.readouterr().out
    client.flushall()
    assert main(words) == 1
    assert "in Redis are not there: build the index anew" in capsys.readouterr().err


def test_a_redis_without_the_query_engine_is_told_in_one_line(
    definitions: str, redis_8: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Redis that cannot search vectors is refused before anything is written."""
    client = redis.Redis.from_url(redis_8.admin_url)
    client.flushall()
    write_vectors(client, definitions)
    assert build(definitions, redis_8.url, tmp_path, "vectors:als", "--in-redis") == 1
    error = capsys.readouterr().err
    assert "need the Query Engine: Redis 8, or the module `search`" in error
    assert "\n" not in error.strip()
    assert not list(client.scan_iter("fs:vectors:*"))
    assert not (tmp_path / "als").exists()


def test_old_versions_leave_redis(redis_search: Endpoint, tmp_path: Path) -> None:
    """Of versions in Redis those stay that stay in the directory; one that cannot be published leaves nothing."""
    client, vectors = redis.Redis.from_url(redis_search.admin_url), np.eye(5, dtype=np.float32)
    client.flushall()
    ids = [str(i) for i in range(5)]
    with closing(RedisVectorSets(redis_search.url, search_s=10.0)) as sets:
        for number in range(5):
            publish_in_redis(tmp_path / "als", ids, vectors, Metric.L2, version=f"v{number}", stores=sets)
        with pytest.raises(BadIndexError, match="it must be 1 to 64 of"):
            publish_in_redis(tmp_path / "als", ids, vectors, Metric.L2, version="v3 ", stores=sets)
        with pytest.raises(StoreUnavailableError, match="are refused: Index already exists"):
            publish_in_redis(tmp_path / "als", ids, vectors, Metric.L2, version="v4", stores=sets)
        about = VectorSet("als:v4", 5, 4, graph=False, product=False)
        with pytest.raises(StoreUnavailableError, match="have 5 components, not 4"):
            sets.open(about)
    kept = {key.rsplit(b":", 1)[0].decode() for key in client.scan_iter("fs:vectors:*")}
    assert kept == {f"fs:vectors:als:v{number}" for number in (2, 3, 4)}


def test_mistakes_are_one_line(
    definitions: str, redis_8: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A feature that is no embedding of items, a store without vectors, and an index that is not there are told."""
    redis.Redis.from_url(redis_8.admin_url).flushall()
    for feature, words in (
        ("vectors:n", "is no VECTOR of vectors@v1; there is vectors:als"),
        ("pairs:v", "is of 2 entities; an index is of items"),
        ("vectors:als", "has no vectors in the store"),
    ):
        assert build(definitions, redis_8.url, tmp_path, feature) == 1
        assert words in capsys.readouterr().err
    assert main(["index", "verify", "none", "--index-dir", str(tmp_path)]) == 1
    assert "nothing is published" in capsys.readouterr().err
