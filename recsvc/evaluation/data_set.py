"""Reads a data set line by line, and writes a part of it as a data set: what is not in the part is not in its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.demo.data import COLUMNS
from recsvc.errors import ConfigError

NAME: Final = "part"
"""What the files of a part are called, before the ending."""


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Ratings as arrays over numbers of users and items, and the lines that they stand in.

    ``users`` and ``items``: id texts of all that the files name, by number. ``user_of`` and ``item_of`` int64[n],
    ``stars`` and ``times`` float64[n] (seconds since 1970): by rating.
    ``genres``: of each item. ``lines``: by kind (inter, item, user).
    """

    users: Sequence[str]
    items: Sequence[str]
    user_of: NDArray[np.int64]
    item_of: NDArray[np.int64]
    stars: NDArray[np.float64]
    times: NDArray[np.float64]
    genres: Sequence[Sequence[str]] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    lines: Mapping[str, Sequence[str]] = field(repr=False)
    item_numbers: Mapping[str, int] = field(repr=False)

    def __repr__(self) -> str:
        return f"DataSet({len(self)} ratings, {len(self.users)} users, {len(self.items)} items)"

    def __len__(self) -> int:
        return len(self.user_of)

    def pairs(self, ratings: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Say which user rated which item, by the ratings that are marked: bool[u, i]."""
        table = np.zeros((len(self.users), len(self.items)), np.bool_)
        table[self.user_of[ratings], self.item_of[ratings]] = True
        return table


def read_data_set(directory: Path) -> DataSet:
    """Read the files *.inter, *.item and *.user. Raises ConfigError that names the file and what is wrong with it."""
    tables = {kind: _Table.read(directory, kind) for kind in COLUMNS}
    ratings = tables["inter"]
    users, items = tables["user"].numbers("user_id"), tables["item"].numbers("item_id")
    data = DataSet(
        users=list(users),
        items=list(items),
        user_of=ratings.looked_up("user_id", users, "*.user"),
        item_of=ratings.looked_up("item_id", items, "*.item"),
        stars=ratings.floats("rating"),
        times=ratings.floats("timestamp"),
        genres=[text.split(" ") for text in tables["item"].column("class")],
        headers={kind: table.header for kind, table in tables.items()},
        lines={kind: table.lines for kind, table in tables.items()},
        item_numbers=items,
    )
    if not len(data):
        raise ConfigError(f"data: {ratings.path} has no ratings")
    return data


def write_part(data: DataSet, ratings: NDArray[np.bool_], directory: Path) -> None:
    """Write the ratings that are marked, and of users and items only those that have one of them."""
    kept = {
        "inter": np.flatnonzero(ratings),
        "user": np.unique(data.user_of[ratings]),
        "item": np.unique(data.item_of[ratings]),
    }
    for kind, numbers in kept.items():
        lines = [data.headers[kind], *(data.lines[kind][number] for number in numbers.tolist())]
        (directory / f"{NAME}.{kind}").write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Table:
    """A file: its lines as they are, and where the columns are in them."""

    path: Path
    header: str
    lines: Sequence[str]
    places: Mapping[str, int]

    @staticmethod
    def read(directory: Path, kind: str) -> _Table:
        paths = sorted(directory.glob(f"*.{kind}"))
        if len(paths) != 1:
            raise ConfigError(f"data: {directory} must have one file *.{kind}, tab-separated; it has {len(paths)}")
        try:
            # Not splitlines: it takes characters for line ends that may stand in a title.
            header, *lines = paths[0].read_text(encoding="utf-8-sig").rstrip("\n").replace("\r\n", "\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"data: {paths[0]} cannot be read: {error}") from error
        places = {name.partition(":")[0]: place for place, name in enumerate(header.split("\t"))}
        missing = [name for name in COLUMNS[kind] if name not in places]
        if missing:
            raise ConfigError(f"data: {paths[0]} has no column {', '.join(missing)}; its columns are {header!r}")
        return _Table(paths[0], header, lines, places)

    def column(self, name: str) -> list[str]:
        place = self.places[name]
        try:
            return [line.split("\t")[place] for line in self.lines]
        except IndexError:
            raise ConfigError(f"data: {self.path}: a line has fewer columns than the header") from None

    def numbers(self, name: str) -> dict[str, int]:
        """Give each id of a column its number in the order of the file."""
        ids = self.column(name)
        numbers = {text: number for number, text in enumerate(ids)}
        if len(numbers) < len(ids):
            raise ConfigError(f"data: {self.path}: an id stands twice in the column {name}")
        return numbers

    def looked_up(self, name: str, numbers: Mapping[str, int], where: str) -> NDArray[np.int64]:
        ids = self.column(name)
        unknown = sorted(_unknown(ids, numbers))
        if unknown:
            raise ConfigError(f"data: {self.path} names {name} {unknown[0]} that {where} does not have")
        return np.array([numbers[text] for text in ids], np.int64)

    def floats(self, name: str) -> NDArray[np.float64]:
        try:
            return np.array(self.column(name), np.float64)
        except ValueError as error:
            raise ConfigError(f"data: {self.path}: column {name}: {error}") from error


def _unknown(ids: Iterable[str], numbers: Mapping[str, int]) -> set[str]:
    return set(ids) - numbers.keys()
