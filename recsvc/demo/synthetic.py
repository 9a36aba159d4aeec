"""Makes up a small data set in the files and the form of MovieLens 100K, for a demo without data.

Popularity follows a power law. Users have latent tastes for genres, which decide what they rate and how. They come in
sittings at their own hours of the day, over seven months, and rate some films again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsvc.demo.definitions import GENRES
from recsvc.demo.words import ADJECTIVES, NOUNS, OCCUPATIONS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_START: Final = 1_735_689_600
"""2025-01-01T00:00:00Z in seconds; the demo moves all times to today."""
_DAYS: Final = 210
_HOUR: Final = 3_600
_DAY: Final = 24 * _HOUR
_SITTINGS: Final = 8
"""The most often that a user comes."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much to make up."""

    users: int = 300
    films: int = 500
    ratings: int = 20_000


SMALL: Final = Size()


@dataclass(frozen=True, slots=True)
class _Ratings:
    """Columns of the file of ratings; users and films count from 0."""

    users: Integers
    films: Integers
    stars: Integers
    times: Integers


def write_dataset(directory: Path, *, seed: int = 0, size: Size = SMALL) -> None:
    """Write ``made_up.inter``, ``made_up.item`` and ``made_up.user`` into ``directory``, which is made where needed.

    The same seed and size give the same bytes (with the same release of numpy). There are titles for 960 films, and the
    ratings should be well below users x films.
    """
    rng = np.random.default_rng(seed)
    genres = _genres(rng, size.films)
    affinity = _affinity(rng, size.users, genres)
    ratings = _with_second_thoughts(rng, _ratings(rng, affinity, size.ratings * 99 // 100), size.ratings)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "made_up.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", _lines(ratings))
    films = _films(rng, genres)
    _write(
        directory / "made_up.item", "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", films
    )
    users = _users(rng, size.users)
    _write(
        directory / "made_up.user", "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token", users
    )


def _write(path: Path, header: str, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in (header, *lines)), encoding="utf-8", newline="\n")


def _genres(rng: np.random.Generator, films: int) -> NDArray[np.bool_]:
    """Return films x genres: one to four genres each, some genres much more common than others."""
    common = -0.8 * np.log(1 + rng.permutation(len(GENRES)))
    keys = common + rng.gumbel(size=(films, len(GENRES)))
    rank = np.argsort(np.argsort(-keys, axis=1), axis=1)
    how_many = rng.choice(4, size=films, p=(0.5, 0.33, 0.13, 0.04)) + 1
    chosen: NDArray[np.bool_] = rank < how_many[:, np.newaxis]
    return chosen


def _affinity(rng: np.random.Generator, users: int, genres: NDArray[np.bool_]) -> Floats:
    """Return users x films: how much of a user's taste is for the film's genres, around 0."""
    tastes = rng.dirichlet(np.full(len(GENRES), 0.3), size=users)
    affinity: Floats = tastes @ (genres / genres.sum(axis=1, keepdims=True)).T
    affinity -= affinity.mean()
    return affinity


def _ratings(rng: np.random.Generator, affinity: Floats, count: int) -> _Ratings:
    """Return ``count`` ratings of different pairs."""
    users, films = _pairs(rng, affinity, count)
    kindness = rng.normal(3.5, 0.4, size=affinity.shape[:1])
    quality = rng.normal(0, 0.5, size=affinity.shape[1:])
    liking = kindness[users] + quality[films] + 3 * affinity[users, films] + rng.normal(0, 0.8, size=count)
    stars = np.clip(np.rint(liking), 1, 5).astype(np.int64)
    return _Ratings(users, films, stars, _times(rng, users, affinity.shape[0]))


def _pairs(rng: np.random.Generator, affinity: Floats, count: int) -> tuple[Integers, Integers]:
    """Draw pairs without repetition, weighted by the user's activity and taste and the film's popularity.

    The pairs with the largest log(weight) + Gumbel noise are such a sample. A few users and films stay without ratings.
    """
    users, films = affinity.shape
    activity = rng.normal(0, 0.8, size=(users,))
    activity[rng.permutation(users)[: users // 100]] = -np.inf
    popularity = -0.9 * np.log(1 + rng.permutation(films))
    popularity[rng.permutation(films)[: films // 50]] = -np.inf
    keys = activity[:, np.newaxis] + popularity + 6 * affinity + rng.gumbel(size=affinity.shape)
    chosen = np.sort(np.argpartition(keys, -count, axis=None)[-count:])
    return chosen // films, chosen % films


def _times(rng: np.random.Generator, users: Integers, how_many: int) -> Integers:
    """Return a time for each rating: users join at some day, and come a few times, mostly at their own hour."""
    joined = rng.uniform(0, _DAYS, size=(how_many, 1))
    days = np.floor(joined + (_DAYS - joined) * rng.random(size=(how_many, _SITTINGS)))
    evening = rng.random(size=(how_many, 1)) < 0.7  # noqa: PLR2004  # of the users
    usual = np.where(evening, rng.normal(20, 1.5, size=(how_many, 1)), rng.normal(12, 3, size=(how_many, 1)))
    hours = (usual + rng.normal(0, 1.5, size=days.shape)) % 24
    starts = _START + days * _DAY + np.floor(hours * _HOUR)
    sitting = np.floor(rng.random(size=len(users)) * rng.integers(1, _SITTINGS + 1, size=how_many)[users])
    within = rng.integers(0, _HOUR, size=len(users))
    times: Integers = starts[users, sitting.astype(np.int64)].astype(np.int64) + within
    return times


def _with_second_thoughts(rng: np.random.Generator, ratings: _Ratings, count: int) -> _Ratings:
    """Add ratings of films rated before, some in the same second (a double click), up to ``count``; shuffle all."""
    again = rng.permutation(len(ratings.users))[: count - len(ratings.users)]
    later = np.where(rng.random(size=len(again)) < 0.2, 0, rng.integers(0, 14 * _DAY, size=len(again)))  # noqa: PLR2004  # of them
    times = np.minimum(ratings.times[again] + later, ratings.times.max())
    stars = np.clip(ratings.stars[again] + rng.choice((-1, 1), size=len(again)), 1, 5)
    order = rng.permutation(count)
    return _Ratings(
        np.append(ratings.users, ratings.users[again])[order],
        np.append(ratings.films, ratings.films[again])[order],
        np.append(ratings.stars, stars)[order],
        np.append(ratings.times, times)[order],
    )


def _lines(ratings: _Ratings) -> Iterable[str]:
    columns = (ratings.users + 1, ratings.films + 1, ratings.stars, ratings.times)
    return (f"{user}\t{film}\t{stars}\t{time}" for user, film, stars, time in zip(*columns, strict=True))


def _films(rng: np.random.Generator, genres: NDArray[np.bool_]) -> Iterable[str]:
    """Describe the films; of some nobody knows the year, of two the genre."""
    count = len(genres)
    titles = rng.permutation(len(ADJECTIVES) * len(NOUNS))[:count]
    years = 2025 - rng.geometric(0.08, size=count)
    no_year = rng.random(size=count) < 0.03  # noqa: PLR2004  # of the films
    no_genre = rng.permutation(count)[:2]
    for film in range(count):
        adjective, noun = divmod(int(titles[film]), len(NOUNS))
        names = ["unknown"] if film in no_genre else [GENRES[place] for place in np.flatnonzero(genres[film])]
        year = "" if no_year[film] else years[film]
        yield f"{film + 1}\t{ADJECTIVES[adjective]} {NOUNS[noun]}\t{year}\t{' '.join(names)}"


def _users(rng: np.random.Generator, count: int) -> Iterable[str]:
    """Describe the users; a few did not tell their age."""
    ages = np.clip(15 + rng.gamma(2, 9, size=count), 15, 79).astype(np.int64)
    silent = rng.random(size=count) < 0.02  # noqa: PLR2004  # of the users
    genders = rng.choice(("F", "M"), size=count)
    occupations = rng.choice(OCCUPATIONS, size=count)
    zip_codes = rng.integers(0, 100_000, size=count)
    for user in range(count):
        age = "" if silent[user] else ages[user]
        yield f"{user + 1}\t{age}\t{genders[user]}\t{occupations[user]}\t{zip_codes[user]:05}"
