"""The made-up data: the same every time, well-formed, and like the real thing where a demo shows it."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recsvc.demo.data import open_data
from recsvc.demo.definitions import GENRES, registry
from recsvc.demo.synthetic import Size, write_dataset

from .conftest import NOW

TINY = Size(users=30, films=40, ratings=400)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set that a demo makes."""
    made = tmp_path_factory.mktemp("made-up")
    write_dataset(made)
    return made


def read(path: Path) -> list[list[str]]:
    """Return the lines of a file behind the header, in columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def content(directory: Path) -> dict[str, bytes]:
    """Return all files of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_seed_gives_the_same_bytes(tmp_path: Path, directory: Path) -> None:
    """Made twice with one seed, the files are equal byte for byte; another seed makes others."""
    write_dataset(tmp_path / "again")
    write_dataset(tmp_path / "other", seed=1)
    assert content(directory) == content(tmp_path / "again")
    other = content(tmp_path / "other")
    assert all(other[name] != bytes_ for name, bytes_ in content(directory).items())


def test_sizes_are_as_asked(tmp_path: Path, directory: Path) -> None:
    """There are just as many users, films and ratings as asked for."""
    write_dataset(tmp_path / "tiny", size=TINY)
    for made, size in ((directory, Size()), (tmp_path / "tiny", TINY)):
        lines = [len(read(made / f"made_up.{ending}")) for ending in ("user", "item", "inter")]
        assert lines == [size.users, size.films, size.ratings]


def test_making_it_again_in_the_same_place_replaces_it(tmp_path: Path) -> None:
    """A second data set in one directory takes the place of the first."""
    write_dataset(tmp_path, seed=1, size=TINY)
    write_dataset(tmp_path, seed=2, size=TINY)
    write_dataset(tmp_path / "fresh", seed=2, size=TINY)
    fresh = content(tmp_path / "fresh")
    assert {name: (tmp_path / name).read_bytes() for name in fresh} == fresh


def test_ratings_are_whole_stars_of_known_users_and_films(directory: Path) -> None:
    """Every rating is 1 to 5 by a user and of a film that the other files have."""
    users = {line[0] for line in read(directory / "made_up.user")}
    films = {line[0] for line in read(directory / "made_up.item")}
    for user, film, stars, _ in read(directory / "made_up.inter"):
        assert user in users
        assert film in films
        assert stars in {"1", "2", "3", "4", "5"}


def test_popularity_and_activity_are_long_tailed(directory: Path) -> None:
    """A tenth of the films has over a third of the ratings, half of them less than a quarter, and some have none."""
    ratings = read(directory / "made_up.inter")
    by_film = sorted(Counter(film for _, film, _, _ in ratings).values(), reverse=True)
    assert sum(by_film[:50]) > len(ratings) / 3
    assert sum(by_film[250:]) < len(ratings) / 4
    assert 0 < 500 - len(by_film) <= 20
    by_user = sorted(Counter(user for user, _, _, _ in ratings).values(), reverse=True)
    assert sum(by_user[:30]) > len(ratings) / 5
    assert 0 < 300 - len(by_user) <= 10


def test_tastes_show_in_what_is_rated_and_how(directory: Path) -> None:
    """A user's favourite genre has a large share of the stars, and its films get more stars than others."""
    films = {line[0]: line[3].split(" ") for line in read(directory / "made_up.item")}
    with open_data(directory, NOW) as data:
        tastes = data.compute(registry.view("taste")).to_pylist()
    vectors = {str(t["user_id"]): np.array(t["genre_preference"]) for t in tastes if t["genre_preference"]}
    everybody = np.mean(list(vectors.values()), axis=0)
    favourite = {user: GENRES[int(np.argmax(v - everybody))] for user, v in vectors.items()}
    lift = [v[GENRES.index(favourite[u])] / everybody[GENRES.index(favourite[u])] for u, v in vectors.items()]
    assert np.median(lift) > 2

    stars: dict[bool, list[int]] = {True: [], False: []}
    for user, film, given, _ in read(directory / "made_up.inter"):
        if user in favourite:
            stars[favourite[user] in films[film]].append(int(given))
    assert np.mean(stars[True]) > np.mean(stars[False]) + 0.2


def test_times_span_seven_months_with_a_daily_rhythm(directory: Path) -> None:
    """Ratings go over about seven months up to the end, most in the evening and few at the end of the night."""
    times = [int(time) for *_, time in read(directory / "made_up.inter")]
    days = [time // 86_400 for time in times]
    assert 180 < max(days) - min(days) <= 212
    hours = Counter(datetime.fromtimestamp(time, UTC).hour for time in times)
    assert sum(hours[h] for h in range(18, 23)) > 5 * sum(hours[h] for h in range(2, 7))
    last = max(times)
    assert sum(time > last - 7 * 86_400 for time in times) > 500


def test_there_is_something_of_every_oddity(directory: Path) -> None:
    """There are films rated again, in the same second too, and unknown years, genres and ages: what views must bear."""
    ratings = read(directory / "made_up.inter")
    assert max(Counter((user, film) for user, film, _, _ in ratings).values()) == 2
    assert max(Counter((user, film, time) for user, film, _, time in ratings).values()) == 2
    films = read(directory / "made_up.item")
    assert {len(line[3].split(" ")) for line in films} == {1, 2, 3, 4}
    assert {line[3] for line in films} >= {"unknown"}
    assert 0 < sum(line[2] == "" for line in films) < 50
    assert 0 < sum(line[1] == "" for line in read(directory / "made_up.user")) < 20
    assert any(not line[1].isascii() for line in films)
    assert any('"' in line[1] for line in films)


def test_titles_are_different(directory: Path) -> None:
    """No two films share a title."""
    titles = [line[1] for line in read(directory / "made_up.item")]
    assert len(set(titles)) == len(titles)
