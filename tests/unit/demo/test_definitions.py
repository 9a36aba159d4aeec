"""The demo's definitions: what their SQL means in the corners, and that they are an example worth following."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from recsvc.demo import definitions
from recsvc.demo.definitions import GENRES, difference, hours_between, position_discount, registry
from recsvc.registry.loader import load
from recsvc.registry.model import FeatureView, OnDemandView

from .conftest import END, Compute

DAY = 24 * 60 * 60
VIEWS: list[FeatureView | OnDemandView] = [*registry.views.values(), *registry.on_demand.values()]


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that is set to another time zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_windows_leave_their_far_end_out(compute: Compute) -> None:
    """A rating just 7 (or 30) days before the last one is outside the window, one a second later inside."""
    ages = (0, 7 * DAY - 1, 7 * DAY, 30 * DAY - 1, 30 * DAY)
    inter = [(1, n, stars, END - age) for n, (age, stars) in enumerate(zip(ages, (5, 4, 3, 2, 1), strict=True))]
    (row,) = compute("activity", inter=inter)
    assert (row["rating_count_7d"], row["rating_mean_7d"]) == (2, 4.5)
    assert (row["rating_count_30d"], row["rating_mean_30d"]) == (4, 3.5)
    assert row["rating_mean"] == 3.0


def test_a_film_rated_again_is_one_film_and_two_ratings(compute: Compute) -> None:
    """Counts of ratings count each, counts of films watched each film once, in its window."""
    inter = [(1, 1, 5, END), (1, 1, 2, END - DAY), (1, 2, 3, END - 8 * DAY), (1, 1, 3, END - 9 * DAY)]
    (row,) = compute("activity", inter=inter)
    assert (row["rating_count_7d"], row["watch_count_7d"]) == (2, 1)
    assert (row["rating_count_30d"], row["watch_count_30d"]) == (4, 2)
    assert row["recent_items"] == [1, 2]


def test_a_user_without_ratings_has_a_row_of_zeros_and_nulls(compute: Compute) -> None:
    """A known user who never rated has counts of 0, no mean, no hour, no taste: facts, not defaults."""
    user = [(1, 30, "F", "artist", "1"), (2, 31, "M", "artist", "2")]
    _, row = compute("activity", user=user)
    event_time = row.pop("event_time")
    counts = dict.fromkeys(("rating_count_7d", "rating_count_30d", "watch_count_7d", "watch_count_30d"), 0)
    nothing = dict.fromkeys(("rating_mean_7d", "rating_mean_30d", "rating_mean", "most_active_hour", "last_rating_at"))
    assert row == {"user_id": 2, **counts, **nothing, "recent_items": []}
    assert compute("taste", user=user)[1] == {"user_id": 2, "genre_preference": None, "event_time": event_time}


def test_of_hours_with_as_many_ratings_the_earliest_counts(compute: Compute) -> None:
    """Where hours tie, the answer is the smallest hour."""
    midnight = END - END % DAY
    inter = [(1, n, 3, midnight + hour * 3600) for n, hour in enumerate((23, 23, 9, 9, 14, 14, 3))]
    (row,) = compute("activity", inter=inter)
    assert row["most_active_hour"] == 9


@pytest.mark.usefixtures("far_from_greenwich")
def test_hours_and_windows_do_not_depend_on_the_time_zone_of_the_machine(compute: Compute) -> None:
    """Hours are those of UTC wherever the demo runs."""
    (row,) = compute("activity")
    assert row["most_active_hour"] == 1
    assert row["last_rating_at"] == row["event_time"]
    assert row["event_time"].timestamp() % DAY == END % DAY


def test_recent_items_are_the_last_50_films_newest_first(compute: Compute) -> None:
    """More than 50 are cut at the old end, a film counts where it was rated last, and one second is ordered by id."""
    inter = [(1, item, 3, END - item) for item in range(1, 61)] + [(1, 60, 4, END - 2), (1, 7, 3, END - 5)]
    (row,) = compute("activity", inter=inter)
    assert row["recent_items"][:8] == [1, 2, 60, 3, 4, 5, 7, 6]
    assert row["recent_items"][7:] == [6, *range(8, 50)]


def test_the_last_rating_of_a_film_counts_and_of_one_second_the_highest(compute: Compute) -> None:
    """`rated` has one row per pair with the time and stars of the last rating."""
    inter = [(1, 1, 5, END - 9), (1, 1, 2, END - 3), (1, 1, 4, END - 3), (1, 1, 3, END - 3), (1, 2, 1, END)]
    first, second = compute("rated", inter=inter)
    assert (first["item_id"], first["rated"], first["rating"]) == (1, True, 4.0)
    assert second["event_time"] - first["event_time"] == timedelta(seconds=3)


def test_popularity_halves_in_30_days(compute: Compute) -> None:
    """A rating at the end of the data counts 1, one of 30 days before 1/2, of 60 days 1/4; a film without any has 0."""
    inter = [(1, 1, 5, END), (2, 1, 1, END - 30 * DAY), (3, 1, 3, END - 60 * DAY)]
    known, unknown = compute("film_stats", inter=inter, item=[(1, "A", 1999, "War"), (2, "B", 1999, "War")])
    assert (known["popularity"], known["rating_mean"], known["rating_count"]) == (1.75, 3.0, 3)
    assert (unknown["popularity"], unknown["rating_mean"], unknown["rating_count"]) == (0.0, None, 0)


def test_taste_is_the_share_of_stars_by_genre(compute: Compute) -> None:
    """A film's stars count for each known genre of it, shares are in alphabetical order of the genres and sum to 1."""
    item = [(1, "A", 1999, "War Children's"), (2, "B", 1999, "War"), (3, "C", 1999, "unknown"), (4, "D", 1999, "Opera")]
    inter = [(1, 1, 2, END), (1, 2, 4, END), (1, 3, 5, END), (1, 4, 5, END), (2, 3, 5, END)]
    user = [(1, 30, "F", "artist", "1"), (2, 31, "M", "artist", "2")]
    mine, nobodys = compute("taste", inter=inter, item=item, user=user)
    taste = dict(zip(GENRES, mine["genre_preference"], strict=True))
    assert {genre: share for genre, share in taste.items() if share} == {"Children's": 0.25, "War": 0.75}
    assert nobodys["genre_preference"] is None


