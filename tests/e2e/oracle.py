"""What every feature of the demo has to be: plain loops over the raw files, sharing no code with recsvc.

`Oracle(...).read` has the form of `Read`, and whatever else can be put into that form (the views' SQL, a gRPC client)
is compared with it by `check`. Nothing but the standard library is imported here, on purpose.
"""

from __future__ import annotations

import csv
import math
import random
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

Pair = tuple[int, int]
Columns = Mapping[str, Sequence[object]]
Read = Callable[[Sequence[int], Sequence[int], Sequence[Pair]], Columns]
"""`read(user_ids, item_ids, pairs)` returns a column per name in KINDS: of user views with a value per user id, of item
views with one per item id, and of `rated` and `live` with one per (user id, item id). The position in the list is 1 for
the first pair, and so on.

A value is a plain Python one: a time is an int in microseconds since 1970, a vector or list is a list, null is None,
and NO_ROW stands where no row is (status NOT_FOUND)."""


class Absent(Enum):
    """Stands for a row that does not exist."""

    NO_ROW = "no row"


NO_ROW: Final = Absent.NO_ROW


class Same(Enum):
    """When two values are the same."""

    EXACT = "of one type and equal"
    FLOAT = "within 1e-9 of each other, relatively"
    FLOATS = "of one length, and each component within 1e-9, relatively"


KINDS: Final = {
    "profile:age": Same.EXACT,
    "profile:occupation": Same.EXACT,
    "profile:event_time": Same.EXACT,
    "activity:rating_count_7d": Same.EXACT,
    "activity:rating_count_30d": Same.EXACT,
    "activity:watch_count_7d": Same.EXACT,
    "activity:watch_count_30d": Same.EXACT,
    "activity:rating_mean_7d": Same.FLOAT,
    "activity:rating_mean_30d": Same.FLOAT,
    "activity:rating_mean": Same.FLOAT,
    "activity:most_active_hour": Same.EXACT,
    "activity:last_rating_at": Same.EXACT,
    "activity:recent_items": Same.EXACT,
    "activity:event_time": Same.EXACT,
    "taste:genre_preference": Same.FLOATS,
    "taste:event_time": Same.EXACT,
    "film:title": Same.EXACT,
    "film:release_year": Same.EXACT,
    "film:genres": Same.EXACT,
    "film:event_time": Same.EXACT,
    "film_stats:popularity": Same.FLOAT,
    "film_stats:rating_mean": Same.FLOAT,
    "film_stats:rating_count": Same.EXACT,
    "film_stats:event_time": Same.EXACT,
    "rated:rated": Same.EXACT,
    "rated:rating": Same.FLOAT,
    "rated:event_time": Same.EXACT,
    "live:hours_since_last_rating": Same.FLOAT,
    "live:mean_difference": Same.FLOAT,
    "live:position_discount": Same.FLOAT,
}
"""Every column of a reading, and how it is compared."""

SECOND: Final = 1_000_000
DAY: Final = 24 * 60 * 60 * SECOND
# How the files say that they do not know something.
UNKNOWN: Final = ("", "unknown", "unkonwn")
# fmt: off
GENRES: Final = [
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]
# fmt: on


class Rating(NamedTuple):
    """A line of the file of ratings; `at` in microseconds since 1970, moved."""

    user: int
    item: int
    stars: float
    at: int


class Sample(NamedTuple):
    """Ids to read."""

    user_ids: list[int]
    item_ids: list[int]
    pairs: list[Pair]


