"""What recommending films needs beside definitions.py: embeddings, what a user has seen, and what rankers read.

No query computes the embeddings: `recsvc demo` trains them with alternating least squares, as `recsvc train als` does
for data of your own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsvc import (
    FLOAT64,
    INT64_LIST,
    VECTOR,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    Sensitivity,
    Source,
)
from recsvc.demo.data import DemoData
from recsvc.demo.definitions import FILM, FILM_FACTS, GENRES, USER

PERSONAL, PUBLIC = Sensitivity.PERSONAL, Sensitivity.PUBLIC
DIMENSION: Final = 32
INDEXES: Final = {"als": "INNER_PRODUCT", "alike": "COSINE"}
"""The indexes of the films' vectors, by name. The inner product with a user's vector says what the user would rate, and
long vectors (of popular films) come often; between two films the angle says how alike they are."""
GENRE_INDEX: Final = "genres"
"""The index of which genres a film has, by the angle."""

HISTORY = FeatureView(
    "history",
    entities=[USER],
    features=[
        Feature(
            "items",
            INT64_LIST[1_000],
            default=(),
            description="Ids of the last 1,000 different films rated, newest first.",
            sensitivity=PERSONAL,
        ),
    ],
    # What a user has seen does not become unseen: an old list leaves out too little, but nothing wrongly.
    freshness=timedelta(days=1),
    max_age=None,
    source=Source(
        "ratings_of_users",
        query="""
            WITH seen AS (SELECT user_id, item_id, max(rated_at) AS seen_at FROM ratings GROUP BY ALL)
            SELECT
                user_id,
                list(item_id ORDER BY seen_at DESC, item_id)[:1000] AS items,
                any_value(ended_at) AS event_time
            FROM seen CROSS JOIN data_end GROUP BY user_id
        """,
    ),
    description="What a user has seen, so that it is not looked for again.",
    owner="recommendations",
)

USER_ALS = FeatureView(
    "user_als",
    entities=[USER],
    features=[Feature("vector", VECTOR[DIMENSION], description="Goes with film_als:vector.", sensitivity=PERSONAL)],
    # Trained every night. A vector that missed two trainings does not go with the films' any more, so it ends here.
    freshness=timedelta(days=1),
    max_age=timedelta(days=2),
    description="Users by what they rated, factorised.",
    owner="recommendations",
)

FILM_ALS = FeatureView(
    "film_als",
    entities=[FILM],
    features=[Feature("vector", VECTOR[DIMENSION], description="Goes with user_als:vector.", sensitivity=PUBLIC)],
    freshness=timedelta(days=1),
    max_age=timedelta(days=2),
    description="Films by who rated them, factorised.",
    owner="recommendations",
)


def inner_product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the inner product of each pair of rows."""
    products: NDArray[np.float64] = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    return products


def genre_share(preference: NDArray[np.float32], genres: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean of a user's shares over the genres of each film; 0 for a film without a genre."""
    flags = genre_flags(genres.tolist())
    share: NDArray[np.float64] = inner_product(preference, flags) / np.maximum(flags.sum(axis=1), 1.0)
    return share


def genre_flags(films: Sequence[Sequence[str] | None]) -> NDArray[np.float32]:
    """Return a row for each film, with 1 for each genre that it has, in the order of GENRES."""
    place = {name: index for index, name in enumerate(GENRES)}
    flags = np.zeros((len(films), len(GENRES)), np.float32)
    for row, names in enumerate(films):
        flags[row, [place[name] for name in names or () if name in place]] = 1.0
    return flags


MATCH = OnDemandView(
    "match",
    features=[
        OnDemandFeature(
            "affinity",
            FLOAT64,
            inputs={"left": "user_als:vector", "right": "film_als:vector"},
            function=inner_product,
            description="How well user and film go together, by their embeddings. None without one.",
            sensitivity=PERSONAL,
        ),
        OnDemandFeature(
            "genre_share",
            FLOAT64,
            inputs={"preference": "taste:genre_preference", "genres": "film:genres"},
            function=genre_share,
            description="The mean of the user's shares of stars over the film's genres.",
            sensitivity=PERSONAL,
        ),
    ],
    description="How a user and a film go together.",
    owner="recommendations",
)

# What films on the home page are ranked by. Not what `ranking` has: whether the user rated the film is what such a
# model is to predict, and where the film stands on the page is what comes of it. Rankers take numbers, no texts and
# no lists.
HOME_RANKING = FeatureService(
    "home_ranking",
    features=[
        *("match:affinity", "match:genre_share"),
        *("film_stats:popularity", "film_stats:rating_mean", "film_stats:rating_count", "film:release_year"),
        *("profile:age", "activity:rating_mean", "activity:rating_count_30d", "live:mean_difference"),
    ],
    description="What the models of the home page read about a user and the films to rank.",
    owner="recommendations",
)


def genre_vectors(data: DemoData) -> tuple[list[str], NDArray[np.float32]]:
    """Return the ids of the films that have a genre, and a vector of GENRES for each: what GENRE_INDEX holds."""
    table = data.compute(FILM_FACTS)
    ids, genres = (table.column(name).to_pylist() for name in ("item_id", "genres"))
    flags = genre_flags(genres)
    known = np.flatnonzero(flags.any(axis=1))
    return [str(ids[i]) for i in known], flags[known]
