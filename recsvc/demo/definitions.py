"""The demo's feature definitions, and an example of how to write your own: what a film site knows of users and films.

`recsvc demo` serves these on MovieLens or on made-up data. Read from the top:

1. entities: what features describe, and how it is named in a request;
2. views: features of one entity (or of a pair) that one source computes at one pace;
3. request context and on-demand features: computed when a request comes, because only then the inputs are known;
4. feature services: what one model reads;
5. the registry, which checks all of it when this file is imported; placements.py adds where films are recommended.

Each view's `source` is SQL for DuckDB over four tables (`recsvc.demo.data` makes them from files). It gives one row per
entity, with the join keys, every feature, and `event_time`: when what the row says became true. More columns are fine.

    ratings   user_id BIGINT, item_id BIGINT, rating DOUBLE, rated_at TIMESTAMPTZ
    users     user_id BIGINT, age BIGINT, gender VARCHAR, occupation VARCHAR, zip_code VARCHAR
    films     item_id BIGINT, title VARCHAR, release_year BIGINT, genres VARCHAR[]
    data_end  ended_at TIMESTAMPTZ    (one row: the time of the last rating)
"""

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from recsvc import (
    BOOL,
    FLOAT64,
    INT64,
    INT64_LIST,
    STRING,
    STRING_LIST,
    TIMESTAMP,
    VECTOR,
    Entity,
    Expected,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    Registry,
    RequestField,
    Sensitivity,
    Source,
)

PERSONAL, PUBLIC = Sensitivity.PERSONAL, Sensitivity.PUBLIC
STARS = Expected(min=1, max=5, mean=3.5)

# -- 1. Entities -------------------------------------------------------------------------------------------------------

USER = Entity("user", join_key="user_id", key_type=INT64, description="Somebody with an account.")

# A ranking call names hundreds of films at once. `spread` keeps them in 32 buckets of a Redis Cluster, so that they are
# read with at most 32 commands and not with 500. A call names one user, so users need none.
FILM = Entity("item", join_key="item_id", key_type=INT64, spread=32, description="A film of the catalogue.")

# -- 2. Views ----------------------------------------------------------------------------------------------------------
# All views but `rated` are snapshots: they say what was true at the end of the data, so that is their event time.
# Windows reach back from there and leave their far end out: 7 days are (end - 7 days, end]. A mean over no ratings is
# NULL. That is data, and not the same as a default, which stands in where there is no row at all.

PROFILE = FeatureView(
    "profile",
    entities=[USER],
    features=[
        Feature("age", INT64, description="Years.", sensitivity=PERSONAL, expected=Expected(min=5, max=100, mean=34)),
        Feature("occupation", STRING[64], default="other", description="One of some 20 words.", sensitivity=PERSONAL),
    ],
    # People rarely change what they told us: a weekly export will do, and an old row is still right.
    freshness=timedelta(days=7),
    max_age=None,
    source=Source("accounts", query="SELECT users.*, ended_at AS event_time FROM users CROSS JOIN data_end"),
    description="What users told about themselves at sign-up.",
    owner="accounts",
)