class Oracle:
    """All that can be asked about the data set in a directory whose times are moved by `shift`, at `request_time`."""

    def __init__(self, directory: Path, shift: timedelta, request_time: int) -> None:
        self.request_time = request_time
        self.users = {int(line["user_id"]): line for line in lines(directory, "user")}
        self.films = {int(line["item_id"]): line for line in lines(directory, "item")}
        self.by_user: dict[int, list[Rating]] = defaultdict(list)
        self.by_item: dict[int, list[Rating]] = defaultdict(list)
        self.by_pair: dict[Pair, list[Rating]] = defaultdict(list)
        moved = shift // timedelta(seconds=1)
        for line in lines(directory, "inter"):
            at = (int(float(line["timestamp"])) + moved) * SECOND
            rating = Rating(int(line["user_id"]), int(line["item_id"]), float(line["rating"]), at)
            self.by_user[rating.user].append(rating)
            self.by_item[rating.item].append(rating)
            self.by_pair[rating.user, rating.item].append(rating)
        self.end = max(rating.at for ratings in self.by_user.values() for rating in ratings)

    def __repr__(self) -> str:
        return f"Oracle({len(self.users)} users, {len(self.films)} films, end {self.end})"

    def sample(self, seed: int, count: int) -> Sample:
        """Draw `count` users, films, pairs with a rating, and pairs of any kind; add all that is odd.

        Odd is who has no rating, a film whose year or genre nobody knows or whose title is not plain English, and a
        pair with several ratings.
        """
        rng = random.Random(seed)
        users, films, rated = list(self.users), list(self.films), list(self.by_pair)
        odd_users = [user for user in users if user not in self.by_user]
        odd_films = [film for film in films if film not in self.by_item or self.is_odd(film)]
        odd_pairs = [pair for pair, ratings in self.by_pair.items() if len(ratings) > 1]
        odd_pairs += zip(odd_users, odd_films, strict=False)
        any_pairs = [(rng.choice(users), rng.choice(films)) for _ in range(count)]
        return Sample(
            rng.sample(users, min(count, len(users))) + odd_users,
            rng.sample(films, min(count, len(films))) + odd_films,
            rng.sample(rated, min(count, len(rated))) + any_pairs + odd_pairs,
        )

    def is_odd(self, item: int) -> bool:
        """Whether something about the film is unusual."""
        line = self.films[item]
        return not (line["release_year"].isdigit() and self.genres(item) and line["movie_title"].isascii())

    def read(self, user_ids: Sequence[int], item_ids: Sequence[int], pairs: Sequence[Pair]) -> Columns:
        """Return what each column of KINDS must be."""
        rows = [{**self.profile(u), **self.activity(u), **self.taste(u)} for u in user_ids]
        films = [{**self.film(i), **self.film_stats(i)} for i in item_ids]
        both = [{**self.rated(u, i), **self.live(u, i, n)} for n, (u, i) in enumerate(pairs, start=1)]
        columns: dict[str, list[object]] = {name: [] for name in KINDS}
        for row in (*rows, *films, *both):
            for name, value in row.items():
                columns[name].append(value)
        return columns

    def profile(self, user: int) -> dict[str, object]:
        """Return what the user told."""
        line = self.users[user]
        age, occupation = line["age"], line["occupation"]
        return {
            "profile:age": int(age) if age.isdigit() else None,
            "profile:occupation": None if occupation in UNKNOWN else occupation,
            "profile:event_time": self.end,
        }

    def activity(self, user: int) -> dict[str, object]:
        """Return how much, when and how the user rates."""
        ratings = self.by_user.get(user, [])
        week = [r for r in ratings if r.at > self.end - 7 * DAY]
        month = [r for r in ratings if r.at > self.end - 30 * DAY]
        return {
            "activity:rating_count_7d": len(week),
            "activity:rating_count_30d": len(month),
            "activity:watch_count_7d": len({r.item for r in week}),
            "activity:watch_count_30d": len({r.item for r in month}),
            "activity:rating_mean_7d": mean_stars(week),
            "activity:rating_mean_30d": mean_stars(month),
            "activity:rating_mean": mean_stars(ratings),
            "activity:most_active_hour": busiest_hour(ratings),
            "activity:last_rating_at": max((r.at for r in ratings), default=None),
            "activity:recent_items": recent_items(ratings)[:50],
            "activity:event_time": self.end,
        }

    def taste(self, user: int) -> dict[str, object]:
        """Return each genre's share of the user's stars."""
        stars = dict.fromkeys(GENRES, 0.0)
        for rating in self.by_user.get(user, []):
            for genre in self.genres(rating.item):
                stars[genre] += rating.stars
        total = sum(stars.values())
        shares = [as_float32(stars[genre] / total) for genre in GENRES] if total else None
        return {"taste:genre_preference": shares, "taste:event_time": self.end}

    def genres(self, item: int) -> list[str]:
        """Return the film's known genres in the order of the file."""
        return [genre for genre in self.films[item]["class"].split(" ") if genre not in UNKNOWN]

    def film(self, item: int) -> dict[str, object]:
        """Return the film's line of the catalogue."""
        line = self.films[item]
        title, year = line["movie_title"], line["release_year"]
        return {
            "film:title": None if title in UNKNOWN else title,
            "film:release_year": int(year) if year.isdigit() else None,
            "film:genres": self.genres(item),
            "film:event_time": self.end,
        }

    def film_stats(self, item: int) -> dict[str, object]:
        """Return how the film does with all users."""
        ratings = self.by_item.get(item, [])
        return {
            "film_stats:popularity": math.fsum(0.5 ** ((self.end - r.at) / (30 * DAY)) for r in ratings),
            "film_stats:rating_mean": mean_stars(ratings),
            "film_stats:rating_count": len(ratings),
            "film_stats:event_time": self.end,
        }

    def rated(self, user: int, item: int) -> dict[str, object]:
        """Return the user's last rating of the film."""
        ratings = self.by_pair.get((user, item))
        if ratings is None:
            return {"rated:rated": NO_ROW, "rated:rating": NO_ROW, "rated:event_time": NO_ROW}
        last = max(r.at for r in ratings)
        stars = max(r.stars for r in ratings if r.at == last)
        return {"rated:rated": True, "rated:rating": stars, "rated:event_time": last}

    def live(self, user: int, item: int, position: int) -> dict[str, object]:
        """Return what is only known at the time of the request."""
        ratings = self.by_user.get(user, [])
        of_user, of_film = mean_stars(ratings), mean_stars(self.by_item.get(item, []))
        hours = (self.request_time - max(r.at for r in ratings)) / (3600 * SECOND) if ratings else None
        return {
            "live:hours_since_last_rating": hours,
            "live:mean_difference": None if of_user is None or of_film is None else of_user - of_film,
            "live:position_discount": 1 / math.log2(1 + position),
        }


