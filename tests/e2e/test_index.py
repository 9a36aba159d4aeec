"""`recsvc index`: embeddings of the store become an index that is published, and measured against the exact scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import redis

from recsvc.cli.main import main
from recsvc.recommend.index.directory import open_index
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
    assert f"{COUNT} vectors of 4 components, COSINE" in capsys.readouterr().out
    directory = newest(root / "als")
    assert directory is not None
    index = open_index(directory)
    assert sorted(index.ids) == sorted(ids)
    assert main(["index", "verify", "als", "--index-dir", str(root)]) == 0
    assert "1.0000" in capsys.readouterr().out
    assert main(["index", "verify", "als", "--index-dir", str(root), "--least", "1.5"]) == 1


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