ACTIVITY = FeatureView(
    "activity",
    entities=[USER],
    features=[
        Feature("rating_count_7d", INT64, default=0, description="Ratings given in the last 7 days."),
        Feature("rating_count_30d", INT64, default=0, description="Ratings given in the last 30 days."),
        Feature("watch_count_7d", INT64, default=0, description="Different films rated in the last 7 days."),
        Feature("watch_count_30d", INT64, default=0, description="Different films rated in the last 30 days."),
        Feature("rating_mean_7d", FLOAT64, description="Mean of the last 7 days' ratings.", expected=STARS),
        Feature("rating_mean_30d", FLOAT64, description="Mean of the last 30 days' ratings.", expected=STARS),
        Feature("rating_mean", FLOAT64, description="Mean of all ratings.", expected=STARS),
        Feature(
            "most_active_hour",
            INT64,
            description="Hour of the day (UTC, 0 to 23) with most ratings; of equal ones the earliest.",
            sensitivity=PERSONAL,
            expected=Expected(min=0, max=23),
        ),
        Feature("last_rating_at", TIMESTAMP, description="Time of the last rating.", sensitivity=PERSONAL),
        Feature(
            "recent_items",
            INT64_LIST[50],
            default=(),
            description="Ids of the last 50 different films rated, newest first; in one second the smaller id first.",
            sensitivity=PERSONAL,
        ),
    ],
    # Computed every night. Without a `max_age` of its own it is twice the freshness: a row that missed two nights is
    # answered as OUTSIDE_MAX_AGE, with the default.
    freshness=timedelta(days=1),
    source=Source(
        "ratings_by_user",
        query="""
            WITH dated AS (
                SELECT
                    *,
                    rated_at > ended_at - INTERVAL 7 DAYS AS in_7d,
                    rated_at > ended_at - INTERVAL 30 DAYS AS in_30d
                FROM users CROSS JOIN data_end LEFT JOIN ratings USING (user_id)
            ),
            hours AS (
                SELECT user_id, hour(rated_at AT TIME ZONE 'UTC') AS hour_of_day, count(*) AS n
                FROM ratings GROUP BY ALL
            ),
            favourites AS (
                SELECT user_id, first(hour_of_day ORDER BY n DESC, hour_of_day) AS most_active_hour
                FROM hours GROUP BY ALL
            ),
            seen AS (SELECT user_id, item_id, max(rated_at) AS seen_at FROM ratings GROUP BY ALL),
            recent AS (
                SELECT user_id, list(item_id ORDER BY seen_at DESC, item_id)[:50] AS recent_items
                FROM seen GROUP BY ALL
            )
            SELECT
                user_id,
                count(rating) FILTER (WHERE in_7d) AS rating_count_7d,
                count(rating) FILTER (WHERE in_30d) AS rating_count_30d,
                count(DISTINCT item_id) FILTER (WHERE in_7d) AS watch_count_7d,
                count(DISTINCT item_id) FILTER (WHERE in_30d) AS watch_count_30d,
                avg(rating) FILTER (WHERE in_7d) AS rating_mean_7d,
                avg(rating) FILTER (WHERE in_30d) AS rating_mean_30d,
                avg(rating) AS rating_mean,
                any_value(most_active_hour) AS most_active_hour,
                max(rated_at) AS last_rating_at,
                coalesce(any_value(recent_items), []) AS recent_items,
                any_value(ended_at) AS event_time
            FROM dated LEFT JOIN favourites USING (user_id) LEFT JOIN recent USING (user_id)
            GROUP BY user_id
        """,
    ),
    description="How much, when and how kindly a user rates.",
    owner="user_modelling",
)

# MovieLens' genres in alphabetical order, which is the order of the taste vector. One more is a new version of `taste`.
# fmt: off
GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
# fmt: on
# Definitions are Python: rows of SQL that we would have to write 18 times come out of a loop.
GENRE_ROWS = ", ".join(f"({place}, $${name}$$)" for place, name in enumerate(GENRES))

TASTE = FeatureView(
    "taste",
    entities=[USER],
    features=[
        Feature(
            "genre_preference",
            VECTOR[len(GENRES)],
            description="Each genre's share of a user's stars, genres in alphabetical order. A film's stars count "
            "for each of its genres; the shares sum to 1. NULL without a rated film of a known genre.",
            sensitivity=PERSONAL,
            expected=Expected(min=0, max=1, mean=1 / len(GENRES)),
        ),
    ],
    # Tastes move slowly: a vector of last week is better than none, so the limit is not twice the freshness here.
    freshness=timedelta(days=1),
    max_age=timedelta(days=7),
    source=Source(
        "tastes",
        # Whole and half stars add up exactly in any order, so these sums do not depend on how DuckDB splits its work.
        query=f"""
            WITH genre(place, name) AS (VALUES {GENRE_ROWS}),
            stars AS (
                SELECT user_id, place, sum(rating) AS stars
                FROM ratings JOIN films USING (item_id) JOIN genre ON list_contains(films.genres, genre.name)
                GROUP BY ALL
            ),
            totals AS (SELECT user_id, sum(stars) AS total FROM stars GROUP BY ALL),
            preferences AS (
                SELECT user_id, list(coalesce(stars, 0) / total ORDER BY place) AS shares
                FROM totals CROSS JOIN genre LEFT JOIN stars USING (user_id, place)
                WHERE total > 0
                GROUP BY ALL
            )
            SELECT user_id, shares::FLOAT[{len(GENRES)}] AS genre_preference, ended_at AS event_time
            FROM users CROSS JOIN data_end LEFT JOIN preferences USING (user_id)
        """,  # noqa: S608  # made of the constants above, nothing comes from outside
    ),
    description="Which genres a user spends stars on.",
    owner="user_modelling",
)

