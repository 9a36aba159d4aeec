"""Interactions: from columns and from files, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsvc import INT64, STRING, Entity
from recsvc.errors import ConfigError
from recsvc.online.ingest_rules import TimeUnit
from recsvc.training.errors import TrainingError
from recsvc.training.interaction_files import FileColumns, read_interactions
from recsvc.training.interactions import Interactions

USER = Entity("user", "user_id", INT64)
ITEM = Entity("item", "item_id", STRING)
COLUMNS = FileColumns("user_id", "item_id", "stars", "at", TimeUnit.SECONDS)
ROWS = [(7, "b", 2.0, 100), (10, "a", 1.0, 50), (7, "a", 5.0, 70)]


def pairs(found: Interactions) -> list[tuple[str, str, float, int]]:
    """Return the pairs as plain values."""
    users, items = found.user_of.tolist(), found.item_of.tolist()
    texts = ((found.users[u], found.items[i]) for u, i in zip(users, items, strict=True))
    return [(*t, w, m) for t, w, m in zip(texts, found.weights.tolist(), found.micros.tolist(), strict=True)]


def csv(path: Path, *lines: str, header: str = "user_id,item_id,stars,at") -> Path:
    """Write a file."""
    file = path / "taken.csv"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return file


def test_ids_are_numbered_in_order_whatever_the_order_of_the_pairs() -> None:
    """Users and items stand once each, in the order of their ids, and every pair keeps what it was."""
    found = Interactions.from_columns(["7", "10", "7"], ["b", "a", "a"], weights=[2, 1, 5], micros=[3, 4, 5])
    assert (found.users, found.items) == (["10", "7"], ["a", "b"])
    assert pairs(found) == [("7", "b", 2.0, 3), ("10", "a", 1.0, 4), ("7", "a", 5.0, 5)]


def test_a_part_knows_only_its_own_users_and_items() -> None:
    """Whoever has no pair in a part is not in it at all."""
    found = Interactions.from_columns(["7", "10", "7"], ["b", "a", "a"]).where(np.array([True, False, False]))
    assert (found.users, found.items, pairs(found)) == (["7"], ["b"], [("7", "b", 1.0, 0)])


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_a_weight_must_be_one(weight: float) -> None:
    """A weight that is not finite and above 0 is refused, with its row."""
    with pytest.raises(TrainingError, match=r"interaction 2: its weight is"):
        Interactions.from_columns(["1", "2"], ["a", "b"], weights=[1.0, weight])


def test_columns_are_of_one_length() -> None:
    """Columns of different lengths are refused."""
    with pytest.raises(TrainingError, match="not of one n"):
        Interactions.from_columns(["1"], ["a", "b"])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_files_of_each_kind_give_the_same(tmp_path: Path, ending: str) -> None:
    """A CSV file and a Parquet file of the same rows are the same interactions."""
    if ending == "csv":
        path = csv(tmp_path, *(",".join(map(str, row)) for row in ROWS))
    else:
        path = tmp_path / "taken.parquet"
        pq.write_table(pa.table(dict(zip(COLUMNS.needed, zip(*ROWS, strict=True), strict=True))), path)
    seen: list[tuple[int, int]] = []
    found = read_interactions(path, USER, ITEM, COLUMNS, on_progress=lambda *at: seen.append(at))
    assert pairs(found) == [(str(u), i, w, t * 1_000_000) for u, i, w, t in ROWS]
    assert seen[-1][0] == seen[-1][1]


def test_columns_beside_the_ids_may_be_missing(tmp_path: Path) -> None:
    """Without a column of weights, each weighs 1; without one of times, nobody knows when it was."""
    path = csv(tmp_path, "1,a", header="who,what")
    assert pairs(read_interactions(path, USER, ITEM, FileColumns("who", "what"))) == [("1", "a", 1.0, 0)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("01,a,1,1", r"line 3: user_id: '01' is not canonical decimal"),
        (",a,1,1", r"line 3: user_id: is null, every row needs an id"),
        ("1,a,0,1", r"line 3: stars: 0.0 is no weight"),
        ("1,a,,1", r"line 3: stars: is null"),
        ("1,a,good,1", r"line 3: stars: 'good' is not a number"),
        ("1,a,1,soon", r"line 3: at: 'soon' is not a time"),
        ("1,a,1", r"line 3: has 3 cells, the header has 4"),
    ],
)
def test_the_first_wrong_row_stops_it(tmp_path: Path, line: str, reason: str) -> None:
    """A row that is wrong is named with its line, and nothing is trained on the others."""
    path = csv(tmp_path, "1,a,1,1", line, "1,b,-1,1")
    with pytest.raises(TrainingError, match=reason):
        read_interactions(path, USER, ITEM, COLUMNS)


def test_a_file_without_the_columns_is_told_which_it_has(tmp_path: Path) -> None:
    """A missing column is one line that names it and those that are there."""
    path = csv(tmp_path, "1,a", header="who,item_id")
    with pytest.raises(ConfigError, match=r"no column 'user_id'; no column 'stars'.*it has 'who', 'item_id'"):
        read_interactions(path, USER, ITEM, COLUMNS)


def test_a_column_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A column of a type that holds no ids is told once, not for each row."""
    path = tmp_path / "taken.parquet"
    pq.write_table(pa.table({"user_id": [0.5], "item_id": ["a"]}), path)
    with pytest.raises(ConfigError, match="column 'user_id' is double, ids are text or integers"):
        read_interactions(path, USER, ITEM, FileColumns("user_id", "item_id"))


def test_a_file_without_rows_teaches_nothing(tmp_path: Path) -> None:
    """A header alone is refused."""
    with pytest.raises(TrainingError, match="has no rows"):
        read_interactions(csv(tmp_path), USER, ITEM, COLUMNS)