def lines(directory: Path, ending: str) -> Iterable[dict[str, str]]:
    """Yield the lines of the directory's one file with that ending, by the names of the columns without their types."""
    (path,) = directory.glob(f"*.{ending}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        names = [name.split(":")[0] for name in next(rows)]
        for row in rows:
            yield dict(zip(names, row, strict=True))


def mean_stars(ratings: Sequence[Rating]) -> float | None:
    """Return the mean, None of nothing."""
    return math.fsum(r.stars for r in ratings) / len(ratings) if ratings else None


def busiest_hour(ratings: Iterable[Rating]) -> int | None:
    """Return the hour of the day (UTC) with most ratings, the earliest of equal ones."""
    counts: dict[int, int] = defaultdict(int)
    for rating in ratings:
        counts[datetime.fromtimestamp(rating.at // SECOND, UTC).hour] += 1
    most = max(counts.values(), default=0)
    return min((hour for hour, count in counts.items() if count == most), default=None)


def recent_items(ratings: Iterable[Rating]) -> list[int]:
    """Return the films rated, the one rated last first; those of one second by id."""
    found: list[int] = []
    for rating in sorted(ratings, key=lambda r: (-r.at, r.item)):
        if rating.item not in found:
            found.append(rating.item)
    return found


def as_float32(number: float) -> float:
    """Round to the nearest number of 32 bits."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", number))
    return float(rounded)


def check(expected: Columns, actual: Columns) -> None:
    """Assert that two readings have the same columns with the same values."""
    assert set(actual) == set(expected), f"columns differ: {sorted(set(actual) ^ set(expected))}"
    for name, column in expected.items():
        assert_same(column, actual[name], KINDS[name], name)


def assert_same(expected: Sequence[object], actual: Sequence[object], kind: Same, name: str = "column") -> None:
    """Assert that two columns have the same values; the message names the first few that differ."""
    assert len(actual) == len(expected), f"{name}: {len(actual)} values, {len(expected)} expected"
    wrong = [
        f"[{n}] is {a!r} but should be {e!r}"
        for n, (e, a) in enumerate(zip(expected, actual, strict=True))
        if not is_same(e, a, kind)
    ]
    assert not wrong, f"{name}: {len(wrong)} of {len(expected)} are not {kind.value}: {'; '.join(wrong[:5])}"


def is_same(expected: object, actual: object, kind: Same) -> bool:
    """Compare two values; null and NO_ROW are only the same as themselves."""
    if expected is None or expected is NO_ROW or actual is None or actual is NO_ROW:
        return expected is actual
    if isinstance(expected, list) and isinstance(actual, list):
        each = Same.FLOAT if kind is Same.FLOATS else kind
        return len(expected) == len(actual) and all(is_same(e, a, each) for e, a in zip(expected, actual, strict=True))
    if kind is Same.FLOAT and isinstance(expected, float) and isinstance(actual, float):
        return math.isclose(expected, actual, rel_tol=1e-9, abs_tol=0.0)
    return type(expected) is type(actual) and expected == actual