FILM_FACTS = FeatureView(
    "film",
    entities=[FILM],
    features=[
        Feature("title", STRING[256], description="As in the catalogue.", sensitivity=PUBLIC),
        Feature(
            "release_year",
            INT64,
            description="Year of the first showing; NULL where the catalogue does not know.",
            sensitivity=PUBLIC,
            expected=Expected(min=1900, max=2100, null_share=0.02),
        ),
        Feature("genres", STRING_LIST[8, 32], default=(), description="Empty where unknown.", sensitivity=PUBLIC),
    ],
    freshness=timedelta(days=7),
    max_age=None,
    # Servers that filter recommendations keep all of this view in memory; the change feed tells them what changed.
    mirrored=True,
    source=Source("catalogue", query="SELECT films.*, ended_at AS event_time FROM films CROSS JOIN data_end"),
    description="A film as the catalogue has it.",
    owner="catalogue",
)

POPULARITY_HALF_LIFE_DAYS = 30

FILM_STATS = FeatureView(
    "film_stats",
    entities=[FILM],
    features=[
        Feature(
            "popularity",
            FLOAT64,
            default=0.0,
            description=f"Ratings counted with a half-life of {POPULARITY_HALF_LIFE_DAYS} days to the end of the data.",
            sensitivity=PUBLIC,
            expected=Expected(min=0),
        ),
        Feature("rating_mean", FLOAT64, description="Mean of all ratings.", sensitivity=PUBLIC, expected=STARS),
        Feature("rating_count", INT64, default=0, description="Number of all ratings.", sensitivity=PUBLIC),
    ],
    freshness=timedelta(days=1),
    mirrored=True,  # for the same reason: popular films are recommended from memory
    source=Source(
        "ratings_by_film",
        # fsum in a fixed order: a plain sum over threads differs from run to run in its last bits.
        query=f"""
            WITH aged AS (
                SELECT item_id, rating, ended_at, (epoch_us(ended_at) - epoch_us(rated_at)) / 86_400e6 AS days
                FROM films CROSS JOIN data_end LEFT JOIN ratings USING (item_id)
            )
            SELECT
                item_id,
                coalesce(fsum(pow(0.5, days / {POPULARITY_HALF_LIFE_DAYS}) ORDER BY days), 0) AS popularity,
                avg(rating) AS rating_mean,
                count(rating) AS rating_count,
                any_value(ended_at) AS event_time
            FROM aged GROUP BY item_id
        """,  # noqa: S608  # made of the constant above, nothing comes from outside
    ),
    description="How a film does with all users.",
    owner="ranking",
)

# Features of a pair: its key is both ids. Only pairs that exist have a row; for all others the answer is the default,
# False, with the status NOT_FOUND.
RATED = FeatureView(
    "rated",
    entities=[USER, FILM],
    features=[
        Feature("rated", BOOL, default=False, description="Whether the user rated the film.", sensitivity=PERSONAL),
        Feature(
            "rating",
            FLOAT64,
            description="The user's last rating of the film, in stars; of several in one second the highest.",
            sensitivity=PERSONAL,
            expected=STARS,
        ),
    ],
    # Facts do not age: no freshness, no max age, kept for ever. The event time is when the user rated, so that a rating
    # which arrives late never replaces a newer one.
    max_age=None,
    source=Source(
        "ratings",
        query="""
            SELECT
                user_id,
                item_id,
                true AS rated,
                first(rating ORDER BY rated_at DESC, rating DESC) AS rating,
                max(rated_at) AS event_time
            FROM ratings GROUP BY ALL
        """,
    ),
    description="What a user thinks of a film.",
    owner="ranking",
)