def test_genres_are_18_in_alphabetical_order() -> None:
    """The vector's components are in an order that can be told in a word."""
    assert len(GENRES) == 18
    assert list(GENRES) == sorted(set(GENRES))


def test_on_demand_functions_compute_what_they_say() -> None:
    """Hours between times, differences, and the discount of DCG, by hand."""
    hour = 3_600_000_000
    assert hours_between(np.array([0, hour, hour]), np.array([hour, 0, hour * 5 // 2])).tolist() == [1.0, -1.0, 1.5]
    assert difference(np.array([4.0, 3.0]), np.array([3.5, 3.5])).tolist() == [0.5, -0.5]
    assert position_discount(np.array([1, 3, 7])).tolist() == [1.0, 0.5, 1 / 3]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_on_demand_functions_bear_slots_without_a_value_and_absurd_ones(rows: int) -> None:
    """0, NaN and the largest integers raise nothing and warn of nothing: one odd row must not cost the column."""
    for extreme in (0, -1, 2**63 - 1, -(2**63)):
        odd, one = np.full(rows, extreme, dtype=np.int64), np.ones(rows, dtype=np.int64)
        for values in (hours_between(odd, one), hours_between(one, odd), position_discount(odd)):
            assert values.shape == (rows,)
            assert values.dtype == np.float64
            assert np.isfinite(values).all()
    nothing = np.full(rows, np.nan)
    assert np.isnan(difference(nothing, nothing)).all()


def test_the_definitions_load_as_a_users_file_would() -> None:
    """The file stands on its own: it is loaded by its path and as a module, to the same registry."""
    by_path = load(str(Path(definitions.__file__)))
    assert by_path.fingerprint == load("recsvc.demo.definitions").fingerprint == registry.fingerprint


def test_the_definitions_need_nothing_but_recsvc_and_numpy() -> None:
    """A user can write the same with what a user imports."""
    tree = ast.parse(Path(definitions.__file__).read_text(encoding="utf-8"))
    imports = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imports |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imports == {"datetime", "numpy", "numpy.typing", "recsvc"}


def test_everything_says_what_it_is_and_whose() -> None:
    """Views and services have an owner; entities, views, features, fields and services a description."""
    assert all(view.owner and view.description for view in VIEWS)
    assert all(feature.description for view in VIEWS for feature in view.features)
    assert all(service.owner and service.description for service in registry.services.values())
    assert all(field.description for field in registry.request.values())
    assert all(entity.description for entity in registry.entities.values())


def test_rows_of_a_demo_that_runs_a_day_are_not_too_old() -> None:
    """The data ends up to a day before the start: rows must be good for two days for a demo to show them for one."""
    for view in registry.views.values():
        assert view.effective_max_age is None or view.effective_max_age >= timedelta(days=2), view.label


def test_the_ranking_service_reads_all_entities() -> None:
    """The service that the demo shows has 20 features and more, of users, films and pairs, some of them on demand."""
    plan = registry.service_plan("ranking")
    assert len(plan.outputs) >= 20
    assert {r.view.name for r in plan.reads} == {v.name for v in registry.views.values()}
    assert plan.join_keys == {"user_id", "item_id"}
    assert plan.request_fields == set(registry.request)
