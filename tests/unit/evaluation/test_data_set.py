"""Data sets are read as they are, and a part has nothing but the part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsvc.errors import ConfigError
from recsvc.evaluation.data_set import read_data_set, write_part
from tests.unit.evaluation.small import FILES, small, write


def test_ratings_are_numbered(tmp_path: Path) -> None:
    """Users and items have the numbers of their lines, and ratings name them."""
    data = small(tmp_path)
    assert (data.users, data.items) == (["1", "2", "3"], ["10", "20", "30", "40", "50"])
    assert data.user_of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert data.item_of.tolist() == [0, 1, 2, 0, 3, 4, 1, 0]
    assert data.stars[:3].tolist() == [5, 3, 4]
    assert data.times[-1] == 940
    assert repr(data) == "DataSet(8 ratings, 3 users, 5 items)"


def test_a_part_has_no_line_of_the_rest(tmp_path: Path) -> None:
    """Its files have the ratings asked for, and only their users and items, in the very words of the whole."""
    data = small(tmp_path)
    (tmp_path / "part").mkdir()
    write_part(data, data.times < 500, tmp_path / "part")
    part = read_data_set(tmp_path / "part")
    assert (part.users, part.items) == (["1", "2"], ["10", "20"])
    assert part.lines["inter"] == [FILES["inter"][n] for n in (1, 2, 4)]
    text = "".join(path.read_text() for path in (tmp_path / "part").iterdir())
    assert "Film 30" not in text
    assert "3\t30\tF" not in text


def test_a_title_may_have_any_character_but_tab_and_line_end(tmp_path: Path) -> None:
    """A line separator of Unicode in a title does not end the line."""
    odd = [*FILES["item"], "60\tA\u2028B\x0c\t1990\tDrama"]
    data = read_data_set(write(tmp_path, item=odd))
    assert data.items[-1] == "60"
    write_part(data, np.zeros(len(data), np.bool_), tmp_path)


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("inter", "9\t10\t5\t100", r"names user_id 9 that \*.user does not have"),
        ("inter", "1\t99\t5\t100", r"names item_id 99 that \*.item does not have"),
        ("inter", "1\t10\tfive\t100", "column rating: could not convert"),
        ("inter", "1\t10", "a line has fewer columns than the header"),
        ("user", "1\t30\tF\tother\t1000", "an id stands twice in the column user_id"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, kind: str, line: str, message: str) -> None:
    """What is wrong with a file is said with its name."""
    with pytest.raises(ConfigError, match=message):
        read_data_set(write(tmp_path, **{kind: [*FILES[kind], line]}))


def test_missing_files_and_columns_are_told(tmp_path: Path) -> None:
    """A directory without the files, and a file without a column, are refused."""
    with pytest.raises(ConfigError, match=r"must have one file \*.inter, tab-separated; it has 0"):
        read_data_set(tmp_path)
    with pytest.raises(ConfigError, match="has no column timestamp"):
        read_data_set(write(tmp_path, inter=["user_id:token\titem_id:token\trating:float"]))
    with pytest.raises(ConfigError, match="has no ratings"):
        read_data_set(write(tmp_path, inter=FILES["inter"][:1]))
