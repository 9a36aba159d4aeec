"""Data sets written by hand, a few lines each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recsvc.demo.data import DemoData, open_data
from recsvc.demo.definitions import registry

HEADERS = {
    "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float",
    "item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
    "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
}
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
END = 1_000_000_000
"""2001-09-09T01:46:40Z in seconds, a good time for a data set to end."""
FILM = (1, "A Film", 1999, "Drama")
USER = (1, 30, "F", "student", "00001")

Line = Sequence[object]
Write = Callable[..., Path]
Compute = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the three files; by default one user rated one film once."""

    def write_files(
        inter: Sequence[Line] = ((1, 1, 4, END),), item: Sequence[Line] = (FILM,), user: Sequence[Line] = (USER,)
    ) -> Path:
        for ending, lines in (("inter", inter), ("item", item), ("user", user)):
            text = "".join("\t".join(map(str, line)) + "\n" for line in ([HEADERS[ending]], *lines))
            (tmp_path / f"hand.{ending}").write_text(text, encoding="utf-8")
        return tmp_path

    return write_files


@pytest.fixture
def opened(write: Write) -> Iterator[Callable[..., DemoData]]:
    """Open what `write` wrote, ended with the test."""
    data: list[DemoData] = []

    def open_files(now: datetime = NOW, **files: Sequence[Line]) -> DemoData:
        data.append(open_data(write(**files), now))
        return data[-1]

    yield open_files
    for each in data:
        each.close()


@pytest.fixture
def compute(opened: Callable[..., DemoData]) -> Compute:
    """Return the rows of a view over hand-written files."""

    def rows(view: str, **files: Sequence[Line]) -> list[dict[str, Any]]:
        return list(opened(**files).compute(registry.view(view)).to_pylist())

    return rows
