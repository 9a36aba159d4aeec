"""What the demo recommends films by: lists of what was seen, features of a pair, and the placements' own rules."""

from __future__ import annotations

import numpy as np
import pytest

from recsvc.demo.data import open_data
from recsvc.demo.definitions import GENRES
from recsvc.demo.placements import registry
from recsvc.demo.recommending import GENRE_INDEX, HOME_RANKING, INDEXES, genre_flags, genre_share, genre_vectors
from recsvc.demo.variants import LINEAR, TREES
from recsvc.demo.variants import registry as variants
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.ranking.card import SCALARS, service_features
from recsvc.registry.placement import Nearest, SimilarToRecent, SimilarToSeeds

from .conftest import END, NOW, Write


def test_history_has_each_film_once_newest_first(write: Write) -> None:
    """A film rated again stands where its last rating puts it; of one second the smaller id comes first."""
    inter = [(1, 5, 3, END - 9), (1, 2, 3, END - 5), (1, 9, 3, END - 5), (1, 5, 4, END), (2, 7, 1, END - 1)]
    with open_data(write(inter=inter), NOW) as data:
        rows = data.compute(registry.view("history")).to_pylist()
        assert sorted(zip(*data.rated(), strict=True)) == sorted((str(u), str(i)) for u, i, _, _ in inter)
    assert {row["user_id"]: row["items"] for row in rows} == {1: [5, 2, 9], 2: [7]}
    assert {row["event_time"] for row in rows} == {data.end}


def test_genres_of_a_film_are_flags_in_their_order() -> None:
    """Each known genre is a 1 at its place; an unknown one is none."""
    flags = genre_flags([["War", "Action"], [], None, ["Opera"]])
    assert flags.sum(axis=1).tolist() == [2.0, 0.0, 0.0, 0.0]
    assert flags[0, [GENRES.index("Action"), GENRES.index("War")]].tolist() == [1.0, 1.0]


def test_genre_share_is_the_mean_over_the_film_s_genres() -> None:
    """A film's share is the mean of what the user spends on its genres, 0 without any."""
    preference = np.tile(np.arange(len(GENRES), dtype=np.float32), (3, 1))
    films = np.empty(3, dtype=object)
    films[:] = [("Action", "Animation"), (), ("War",)]
    assert genre_share(preference, films).tolist() == [1.0, 0.0, GENRES.index("War")]


def test_films_without_a_genre_have_no_genre_vector(write: Write) -> None:
    """The index of genres holds just the films that have one."""
    item = [(1, "One", 1999, "War"), (2, "Two", 1999, "unknown"), (3, "Three", 1999, "Drama War")]
    with open_data(write(item=item), NOW) as data:
        ids, vectors = genre_vectors(data)
    assert (ids, vectors.sum(axis=1).tolist()) == (["1", "3"], [1.0, 2.0])


def test_rankers_are_not_told_what_they_are_to_predict() -> None:
    """No feature of the rankers' service says whether the user rated the film, and all are numbers."""
    names = [feature.name for feature in service_features(variants, HOME_RANKING.name)]
    assert not [name for name in names if name.startswith(("rated:", "history:")) or "position" in name]
    assert {f.type.kind for f in service_features(variants, HOME_RANKING.name)} <= SCALARS


@pytest.mark.parametrize("name", variants.placements)
def test_every_placement_leaves_out_what_was_seen(name: str) -> None:
    """Seen films are left out before films are looked for and before they are ranked, whatever the variant."""
    placement = variants.placements[name]
    assert list(placement.seen) == ["history:items"]
    assert list(placement.seen_pairs) == ["rated:rated"]
    assert not placement.allow_seen


def test_indexes_that_placements_name_are_those_that_are_published() -> None:
    """Every index of a source or of diversity is one of the three, each of a metric that there is."""
    named = {
        source.index
        for placement in variants.placements.values()
        for source in placement.sources
        if isinstance(source, Nearest | SimilarToSeeds | SimilarToRecent)
    }
    named |= {p.diversity.index for p in variants.placements.values() if p.diversity is not None}
    assert named == {GENRE_INDEX, *INDEXES}
    assert {Metric(metric) for metric in INDEXES.values()} <= set(Metric)


def test_the_demo_itself_needs_no_model() -> None:
    """Rankers are for those who train them: the demo's own placements have none, two of the variants do."""
    assert not [p.name for p in registry.placements.values() if p.ranker is not None]
    assert {p.ranker for p in variants.placements.values()} == {None, LINEAR, TREES}
