"""The demo's placements: where slates of films are shown, and how they are made. Its registry is what the demo serves.

Three indexes of films: `als` says what a user would rate, `alike` which films the same people rate, and `genres` which
films have the same genres, so that films can be compared with a user's taste and made different from each other.
"""

from recsvc import Catalogue, Diversity, Nearest, Placement, Popular, Registry, SimilarToRecent, SimilarToSeeds
from recsvc.demo.definitions import FILM, USER
from recsvc.demo.definitions import registry as features
from recsvc.demo.recommending import FILM_ALS, HISTORY, HOME_RANKING, MATCH, USER_ALS

FILMS = Catalogue(
    "films",
    item=FILM,
    popularity="film_stats:popularity",
    category="film:genres",
    filterable=["film:genres", "film:release_year", "film_stats:rating_mean"],
    title="film:title",
)

RATED_ALIKE = Nearest("als", index="als", query="user_als:vector", candidates=500)

HOME = Placement(
    "home",
    catalogue="films",
    user=USER,
    # Weights and bounds: what did best at five moments inside the first 80 % of MovieLens 100K by time. The sum of
    # reciprocal ranks makes much of small weights: a weight of 0.1 lifts a film from the seventh place to the first.
    sources=[
        RATED_ALIKE,
        SimilarToSeeds("seeds", index="alike", weight=2.0, candidates=150),
        SimilarToRecent("recent", index="alike", recent="activity:recent_items", last=5, weight=0.1, candidates=100),
        Nearest("taste", index="genres", query="taste:genre_preference", weight=0.05, candidates=100),
        # Some of the slate is for films that the others would never find: without it nobody learns who likes those.
        Popular("popular", pool=200, weight=0.1, candidates=150),
    ],
    # Left out before films are looked for; what is not in that list, before the slate is made.
    seen=["history:items"],
    seen_pairs=["rated:rated"],
    cap=4,
    diversity=Diversity("genres", weight=0.05),
)

# The embeddings alone: what the rest of `home` is measured against.
RETRIEVAL = Placement(
    "retrieval",
    catalogue="films",
    user=USER,
    sources=[RATED_ALIKE],
    seen=["history:items"],
    seen_pairs=["rated:rated"],
)

registry = Registry(
    views=[*features.definitions.views, HISTORY, USER_ALS, FILM_ALS],
    on_demand=[*features.definitions.on_demand, MATCH],
    services=[*features.definitions.services, HOME_RANKING],
    request=features.definitions.request,
    catalogues=[FILMS],
    placements=[HOME, RETRIEVAL],
)