# -- 3. Request context and on-demand features -------------------------------------------------------------------------
# What only the caller knows comes with the request: one value for all rows, or one per row. The time is such a field
# too, and is not read from a clock in the function: training on logged requests then sees what serving saw.

REQUEST_CONTEXT = [
    RequestField("request_time", TIMESTAMP, description="When the request was made; one for all rows."),
    RequestField("list_position", INT64, description="Place in the list that is shown, from 1; one per row."),
]

# The functions take numpy arrays, one value per row (TIMESTAMP: int64 microseconds), and give one. The same function
# runs in training, over columns of a file. A slot without a value holds NaN or 0: what comes out for it is not used,
# but must not raise.
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def hours_between(earlier: Integers, later: Integers) -> Floats:
    """Return the hours from one time to another, negative where `later` comes first."""
    # Our centuries' microseconds are exact in a double, and doubles do not wrap around where a caller sends nonsense.
    return (later.astype(np.float64) - earlier.astype(np.float64)) / 3.6e9


def difference(left: Floats, right: Floats) -> Floats:
    """Return left - right."""
    return left - right


def position_discount(position: Integers) -> Floats:
    """Return 1 / log2(1 + position), the discount of DCG (Järvelin and Kekäläinen, 2002); below 1 counts as 1."""
    discount: Floats = 1.0 / np.log2(1.0 + np.maximum(position, 1))
    return discount


LIVE = OnDemandView(
    "live",
    features=[
        OnDemandFeature(
            "hours_since_last_rating",
            FLOAT64,
            inputs={"earlier": "activity:last_rating_at", "later": "request:request_time"},
            function=hours_between,
            description="Hours from the user's last rating to the request.",
            sensitivity=PERSONAL,
        ),
        OnDemandFeature(
            "mean_difference",
            FLOAT64,
            inputs={"left": "activity:rating_mean", "right": "film_stats:rating_mean"},
            function=difference,
            default=0.0,
            description="The user's mean rating minus the film's: above 0 for a user kinder than the film's public.",
        ),
        OnDemandFeature(
            "position_discount",
            FLOAT64,
            inputs={"position": "request:list_position"},
            function=position_discount,
            default=1.0,
            description="How much attention a place in the list gets; 1 for the first.",
            sensitivity=PUBLIC,
        ),
    ],
    description="What is only known when the request comes.",
    owner="ranking",
)

# -- 4. Feature services -----------------------------------------------------------------------------------------------

RANKING = FeatureService(
    "ranking",
    # A model names each of its inputs, in its order: a view that grows must not change what the model reads.
    features=[
        *("profile:age", "profile:occupation", "taste:genre_preference"),
        *("activity:rating_count_7d", "activity:rating_count_30d", "activity:watch_count_7d"),
        *("activity:watch_count_30d", "activity:rating_mean_7d", "activity:rating_mean_30d", "activity:rating_mean"),
        *("activity:most_active_hour", "activity:last_rating_at", "activity:recent_items"),
        *("film:release_year", "film:genres"),
        *("film_stats:popularity", "film_stats:rating_mean", "film_stats:rating_count"),
        *("rated:rated", "rated:rating"),
        *("live:hours_since_last_rating", "live:mean_difference", "live:position_discount"),
    ],
    description="What the ranking model reads about one user and the films to rank.",
    owner="ranking",
)

USER_PROFILE = FeatureService(
    "user_profile",
    # A page for people: a bare name means all of the view, also what will be appended to it.
    features=["profile", "activity:watch_count_7d", "activity:rating_mean", "activity:last_rating_at"],
    description="What the account page shows.",
    owner="accounts",
)

# -- 5. The registry ---------------------------------------------------------------------------------------------------

registry = Registry(
    views=[PROFILE, ACTIVITY, TASTE, FILM_FACTS, FILM_STATS, RATED],
    on_demand=[LIVE],
    services=[RANKING, USER_PROFILE],
    request=REQUEST_CONTEXT,
)
